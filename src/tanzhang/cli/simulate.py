"""``tanzhang simulate``: a season of invented reports as files, and the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tanzhang.cli.common import answer, answering, catalogue_of


def simulate(
    scenario: Annotated[str, typer.Option("--scenario", help="Id of a scenario of the catalogue.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New or empty folder for the files.")],
    people: Annotated[int | None, typer.Option("--people", min=1, help="Persons (default: the scenario's).")] = None,
    actions: Annotated[
        int | None, typer.Option("--actions", min=1, help="Acts that happen (default: in proportion).")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="First days of the scenario only.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 1,
    format_: Annotated[str, typer.Option("--format", help="parquet, ndjson or csv.")] = "parquet",
    devices: Annotated[
        bool, typer.Option("--devices", help="Devices and pictures too, with the cheats that show in them.")
    ] = False,
    catalogue: Annotated[
        list[Path] | None, typer.Option("--catalogue", help="Folder of your own catalogue files over the shipped ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> None:
    """Write a simulated season of reports and the truth about it."""
    with answering(as_json):
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.simulate import simulate as service

        with progress_line("simulate") as progress:
            result = service(
                catalogue_of(catalogue),
                scenario,
                out,
                people=people,
                actions=actions,
                days=days,
                seed=seed,
                format=format_,
                devices=devices,
                progress=progress,
            )
        answer(as_json, {**result, "folder": str(out)}, simulated)


def simulated(answer: Mapping[str, Any]) -> None:
    """What was written, without the counts of every file."""
    from tanzhang.cli.show import tree

    tree({name: value for name, value in answer.items() if name != "rows_by_day_and_partner"})
