"""``tanzhang replay``: settle a season of report files day by day."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import answer, answering, book_access, folder_of
from tanzhang.cli.engines import EngineOption, MasterOption, settling_with


def replay(
    folder: Annotated[Path, typer.Argument(help="Folder with reports/<day>/<partner>.parquet.")],
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar="TANZHANG_HOME", help="Folder of the programme; set up if there is none."),
    ] = None,
    book: Annotated[
        str | None, typer.Option("--book", help="postgresql://user@host/database for the book of a new home.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="s3://bucket/prefix or a folder for the files of a new home.")
    ] = None,
    engine: EngineOption = "embedded",
    master: MasterOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> None:
    """Settle a season of report files day by day."""
    with answering(as_json), settling_with(engine, master) as chosen:
        from tanzhang.cli.progress import progress_line
        from tanzhang.cli.show import season
        from tanzhang.service.replay import home_for
        from tanzhang.service.replay import replay as service

        with progress_line("replay") as progress:
            opened = home_for(folder, folder_of(home), book=book, book_access=book_access(), storage=storage)
            result = service(opened, folder, progress=progress, engine=chosen)
        answer(as_json, result, season)
