"""``tanzhang staff``: people of enterprises, buyers and verifiers, of the city, auditors and operators."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now
from tanzhang.cli.partner import operator

staff_app = typer.Typer(help="Who signs in with a name and a password.")


@staff_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What somebody signs in by.")],
    role: Annotated[str, typer.Option("--role", help="enterprise, buyer, verifier, city, auditor or operator.")],
    partner: Annotated[
        str | None,
        typer.Option("--partner", help="Whose staff: a partner, or with role buyer a party, or a verifier."),
    ] = None,
    position: Annotated[str | None, typer.Option("--position", help="owner or analyst, with role enterprise.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Invite somebody; the one-time link is shown this once. This is how the first operator comes in."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.staff import invite

        opened = home_of(home)
        made = invite(opened, role, name, partner=partner, position=position, actor=operator(), now=now())
        answer(as_json, made, tree)


@staff_app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Everybody, by name."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.staff import listed

        answer(as_json, {"staff": listed(home_of(home), None, "", 100_000)}, tree)
