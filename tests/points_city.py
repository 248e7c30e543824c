"""A home whose points rules are a test's own: Beijing's programme under another name, with files of an overlay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home

from .homes import new_home

PROGRAMME = "city"
POINTS = "city_points"
UNIT = f"points:{POINTS}"


def rules(**changed: Any) -> dict[str, Any]:
    """Rules that are invented: a box is 50 points for 100 days, a ride 10 that must be collected within three."""
    return {
        "id": POINTS,
        "version": 1,
        "title": {"en": "Points of a city", "zh": "城市积分"},
        "unit_name": {"en": "points", "zh": "积分"},
        "valid": {"from": "2025-01-01", "until": None},
        "why_these_dates": "Invented for tests, from the first day of a year on.",
        "since_last_version": "first version",
        "status": "provisional",
        "source": "cainiao_green_home",
        "locator": "invented for tests",
        "switch": "points_independent",
        "start": {"when": "final"},
        "collect_within_days": None,
        "lasts": {"until": "days", "number": 100},
        "when_withdrawn": "owe",
        "refund_days": 7,
        "rules": [box_rule(), ride_rule()],
        "unknown": ["Everything here is invented."],
        **changed,
    }


def box_rule(**changed: Any) -> dict[str, Any]:
    """50 points for a parcel box."""
    return _rule("box", "use.parcel_box_return", **{"points": "50", **changed})


def ride_rule(**changed: Any) -> dict[str, Any]:
    """10 points for a metro ride, to be collected within three days."""
    return _rule("ride", "travel.metro", **{"points": "10", "collect_within_days": 3, **changed})


def _rule(name: str, behaviour: str, **changed: Any) -> dict[str, Any]:
    title = {"en": f"A {name}", "zh": f"测试 {name}"}
    said = {"mark": "example", "locator": "invented for tests", "why": "Invented for tests."}
    return {"id": name, "title": title, "behaviours": [behaviour], **said, **changed}


def overlay(folder: Path, *versions: Mapping[str, Any]) -> Path:
    """A catalogue folder with the programme and versions of its rules, of one points programme or several."""
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    said = text.replace("id: beijing\n", f"id: {PROGRAMME}\n", 1)
    said = said.replace("points: [beijing_carbon_energy]", f"points: {sorted({each['id'] for each in versions})}", 1)
    (folder / "programmes").mkdir(parents=True)
    (folder / "programmes" / f"{PROGRAMME}.yaml").write_text(said, encoding="utf-8")
    for each in versions:
        put_rules(folder, each)
    return folder


def put_rules(folder: Path, version: Mapping[str, Any]) -> None:
    """Add a version of the rules to a folder."""
    path = folder / "points" / version["id"] / f"v{version['version']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(version), allow_unicode=True, sort_keys=False), encoding="utf-8")


def points_home(folder: Path, *versions: Mapping[str, Any], book: str | None = None) -> Home:
    """A home of such a programme; its overlay is beside it."""
    own = overlay(folder.with_name(f"{folder.name}-catalogue"), *(versions or (rules(),)))
    return new_home(folder, PROGRAMME, book=book, overlays=(own,))
