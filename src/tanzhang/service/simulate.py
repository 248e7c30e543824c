"""Simulate: write a season's reports as files, and beside them the truth about every row that is not plain and honest.

What is made: :mod:`tanzhang.engine.simulate`. What it is made of: :mod:`tanzhang.stores.scenario`. Nothing here is ever
taken in or booked; that is done with the files, as with anybody's.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.simulate.acts import MOST_DAYS, MOST_PEOPLE, Season
from tanzhang.engine.simulate.devices import CHEATS_SCHEMA, Overlay, with_devices
from tanzhang.engine.simulate.model import Devices, Scenario, Setting, Size
from tanzhang.engine.simulate.rows import LINKS_SCHEMA, TRUTH_SCHEMA
from tanzhang.engine.simulate.season import Generator
from tanzhang.engine.simulate.tables import make_tables
from tanzhang.service.progress import Progress, silent
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.files import write_durably
from tanzhang.stores.scenario import load_scenario
from tanzhang.stores.simulated import FORMATS, Writer, open_report, write_parquet

SUMMARY = "simulation.json"
FORMAT_VERSION = 1


def simulate(
    catalogue: Catalogue,
    scenario_id: str,
    folder: Path,
    *,
    people: int | None = None,
    actions: int | None = None,
    days: int | None = None,
    seed: int = 1,
    format: str = "parquet",  # noqa: A002 - the word of the command line
    threads: int | None = None,
    devices: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a season into a new or empty folder; returns what ``simulation.json`` says, which is written last.

    What is not given is the scenario's own, in proportion to what is: a tenth of the people does a tenth of the acts.
    ``actions`` counts acts that happened; what is planted on them comes on top. The bytes depend on all arguments but
    ``folder``, ``threads`` and ``progress``. With ``devices`` rows say from which device they came and which picture
    proves them, and there are cheats that show in these; folder ``cheats`` has the truth of those.
    Raises ``unknown-scenario``, ``devices-missing``, ``format-unknown``, ``folder-not-empty``, ``simulation-size``, and
    what the programme says of a behaviour that it cannot quantify or a partner that it does not know.
    """
    scenario, digest = load_scenario(catalogue, scenario_id)
    if format not in FORMATS:
        raise refuse(
            "format-unknown",
            f"{format!r} names no format of a simulation",
            where="--format",
            remedy=f"use one of {', '.join(FORMATS)}",
        )
    size = _size(scenario, people, actions, days, seed, text=format != "parquet")
    season = Season(make_tables(scenario), _setting(catalogue, scenario, size), size)
    if not season.fits:
        raise refuse(
            "simulation-size",
            f"the busiest person would do {season.busiest} acts on one day, and a trip must fit into each part of it",
            where="--actions",
            remedy="simulate more people, more days or fewer actions",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise refuse(
            "folder-not-empty",
            f"{folder} is not an empty folder",
            where="--out",
            remedy="choose a new folder, or empty this one",
        )
    overlay = None if not devices else Overlay(_devices(scenario), size)
    generator = Generator(season, threads=threads or os.cpu_count() or 1)
    rows = {}
    kinds: Counter[str] = Counter()
    (folder / "truth").mkdir(parents=True)
    done = 0
    for number, day in enumerate(season.days):
        rows[day.isoformat()] = _write_day(
            generator, folder / "reports" / day.isoformat(), number, format, progress, done, overlay
        )
        done += season.actions[number]
        known = generator.truth(number)
        write_parquet(
            folder / "truth" / f"{day.isoformat()}.parquet",
            TRUTH_SCHEMA,
            [known],
        )
        kinds.update(_counted(known))
    progress("links", 99, 0)
    links = write_parquet(folder / "links.parquet", LINKS_SCHEMA, generator.links())
    summary = {
        "simulated": True,
        "format_version": FORMAT_VERSION,
        "scenario": scenario.id,
        "scenario_sha256": digest,
        "programme": scenario.programme,
        "seed": size.seed,
        "format": format,
        "first_day": season.days[0].isoformat(),
        "days": size.days,
        "people": size.people,
        "actions": size.actions,
        "links": links,
        "rows": sum(count for of_day in rows.values() for count in of_day.values()),
        "rows_by_kind": dict(sorted(kinds.items())),
        "rows_by_day_and_partner": rows,
    }
    write_durably(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def _write_day(
    generator: Generator, folder: Path, number: int, kind: str, progress: Progress, done: int, overlay: Overlay | None
) -> dict[str, int]:
    """All partners' files of one day; returns the rows of each."""
    season = generator.season
    folder.mkdir(parents=True)
    rows: Counter[str] = Counter()
    with ExitStack() as stack:
        files: dict[str, Writer] = {}
        cheats: list[pa.RecordBatch] = []

        def write(partner: str, batch: pa.RecordBatch) -> None:
            if overlay is not None:
                batch, own = overlay.over(partner, batch)
                cheats.append(own)
            files[partner].write(batch)
            rows[partner] += batch.num_rows

        for partner, schema in generator.renderer.schemas.items():
            schema = schema if overlay is None else with_devices(schema)
            file = open_report(folder / f"{partner}.{kind}", schema, kind, partner)
            files[partner] = stack.enter_context(closing(file))
        for made in generator.day(number):
            for partner, batch in made.batches:
                write(partner, batch)
            done += made.acts
            progress(season.days[number].isoformat(), 99 * done // season.size.actions, done)
        for partner, batch in generator.planted(number):
            write(partner, batch)
    if overlay is not None:
        truth = folder.parent.parent / "cheats"
        truth.mkdir(exist_ok=True)
        write_parquet(truth / f"{folder.name}.parquet", CHEATS_SCHEMA, cheats)
    return dict(sorted(rows.items()))


def _devices(scenario: Scenario) -> Devices:
    if scenario.devices is None:
        raise refuse(
            "devices-missing",
            f"scenario {scenario.id} says nothing of devices",
            where="--devices",
            remedy="leave the option out, or add devices to the scenario",
        )
    return scenario.devices


def _counted(batch: pa.RecordBatch) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(batch["kind"]).to_pylist()}


def _size(
    scenario: Scenario, people: int | None, actions: int | None, days: int | None, seed: int, *, text: bool
) -> Size:
    """What is to be simulated, what is left out in proportion to what is given."""
    length = scenario.days if days is None else days
    share = length / scenario.days
    if people is None:
        people = scenario.people if actions is None else round(actions / share / scenario.actions * scenario.people)
    if actions is None:
        actions = round(people / scenario.people * scenario.actions * share)
    limits = (
        ("--days", length, min(scenario.days, MOST_DAYS)),
        ("--people", people, MOST_PEOPLE),
        ("--actions", actions, 1 << 40),
    )
    problems = [
        Problem("simulation-size", f"{value:,} is not from 1 to {most:,}", option, "choose a number in between")
        for option, value, most in limits
        if not 1 <= value <= most
    ]
    if problems:
        raise TanzhangError(problems)
    return Size(people=people, actions=actions, days=length, seed=seed, text=text)


def _setting(catalogue: Catalogue, scenario: Scenario, size: Size) -> Setting:
    """What the programme says of the scenario's acts; all acts that it could not take are refused here together."""
    programme = catalogue.programme(scenario.programme)
    problems = {
        Problem(
            "unknown-partner",
            f"{partner} is not a partner of programme {programme.id}",
            f"scenario {scenario.id}",
            "correct the scenario, or add the partner to the programme",
        ): None
        for partner in scenario.partners
        if partner not in programme.partners
    }
    windows: dict[tuple[str, bool], int] = {}
    for behaviour in scenario.behaviours:
        reporting = {(channel.partner, channel.evidence) for channel in behaviour.channels}
        reporting |= {(witness.partner, witness.evidence) for witness in behaviour.witnesses}
        agreements = ((partner, programme.partners.get(partner)) for partner in sorted({each for each, _ in reporting}))
        problems |= {
            Problem(
                "behaviour-not-agreed",
                f"partner {partner} has no agreement to report {behaviour.id}",
                f"programme {programme.id}",
                "correct the scenario, or extend the agreement",
            ): None
            for partner, entry in agreements
            if entry is not None and entry.behaviours is not None and behaviour.id not in entry.behaviours
        }
        questions = itertools.product(scenario.districts, range(size.days), sorted({each for _, each in reporting}))
        for (region, _), number, evidence in questions:
            day = scenario.day(number)
            try:
                methodology = catalogue.choose(behaviour.id, region, day, programme.methodologies).methodology
                catalogue.plan(methodology, region, day, None, evidence)
            except TanzhangError as error:
                problems |= dict.fromkeys(error.problems)
                continue
            days = programme.window_days(methodology.activity_family, methodology.window_days)
            # As in intake: an issuer's number makes an act unique, unless it could overlap with another.
            unique = "identifier" in methodology.claim.fields and not methodology.claim.overlap
            windows |= {(behaviour.id, False): days, (behaviour.id, True): 0 if unique else days}
    if problems:
        raise TanzhangError(problems)
    return Setting(
        time_zone=programme.time_zone,
        windows=windows,
        agreements={partner: programme.partners[partner].behaviours for partner in scenario.partners},
    )
