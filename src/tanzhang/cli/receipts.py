"""``tanzhang receipt``: receipts that verify offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import (
    AsJson,
    HomeOption,
    answer,
    answering,
    home_of,
    vkey_of,
)

receipt_app = typer.Typer(help="Receipts that verify offline.")


@receipt_app.command("create")
def receipt_create(
    action: Annotated[str, typer.Argument(help="Action id, or PARTNER:REFERENCE.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the receipt.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the receipt of one settled record."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import action_named
        from tanzhang.service.receipt import create_receipt

        opened = home_of(home)
        data = create_receipt(opened, action_named(opened, action))
        out.write_bytes(data)
        result = {"status": "created", "receipt": str(out), "bytes": len(data), "key": opened.values["vkey"]}
        answer(as_json, result, show.receipt_created)


@receipt_app.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(help="A receipt file.")],
    key: Annotated[
        str | None, typer.Option("--key", help="The log's public key (vkey), or a file that holds it.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Which witnesses must have signed; may name the log as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt offline, with nothing but the log's public key or a policy."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.core.policy import parse_policy
        from tanzhang.service.receipt import check_receipt

        vkey = None if key is None else vkey_of(key)
        trusted = None if policy is None else parse_policy(policy.read_bytes(), where=str(policy))
        answer(as_json, check_receipt(file.read_bytes(), vkey, trusted), show.receipt_checked)


@receipt_app.command("page")
def receipt_page(
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the page.")],
    as_json: AsJson = False,
) -> None:
    """Write the page that checks receipts in a browser: one file, without a network."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.web.verify import page

        data = page().encode()
        out.write_bytes(data)
        answer(as_json, {"status": "written", "page": str(out), "bytes": len(data)}, show.tree)
