"""``tanzhang payback``: sales divided over people's reductions, what somebody is owed, pay-outs, proofs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated
from uuid import UUID

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
from tanzhang.cli.payout_files import Adapter, Again, Answers, Out, write_payouts

payback_app = typer.Typer(help="Pay people back what their reductions brought.")

Deal = Annotated[int, typer.Argument(metavar="DEAL", help="Number of the sale.")]
Action = Annotated[UUID, typer.Argument(metavar="ACTION", help="Id of the act.")]


@payback_app.command("run")
def run(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Divide every sale that was delivered and is not divided; workers do that by themselves."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.payback import run_due

        answer(as_json, run_due(home_of(home), now=now()), next_steps.divided)


@payback_app.command("show")
def show(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every sale that was divided, and what is owed, on its way, paid and in escrow in all."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback import runs, sums

        opened = home_of(home)
        answer(as_json, {"sums": sums(opened), "sales": runs(opened)}, tree)


@payback_app.command("statement")
def statement(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What an account is owed, what each sale brought it, and its pay-outs."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_payouts import payouts
        from tanzhang.service.market.payback_statement import overview, sales

        opened = home_of(home)
        own = looked_at(opened, account, "payback statement")
        said = overview(opened, own, now=now())
        answer(as_json, {**said, "sales": sales(opened, own), "payouts": payouts(opened, own)}, tree)


@payback_app.command("ask")
def ask_(
    account: AccountArgument,
    payee: Annotated[str, typer.Option("--payee", help="Whom the bank or the wallet knows.")],
    reference: Annotated[
        str | None, typer.Option("--reference", help="Names the pay-out; the same again is the same one.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Ask for all that an account is owed."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_payouts import ask, described

        opened = home_of(home)
        own = looked_at(opened, account, "payback ask")
        named = reference or secrets.token_hex(16)
        answer(as_json, described(ask(opened, own, payee, named, now=now())), tree)


@payback_app.command("file")
def file_(
    out: Out,
    again: Again = None,
    adapter: Adapter = "bank_file",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write what was asked for into a new file, or a file again; it names people, so keep it safe and not for long."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_payouts import PAYBACKS

        answer(as_json, write_payouts(home_of(home), out, again, adapter, PAYBACKS), tree)


@payback_app.command("files")
def files_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every file of pay-outs, and how many of each are not answered."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_payouts import PAYBACKS
        from tanzhang.service.payouts import files

        answer(as_json, {"files": files(home_of(home), of=PAYBACKS)}, tree)


@payback_app.command("answer")
def answer_(
    file: Answers,
    adapter: Adapter = "bank_file",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take over what became of pay-outs: all of it, or nothing if any of it is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_payouts import PAYBACKS
        from tanzhang.service.payouts import take_answers

        data = content_of(file)
        said = take_answers(home_of(home), adapter, data, file.name, actor=operator(), now=now(), of=PAYBACKS)
        answer(as_json, said, tree)


@payback_app.command("escrow")
def escrow(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Give what was long enough in escrow to the purpose that today's rules declare; workers do that by themselves."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback import end_escrow

        answer(as_json, end_escrow(home_of(home), actor=operator(), now=now()), tree)


@payback_app.command("prove")
def prove(
    account: AccountArgument,
    deal: Deal,
    action: Action,
    out: Annotated[Path, typer.Option("--out", help="New file for the proof.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof of what an act had to get of a sale; it holds offline and names nobody."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_statement import payment_proof
        from tanzhang.service.reading import Reader

        opened = home_of(home)
        own = looked_at(opened, account, "payback prove")
        check_new(out)
        out.write_bytes(payment_proof(Reader(opened), own, action, deal))
        answer(as_json, {"status": "written", "deal": deal, "file": str(out)}, tree)


@payback_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Proof file of a payment.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key, or the file that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Compute a payment again from its proof, without a home."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payback_statement import check_proof

        answer(as_json, check_proof(content_of(file), vkey_of(key)), tree)
