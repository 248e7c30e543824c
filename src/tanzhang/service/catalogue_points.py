"""The checks of points programmes: names, versions, and worked cases computed by the definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from tanzhang.core.errors import TanzhangError
from tanzhang.core.points import Act, Award, PointsProgramme, award_exact
from tanzhang.service.catalogue_registers import Registers
from tanzhang.stores.points_rules import read_points
from tanzhang.stores.yaml_text import Document


class PointsChecks(Registers):
    """What can be wrong with the files of ``points/``."""

    def _points(self) -> None:
        """Every version, then what two of them say of each other, then the cases."""
        self.points: dict[str, PointsProgramme] = {}
        for relative, document in self.found.of_kind("points"):
            self._points_version(relative, document)
            try:
                self.points[relative] = read_points(document)
            except TanzhangError as error:
                self.problems += error.problems
        self._succession(self.points, "is earned")
        for relative, document in self.found.of_kind("points_cases"):
            self._points_cases(relative, document)

    def _points_version(self, relative: str, document: Document) -> None:
        _, folder, name = relative.split("/")
        data = document.data
        key = f"{data['id']}@{data['version']}"
        self._path(document, "id", data["id"], folder)
        self._path(document, "version", data["version"], int(name[1:-5]))
        self._source(data["source"], document.where("source"), f"points programme {key}")
        for number, rule in enumerate(data["rules"]):
            for place, behaviour in enumerate(rule["behaviours"]):
                self._behaviour(behaviour, document.where("rules", number, "behaviours", place))
        named = {entry.get("sponsor") for part in ("rules", "campaigns") for entry in data.get(part, [])}
        for number, sponsor in enumerate(data.get("sponsors", [])):
            if sponsor["id"] not in named:
                self._note(
                    "points-unused-sponsor",
                    f"no rule and no campaign is paid by {sponsor['id']}",
                    document.where("sponsors", number, "id"),
                    "name it where it pays, or take it out",
                )
        if data["status"] != "published" and not data["unknown"]:
            remedy = "say under unknown what was not seen, and what is ours in its place"
            self._note("gap-undeclared", f"{key} leaves something open", document.where("unknown"), remedy)
        if relative.replace(".yaml", ".cases.yaml") not in self.files:
            remedy = f"add {name[:-5]}.cases.yaml beside it: acts, and the points that a person computed by hand"
            self._note("cases-missing", f"{key} has no worked cases", document.where(), remedy)

    def _points_cases(self, relative: str, document: Document) -> None:
        self.counts["cases"] += len(document.data)
        version = relative.replace(".cases.yaml", ".yaml")
        if version not in self.files:
            remedy = f"add {version}, or take the cases out"
            self._note("cases-orphaned", f"there is no {version} for these cases", document.where(), remedy)
            return
        programme = self.points.get(version)
        names = [entry["case"] for entry in document.data]
        for index, case in enumerate(document.data):
            if case["case"] in names[:index]:
                where = document.where(index, "case")
                self._note("duplicate-id", f"case {case['case']!r} stands twice", where, "rename one of the two")
            if programme is None:
                continue
            try:
                self._points_case(programme, case, document.where(index, "expect"))
            except ValueError as error:
                remedy = "write existing days as YYYY-MM-DD"
                self._note("day-malformed", str(error), document.where(index), remedy)
        if programme is not None and not any(set(case["expect"]["points"]) - {"0"} for case in document.data):
            self._note(
                "cases-without-value",
                f"no case of {programme.key} earns anything",
                document.where(),
                "add one act with the points that a person computed by hand",
            )

    def _points_case(self, programme: PointsProgramme, case: Mapping[str, Any], where: str) -> None:
        computed = compute_case(programme, case)
        for name, expected in case["expect"].items():
            if computed[name] != expected:
                self._note(
                    "case-differs",
                    f"case {case['case']!r} expects {name} {_shown(expected)}, the rules give "
                    f"{_shown(computed[name])} ({computed['why']})",
                    where,
                    "find out which of the two is right: correct the case, or the rule or limit behind it",
                )


def compute_case(programme: PointsProgramme, case: Mapping[str, Any]) -> dict[str, Any]:
    """What a worked case comes to, in the words of ``expect``, and ``why``; ValueError for a day that is none.

    ``points`` has one number for each entry of ``acts``; the days are those of the first row that was awarded.
    """
    acts: list[Act] = []
    entry_of: list[int] = []
    for number, entry in enumerate(case["acts"]):
        for _ in range(entry.get("times", 1)):
            acts.append(_act(len(acts), entry, programme))
            entry_of.append(number)
    used = {
        (_account(None), each["key"], date.fromisoformat(each["period"])): each["amount"]
        for each in case.get("used", [])
    }
    settled_on = date.fromisoformat(case["settled_on"])
    awards = award_exact(acts, programme, used, case.get("left", {}), settled_on)
    points = [0] * len(case["acts"])
    for row in awards.rows:
        points[entry_of[row.place]] += row.points
    first = awards.rows[0] if awards.rows else None
    return {
        "points": [str(each) for each in points],
        "first_day": first and first.first_day.isoformat(),
        "last_day": first and first.last_day.isoformat(),
        "collect_by": first and first.collect_by and first.collect_by.isoformat(),
        "spent": {name: str(amount) for name, amount in awards.spent.items()},
        "why": _why(programme, awards.rows),
    }


def _act(place: int, entry: Mapping[str, Any], programme: PointsProgramme) -> Act:
    behaviour = entry["behaviour"]
    rule = next((each for each in programme.rules if behaviour in each.behaviours), programme.rules[0])
    region = min(rule.regions) if rule.regions else "CN"
    partner = min(rule.partners) if rule.partners else "partner"
    return Act(
        place=place,
        account=_account(entry.get("person")),
        behaviour=behaviour,
        partner=entry.get("partner", partner),
        region=entry.get("region", region),
        evidence=entry.get("evidence", "measured"),
        day=date.fromisoformat(entry["day"]),
        ended=place,
        action_id=place.to_bytes(16),
        granted_mg=int(entry["granted_mg"]),
        inputs=entry.get("inputs", {}),
    )


def _account(person: str | None) -> bytes:
    return (person or "").encode().ljust(16, b"\0")


def _why(programme: PointsProgramme, rows: Sequence[Award]) -> str:
    return (
        "; ".join(f"act {row.place + 1}: {row.points} by {programme.rules[row.rule].id}" for row in rows) or "no rule"
    )


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
