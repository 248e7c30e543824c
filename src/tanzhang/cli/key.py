"""``tanzhang key``: what partners' programs show to be recognised."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now
from tanzhang.cli.partner import Partner, operator

key_app = typer.Typer(help="Keys of partners.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, the part between 'tz_' and the next '_'.")]


@key_app.command("issue")
def issue(
    partner: Partner,
    scope: Annotated[list[str], typer.Option("--scope", help="report, ledger, link or webhooks; may be repeated.")],
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = "",
    days: Annotated[int | None, typer.Option("--days", min=1, help="How long it lasts (default: no end).")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key; it is shown this once."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.access import issue_key

        lasts = None if days is None else timedelta(days=days)
        made = issue_key(home_of(home), partner, scope, label=label, lasts=lasts, actor=operator(), now=now())
        answer(as_json, made, tree)


@key_app.command("list")
def list_(partner: Partner, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A partner's keys, the newest first, with the day each was last used on."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.access import described_key

        answer(as_json, {"keys": [described_key(row) for row in home_of(home).access.keys(partner)]}, tree)


@key_app.command("rotate")
def rotate(
    key: Key,
    hours: Annotated[int, typer.Option("--old-ends-in", min=0, help="Hours until the old one ends.")] = 24 * 7,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Issue a key in place of one, which ends after a while."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.access import rotate_key

        made = rotate_key(home_of(home), key, ends_in=timedelta(hours=hours), actor=operator(), now=now())
        answer(as_json, made, tree)


@key_app.command("revoke")
def revoke(key: Key, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let a key open nothing from now on."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.access import revoke_key

        answer(as_json, revoke_key(home_of(home), key, actor=operator(), now=now()), tree)
