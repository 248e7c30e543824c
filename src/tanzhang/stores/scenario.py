"""Scenarios of simulations on disk: ``scenarios/<id>.yaml`` of a catalogue, checked and read into columns of numbers.

A mistake names file and line; all mistakes of a file are raised together.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable
from datetime import date
from itertools import pairwise
from typing import Any

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.simulate.model import (
    TEN_THOUSAND,
    Activity,
    Channel,
    Cheat,
    Devices,
    Hours,
    Quantiles,
    Scenario,
    Script,
    Witness,
)
from tanzhang.engine.simulate.plant import ON_TRIPS
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.yaml_text import Document

Note = Callable[[str, str, str, str], None]


def scenario_ids(catalogue: Catalogue) -> list[str]:
    """Every scenario there is a file for."""
    return [relative[10:-5] for relative in catalogue.find("scenarios/*.yaml")]


def load_scenario(catalogue: Catalogue, scenario_id: str) -> tuple[Scenario, str]:
    """A scenario by id, and the SHA-256 of its file; ``unknown-scenario`` if there is none."""
    relative = f"scenarios/{scenario_id}.yaml"
    # Looked up among the files there are, so that an id cannot lead out of the folder.
    path = catalogue.find("scenarios/*.yaml").get(relative)
    document = None if path is None else catalogue.open(relative, "scenario")
    if path is None or document is None:
        raise refuse(
            "unknown-scenario",
            f"no scenario {scenario_id}",
            where=relative,
            remedy=f"use one of {', '.join(scenario_ids(catalogue))}, or add the file to your catalogue folder",
        )
    return read_scenario(document), hashlib.sha256(path.read_bytes()).hexdigest()


def read_scenario(document: Document) -> Scenario:
    """A scenario from its checked document.

    Raises together, each with its line: ``day-malformed``, ``quantiles-malformed``, ``hours-malformed``,
    ``behaviour-not-in-mix``, ``prefix-missing``, ``rates-too-high``, ``speed-reversed``, ``duplicate-id``.
    """
    data, problems = document.data, list[Problem]()

    def note(code: str, message: str, where: str, remedy: str) -> None:
        problems.append(Problem(code, message, where, remedy))

    scenario = Scenario(
        id=data["id"],
        programme=data["programme"],
        first_day=_day(note, document),
        days=data["days"]["value"],
        people=data["people"]["value"],
        actions=data["actions"]["value"],
        activity=_quantiles(note, document, data["activity"], "activity"),
        weekdays=tuple(data["weekdays"]["weights"]),
        hours={name: Hours(tuple(each["weekday"]), tuple(each["weekend"])) for name, each in data["hours"].items()},
        districts=tuple(data["districts"]["shares"].items()),
        at_home_per_10000=data["districts"]["at_home_per_10000"],
        behaviours=tuple(
            _activity(note, document, entry, "mix", "behaviours", place)
            for place, entry in enumerate(data["mix"]["behaviours"])
        ),
        fallback=data["mix"]["fallback"],
        prefixes=data["partners"],
        linked_per_10000=data["linked"]["per_10000"],
        map_app=data["map_app"],
        rates=data["rates"]["per_10000"],
        cheats=_cheats(data),
        devices=_devices(data.get("devices")),
    )
    _check_hours(note, document, scenario)
    _check_mix(note, document, scenario)
    _check_partners(note, document, scenario)
    _check_rates(note, document, scenario)
    if problems:
        raise TanzhangError(problems)
    return scenario


def _day(note: Note, document: Document) -> date:
    text = document.data["first_day"]["value"]
    try:
        return date.fromisoformat(text)
    except ValueError:
        where = document.where("first_day", "value")
        note("day-malformed", f"{text!r} is not a day", where, "write an existing day as YYYY-MM-DD")
        return date.min


def _quantiles(note: Note, document: Document, data: dict[str, Any], *path: str | int) -> Quantiles:
    points = tuple((place, value) for place, value in data["points"])
    places, values = zip(*points, strict=True)
    rising = all(a < b for a, b in pairwise(places)) and list(values) == sorted(values)
    if not rising or places[0] != 0 or places[-1] != TEN_THOUSAND:
        note(
            "quantiles-malformed",
            "the points do not rise from 0 to 10,000 ten-thousandths",
            document.where(*path, "points"),
            "write [ten-thousandths, value] in order, the first at 0, the last at 10000, values never falling",
        )
    return Quantiles(points)


def _activity(note: Note, document: Document, data: dict[str, Any], *path: str | int) -> Activity:
    speed = tuple(data["speed_dm_per_s"]) if "speed_dm_per_s" in data else None
    if speed is not None and speed[0] > speed[1]:
        where = document.where(*path, "speed_dm_per_s")
        note("speed-reversed", f"speeds run from {speed[0]} down to {speed[1]}", where, "write the slower one first")
    quantity = data.get("quantity")
    return Activity(
        id=data["id"],
        share=data["share"],
        hours=data["hours"],
        channels=tuple(Channel(**channel) for channel in data["channels"]),
        witnesses=tuple(Witness(**witness) for witness in data.get("witnesses", ())),
        input=data["input"],
        quantity=None if quantity is None else _quantiles(note, document, quantity, *path, "quantity"),
        speed_dm_per_s=None if speed is None else (speed[0], speed[1]),
        at_most_per_day=data.get("at_most_per_day"),
        every_days=data.get("every_days"),
    )


def _cheats(data: dict[str, Any]) -> tuple[Cheat, ...]:
    inputs = {entry["id"]: entry["input"] for entry in data["mix"]["behaviours"]}
    return tuple(
        Cheat(
            kind=entry["kind"],
            of=entry["of"],
            reports=entry.get("reports", entry["of"]),
            partner=entry.get("partner"),
            input=entry.get("input", inputs.get(entry["of"], "count")),
            quantity=entry.get("quantity"),
            per_10000=entry["per_10000"],
            times=entry.get("times", 1),
            granted=entry.get("granted", entry.get("times", 1)),
            expected=entry["expected"],
            beyond=entry.get("beyond"),
        )
        for entry in data["cheats"]["kinds"]
    )


def _devices(data: dict[str, Any] | None) -> Devices | None:
    if data is None:
        return None
    farms, pictures, script = (data[name] for name in ("cheat_farm", "cheat_picture", "cheat_script"))
    return Devices(
        home_per_10000=data["home_per_10000"],
        homes_per_account=data["homes_per_account"],
        pictures=tuple(data["pictures"]),
        farm_per_10000=farms["per_10000"],
        farm_accounts=farms["accounts"],
        picture_per_10000=pictures["per_10000"],
        picture_pool=pictures["pool"],
        script=Script(**script),
    )


def _check_hours(note: Note, document: Document, scenario: Scenario) -> None:
    for name, hours in scenario.hours.items():
        for which, weights in (("weekday", hours.weekday), ("weekend", hours.weekend)):
            if not sum(weights):
                where = document.where("hours", name, which)
                note("hours-malformed", "no hour has any weight", where, "give at least one hour a weight")
    for place, behaviour in enumerate(scenario.behaviours):
        if behaviour.hours not in scenario.hours:
            where = document.where("mix", "behaviours", place, "hours")
            remedy = f"write hours of that name{_near(behaviour.hours, scenario.hours)}"
            note("hours-malformed", f"there are no hours {behaviour.hours!r}", where, remedy)


def _check_mix(note: Note, document: Document, scenario: Scenario) -> None:
    known = {behaviour.id: behaviour for behaviour in scenario.behaviours}
    for place, behaviour in enumerate(scenario.behaviours):
        if behaviour is not known[behaviour.id]:
            where = document.where("mix", "behaviours", place, "id")
            note("duplicate-id", f"{behaviour.id} stands twice in the mix", where, "keep one of the two")
    wanted = [(scenario.fallback, document.where("mix", "fallback"))]
    wanted += [
        (cheat.of, document.where("cheats", "kinds", place, "of")) for place, cheat in enumerate(scenario.cheats)
    ]
    for behaviour_id, where in wanted:
        if behaviour_id not in known:
            remedy = f"name one of the mix{_near(behaviour_id, known)}"
            note("behaviour-not-in-mix", f"{behaviour_id} is not in the mix", where, remedy)
    fallback = known.get(scenario.fallback)
    if fallback is not None and (fallback.at_most_per_day or fallback.every_days):
        where, remedy = document.where("mix", "fallback"), "choose a behaviour that has no limit itself"
        note("behaviour-not-in-mix", f"{scenario.fallback} has a limit, so it cannot stand in", where, remedy)


def _check_partners(note: Note, document: Document, scenario: Scenario) -> None:
    for partner in scenario.partners:
        if partner not in scenario.prefixes:
            remedy = f"add {partner} with two capital letters of its own"
            note("prefix-missing", f"{partner} reports, but has no prefix", document.where("partners"), remedy)


def _check_rates(note: Note, document: Document, scenario: Scenario) -> None:
    for place, behaviour in enumerate(scenario.behaviours):
        planted = sum(rate for kind, rate in scenario.rates.items() if behaviour.trip or kind not in ON_TRIPS)
        planted += sum(cheat.per_10000 for cheat in scenario.cheats if cheat.of == behaviour.id)
        if planted > TEN_THOUSAND // 2:
            where = document.where("mix", "behaviours", place, "id")
            message = f"{planted} of 10,000 acts of {behaviour.id} have something planted on them"
            note("rates-too-high", message, where, "lower the rates until at least half of the acts are plain")


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
