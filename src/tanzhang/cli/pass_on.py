"""``tanzhang pass-on``: grams that go to other schemes, and that come from them."""

from __future__ import annotations

import secrets
import uuid
from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import (
    AccountArgument,
    AsJson,
    HomeOption,
    answer,
    answering,
    check_new,
    content_of,
    home_of,
    looked_at,
    now,
    vkey_of,
)
from tanzhang.cli.partner import operator

pass_on_app = typer.Typer(help="Pass grams on to another scheme, or take them in.")

Scheme = Annotated[str, typer.Argument(metavar="SCHEME", help="Id of the scheme.")]
File = Annotated[Path, typer.Argument(help="File of what was passed on.")]


@pass_on_app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="YAML file of schemes.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take schemes over from a file: all of them, or none if any is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import load_schemes

        answer(as_json, load_schemes(home_of(home), file, actor=operator(), now=now()), tree)


@pass_on_app.command("schemes")
def schemes_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every scheme, what went to it and what came from it."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import schemes

        answer(as_json, {"schemes": schemes(home_of(home))}, tree)


@pass_on_app.command("show")
def show(scheme: Scheme, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A scheme's page: sums, and the entries of the log that commit to them."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import scheme_page

        answer(as_json, scheme_page(home_of(home), scheme), tree)


@pass_on_app.command("give")
def give(
    account: AccountArgument,
    scheme: Scheme,
    grams_mg: Annotated[int, typer.Option("--grams-mg", min=1, help="Milligrams to pass on.")],
    to: Annotated[
        uuid.UUID | None,
        typer.Option("--to", help="Account id at the scheme, if it has a log: who may take it in."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Names it; the same again is the same passing on.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Pass grams of an account on to a scheme, for good."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import pass_on

        opened = home_of(home)
        own = looked_at(opened, account, "pass-on give")
        named = reference or secrets.token_hex(16)
        answer(as_json, pass_on(opened, own, scheme, named, grams_mg=grams_mg, to=to, now=now()), tree)


@pass_on_app.command("list")
def list_(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What an account passed on and took in."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import passings

        opened = home_of(home)
        own = looked_at(opened, account, "pass-on list")
        answer(as_json, {"passings": passings(opened, own)}, tree)


@pass_on_app.command("file")
def file_(
    account: AccountArgument,
    passing: Annotated[str, typer.Argument(metavar="ID", help="Id of what was passed on.")],
    out: Annotated[Path, typer.Option("--out", help="New file.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the file by which the receiver takes it in; it is good for that one alone."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import passed_file

        opened = home_of(home)
        own = looked_at(opened, account, "pass-on file")
        check_new(out)
        out.write_bytes(passed_file(opened, own, passing))
        answer(as_json, {"status": "written", "id": passing, "file": str(out)}, tree)


@pass_on_app.command("check")
def check(
    file: File,
    key: Annotated[str, typer.Option("--key", help="The public key of the giver's log, or the file that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Verify a file without a home: what was passed on, and whom it is for."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import check_file

        answer(as_json, check_file(content_of(file), vkey_of(key)), tree)


@pass_on_app.command("accept")
def accept(account: AccountArgument, file: File, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Take in what another scheme passed on to an account here, once."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import take_in

        opened, data = home_of(home), content_of(file)
        own = looked_at(opened, account, "pass-on accept")
        answer(as_json, take_in(opened, own, data, now=now()), tree)


@pass_on_app.command("lookup")
def look_up(
    passing: Annotated[str, typer.Argument(metavar="ID", help="Id that stands in a file.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """What this home knows of an id: passed on, received, or nothing."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.pass_on import looked_up

        answer(as_json, looked_up(home_of(home), passing), tree)
