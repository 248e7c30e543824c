"""``tanzhang witness``: be a witness for other logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, answer, answering, vkey_of

witness_app = typer.Typer(help="Be a witness for other logs.")

Folder = Annotated[
    Path, typer.Option("--folder", envvar="TANZHANG_WITNESS", help="Folder with the witness's key and state.")
]


@witness_app.command("init")
def witness_init(
    folder: Folder,
    name: Annotated[str, typer.Option("--name", help="Key name, best the witness's public URL without https://.")],
    as_json: AsJson = False,
) -> None:
    """Make a new witness: its key and an empty state."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.witness import new_witness

        answer(as_json, new_witness(folder, name), tree)


@witness_app.command("add-log")
def witness_add_log(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The log's public key (vkey), or a file that holds it.")],
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Watch one more log."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.witness import add_log

        answer(as_json, add_log(folder, vkey_of(key)), tree)


@witness_app.command("status")
def witness_status(folder: Folder, as_json: AsJson = False) -> None:
    """The logs that are watched, and the size last signed for each."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.witness import status

        answer(as_json, status(folder), tree)


@witness_app.command("serve")
def witness_serve(
    folder: Folder,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port to listen on.")] = 8330,
    as_json: AsJson = False,
) -> None:
    """Answer logs and monitors over HTTP until Ctrl-C; TLS is the business of the proxy in front."""
    with answering(as_json):
        from tanzhang.api.witness import serve

        serve(folder, host, port)
