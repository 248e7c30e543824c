"""Files of pay-outs, of benefits and of paybacks alike: their options, and how one is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tanzhang.cli.common import check_new, now, write_new
from tanzhang.cli.partner import operator

if TYPE_CHECKING:
    from tanzhang.service.payouts import PayoutSource
    from tanzhang.stores.home import Home

Adapter = Annotated[str, typer.Option("--adapter", help="Form of the files of whoever pays.")]
Out = Annotated[Path, typer.Option("--out", help="New file for whoever pays.")]
Again = Annotated[str | None, typer.Option("--again", help="Id of a file that is to be made again.")]
Answers = Annotated[Path, typer.Argument(help="CSV of whoever paid: reference, status, reason.")]


def write_payouts(home: Home, out: Path, again: str | None, adapter: str, of: PayoutSource) -> dict[str, Any]:
    """A new file of what was asked for, or the one called ``again`` once more; the answer of the command."""
    from tanzhang.service.payouts import file_data, new_file

    check_new(out)
    made = (
        {"status": "made again", "id": again} if again else new_file(home, adapter, actor=operator(), now=now(), of=of)
    )
    write_new(out, file_data(home, made["id"], of=of))
    return {**made, "file": str(out)}
