"""``tanzhang whatif``: what changed rules would come to over a past season, beside those in force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, day_of, home_of

whatif_app = typer.Typer(help="What changed rules would come to; nothing is booked.")

_File = Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The changed rules, as a file of the catalogue.")]
_Since = Annotated[str | None, typer.Option("--from", help="First local day of the acts, YYYY-MM-DD.")]
_Until = Annotated[str | None, typer.Option("--to", help="Last local day of the acts, YYYY-MM-DD.")]


@whatif_app.command("points")
def points(
    file: _File, since: _Since = None, until: _Until = None, home: HomeOption = None, as_json: AsJson = False
) -> None:
    """Points by a changed points programme, by behaviour and district, and when budgets would end."""
    from tanzhang.service.whatif import whatif_points

    _run(whatif_points, file, since, until, home, as_json)


@whatif_app.command("methodology")
def methodology(
    file: _File, since: _Since = None, until: _Until = None, home: HomeOption = None, as_json: AsJson = False
) -> None:
    """Grams by a changed methodology, and the points of them by the rules in force; decisions stay as they were."""
    from tanzhang.service.whatif import whatif_methodology

    _run(whatif_methodology, file, since, until, home, as_json)


def _run(service: Any, file: Path, since: str | None, until: str | None, home: Path | None, as_json: bool) -> None:
    from tanzhang.cli.progress import progress_line

    with answering(as_json):
        days = {name: day_of(text, f"--{name}") for name, text in (("from", since), ("to", until)) if text is not None}
        opened = home_of(home)
        with progress_line("what if") as progress:
            result = service(opened, file, since=days.get("from"), until=days.get("to"), progress=progress)
        answer(as_json, result, _show)


def _show(answer: Mapping[str, Any]) -> None:
    """Cells as a table, the total last, then budgets and what was refused."""
    from rich.console import Console
    from rich.table import Table

    from tanzhang.cli.show import mass, printable

    names = list(answer["total"]["points"])
    table = Table(title=f"{answer['changed']} beside what is in force", title_justify="left", box=None, pad_edge=False)
    for column in ("behaviour", "district", "acts", "now", "then"):
        table.add_column(column, justify="left" if column in ("behaviour", "district") else "right")
    for name in names:
        table.add_column(f"{name} now", justify="right", overflow="fold")
        table.add_column("then", justify="right")
    for cell in (*answer["cells"], {"behaviour": "total", "district": ""} | answer["total"]):
        acts = " -> ".join(dict.fromkeys((cell["acts"]["now"], cell["acts"]["then"])))
        grams = (mass(cell["granted_mg"]["now"]), mass(cell["granted_mg"]["then"]))
        amounts = [cell["points"][name][word] for name in names for word in ("now", "then")]
        table.add_row(printable(cell["behaviour"]), cell["district"], acts, *grams, *(f"{int(a):,}" for a in amounts))
    console = Console()
    console.print(table)
    for each in answer["sponsors"]:
        for word in ("now", "then"):
            side = each[word]
            end = f", spent on {side['ended_on']}" if side["ended_on"] else ""
            text = f"{each['sponsor']} {word}: {int(side['spent']):,} of {int(side['budget']):,} points{end}"
            console.print(printable(text), highlight=False)
    for code, count in answer.get("refused", {}).items():
        console.print(f"{int(count):,} acts are given nothing by the changed file: {code}", highlight=False)
    console.print(f"{answer['records']} records of {answer['batches']} batches in {answer['seconds']} s", style="dim")
