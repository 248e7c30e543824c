"""``tanzhang catalogue``: what is published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import (
    AsJson,
    Day,
    Overlays,
    Region,
    answer,
    answering,
    catalogue_of,
    day_of,
)

catalogue_app = typer.Typer(help="What is published: behaviours, methodologies, factors.")


@catalogue_app.command("check")
def catalogue_check(catalogue: Overlays = None, as_json: AsJson = False) -> None:
    """Check every file: all mistakes at once, each with file, line and remedy."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import check_catalogue

        report = check_catalogue(catalogue_of(catalogue))
        result = {
            "status": "failed" if report.problems else "checked",
            "counts": dict(report.counts),
            "problems": [problem.as_dict() for problem in report.problems],
        }
        answer(as_json, result, show.catalogue_checked)
        if report.problems:
            raise typer.Exit(1)


@catalogue_app.command("list")
def catalogue_list(catalogue: Overlays = None, as_json: AsJson = False) -> None:
    """Every behaviour with its methodologies, and the declared gaps."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import listing

        answer(as_json, listing(catalogue_of(catalogue)), show.catalogue_listed)


@catalogue_app.command("show")
def catalogue_show(
    item: Annotated[
        str, typer.Argument(metavar="ID", help="Behaviour, methodology, factor, programme, points programme or source.")
    ],
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """Everything the catalogue says of one thing."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import show as service

        answer(as_json, service(catalogue_of(catalogue), item), show.tree)


@catalogue_app.command("resolve")
def catalogue_resolve(
    item: Annotated[str, typer.Argument(metavar="ID", help="Factor or methodology.")],
    on: Day,
    region: Region,
    variant: Annotated[str | None, typer.Option("--variant", help="Named case of a methodology.")] = None,
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """The value in force for a day and a region, and why this one."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import resolve

        result = resolve(catalogue_of(catalogue), item, on=day_of(on, "--on"), region=region, variant=variant)
        answer(as_json, result, show.tree)


@catalogue_app.command("snapshot")
def catalogue_snapshot(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to (default: in the last folder).")] = None,
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """Write every resolved number, one a line, so that a review shows what a change moves."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import SNAPSHOT, write_snapshot

        opened = catalogue_of(catalogue)
        path = out or opened.folders[-1] / SNAPSHOT
        write_snapshot(opened, path)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        answer(as_json, {"status": "written", "snapshot": str(path), "lines": lines}, show.tree)
