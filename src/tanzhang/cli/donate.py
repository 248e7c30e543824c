"""``tanzhang donate``: projects that can be given to, gifts, and their proofs."""

from __future__ import annotations

import secrets
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

donate_app = typer.Typer(help="Give grams or points to a project; prove it.")

Gift = Annotated[str, typer.Argument(metavar="GIFT", help="Id of the gift.")]


@donate_app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="YAML file of projects.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take projects over from a file: all of them, or none if any is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import load_projects

        answer(as_json, load_projects(home_of(home), file, actor=operator(), now=now()), tree)


@donate_app.command("projects")
def projects_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every project and what it was given."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import projects

        answer(as_json, {"projects": projects(home_of(home))}, tree)


@donate_app.command("show")
def show(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the project.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """A project's page: totals, and the entries of the log that commit to them."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import project_page

        answer(as_json, project_page(home_of(home), project), tree)


@donate_app.command("give")
def give(
    account: AccountArgument,
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Id of the project.")],
    grams_mg: Annotated[int | None, typer.Option("--grams-mg", min=1, help="Milligrams to give.")] = None,
    points: Annotated[int | None, typer.Option("--points", min=1, help="Points to give.")] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Names the gift; the same again is the same gift.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Give grams or points of an account to a project, for good."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import donate

        opened = home_of(home)
        own = looked_at(opened, account, "donate give")
        named = reference or secrets.token_hex(16)
        answer(as_json, donate(opened, own, project, named, grams_mg=grams_mg, points=points, now=now()), tree)


@donate_app.command("list")
def list_(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """The gifts of an account, and of which records given grams are."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import allocation, gifts
        from tanzhang.service.reading import Reader

        opened = home_of(home)
        own = looked_at(opened, account, "donate list")
        answer(as_json, {"gifts": gifts(opened, own), "allocation": allocation(Reader(opened), own)}, tree)


@donate_app.command("receipt")
def receipt_(
    account: AccountArgument,
    gift: Gift,
    out: Annotated[Path, typer.Option("--out", help="New file for the proof.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that a gift is part of its project's sealed total; it holds offline and names nobody."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.accounts import account_named
        from tanzhang.service.donations import receipt
        from tanzhang.service.privacy import note_operator

        opened = home_of(home)
        own = account_named(opened, account)
        check_new(out)
        note_operator(opened, own, "donate receipt", now=now())
        out.write_bytes(receipt(opened, own, gift))
        answer(as_json, {"status": "written", "gift": gift, "file": str(out)}, tree)


@donate_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Proof file of a gift.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key, or the file that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Verify a gift's proof without a home."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.donations import check_receipt

        answer(as_json, check_receipt(content_of(file), vkey_of(key)), tree)
