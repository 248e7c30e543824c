"""``tanzhang benefits``: what points buy besides goods, transfers to banks, pay-outs."""

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
    content_of,
    day_of,
    home_of,
    looked_at,
    now,
)
from tanzhang.cli.partner import operator
from tanzhang.cli.payout_files import Adapter, Again, Answers, Out, write_payouts

benefits_app = typer.Typer(help="What points buy besides goods: tokens, bank points.")


@benefits_app.command("load")
def load(
    file: Annotated[Path, typer.Argument(help="YAML file of benefits.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take benefits over from a file: all of them, or none if any is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.benefits import load_benefits

        answer(as_json, load_benefits(home_of(home), file, actor=operator(), now=now()), tree)


@benefits_app.command("list")
def list_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every benefit, as everybody sees it."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.benefits import offers

        answer(as_json, {"benefits": offers(home_of(home))}, tree)


@benefits_app.command("buy")
def buy_(
    account: AccountArgument,
    benefit: Annotated[str, typer.Argument(metavar="BENEFIT", help="Id of the benefit.")],
    points: Annotated[int | None, typer.Option("--points", min=1, help="How many, where a rate holds.")] = None,
    payee: Annotated[str | None, typer.Option("--payee", help="Whom the bank or the wallet knows.")] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Names the use; the same again is the same use.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Get a benefit for an account's points."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.benefits import buy, described

        opened = home_of(home)
        moment = now()
        own = looked_at(opened, account, "benefits buy", moment=moment)
        named = reference or secrets.token_hex(16)
        row = buy(opened, own, benefit, named, points=points, payee=payee, now=moment)
        answer(as_json, described(row), tree)


@benefits_app.command("uses")
def uses_(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """The uses of an account and their states."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.benefits import uses

        opened = home_of(home)
        own = looked_at(opened, account, "benefits uses")
        answer(as_json, {"uses": uses(opened, own)}, tree)


@benefits_app.command("banks")
def banks(home: HomeOption = None, as_json: AsJson = False) -> None:
    """What each bank verifies our requests by; a shared secret is for that bank alone."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.transfers import bank_keys

        answer(as_json, {"banks": bank_keys(home_of(home))}, tree)


@benefits_app.command("transfer")
def transfer(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Ask banks about transfers that are due now; a worker does it by itself."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.transfers import settle_transfers

        answer(as_json, {"status": "asked", **settle_transfers(home_of(home), now=now())}, tree)


@benefits_app.command("pending")
def pending_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Transfers whose bank has not answered, those that wait longest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.transfers import pending

        answer(as_json, {"pending": pending(home_of(home))}, tree)


@benefits_app.command("reconcile")
def reconcile_(
    bank: Annotated[str, typer.Argument(metavar="BANK", help="Id of the bank.")],
    file: Annotated[Path, typer.Argument(help="The bank's CSV of a day: id, points.")],
    on: Annotated[str, typer.Option("--on", help="Local day that the requests named.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare a bank's file of a day with ours, and list what differs; ends with 1 if anything does."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.transfers import reconcile

        found = reconcile(home_of(home), bank, day_of(on, "--on"), file)
        answer(as_json, found, tree)
        if found["differences"]:
            raise typer.Exit(1)


@benefits_app.command("payout")
def payout(
    out: Out,
    again: Again = None,
    adapter: Adapter = "bank_file",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write what was asked for into a new file, or a file again; it names people, so keep it safe and not for long."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.payouts import RED_PACKETS

        answer(as_json, write_payouts(home_of(home), out, again, adapter, RED_PACKETS), tree)


@benefits_app.command("payouts")
def payouts_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every file of pay-outs, and how many of each are not answered."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.payouts import files

        answer(as_json, {"files": files(home_of(home))}, tree)


@benefits_app.command("paid")
def paid(
    file: Answers,
    adapter: Adapter = "bank_file",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take over what became of pay-outs: all of it, or nothing if any of it is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.payouts import take_answers

        opened = home_of(home)
        said = take_answers(opened, adapter, content_of(file), file.name, actor=operator(), now=now())
        answer(as_json, said, tree)
