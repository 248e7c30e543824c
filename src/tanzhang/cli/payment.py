"""``tanzhang payment``: what came in at the bank, what it is for, and what goes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, content_of, day_of, home_of, now, write_new
from tanzhang.cli.deal import Note, Reference
from tanzhang.cli.partner import operator

payment_app = typer.Typer(help="Money for deals and pledges, in and out.")

Entry = Annotated[str, typer.Argument(metavar="ENTRY", help="The bank's own number of the payment.")]
DealOption = Annotated[int, typer.Option("--deal", min=1, help="Number of the deal.")]
BankFile = Annotated[Path, typer.Argument(help="CSV of the bank: see docs/trading.md.")]


@payment_app.command("statement")
def statement(
    file: BankFile,
    adapter: Annotated[str, typer.Option("--adapter", help="Form of the file.")] = "bank_statement",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take in what a statement says came in, and deliver what is paid for; read again it adds nothing."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.payments import take_statement

        said = take_statement(home_of(home), adapter, content_of(file), file.name, actor=operator(), now=now())
        answer(as_json, said, next_steps.statement)


@payment_app.command("confirm")
def confirm_(
    entry: Entry,
    deal: DealOption,
    amount_fen: Annotated[int, typer.Option("--amount-fen", min=1, help="Fen that came in.")],
    on: Annotated[str, typer.Option("--on", help="Day on which the bank booked it, YYYY-MM-DD.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Confirm by hand that money came in for a deal; a statement with this entry then adds nothing."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payments import confirm
        from tanzhang.stores.bank_statements import Line

        line = Line(entry, day_of(on, "--on"), amount_fen, "", "", "", "options")
        answer(as_json, confirm(home_of(home), deal, line, actor=operator(), now=now()), tree)


@payment_app.command("list")
def list_(
    state: Annotated[str | None, typer.Option("--state", help="unclear, waiting, surplus or settled.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Payments, the latest first, with who paid; those to look at are unclear or a surplus."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payments import listed

        answer(as_json, {"payments": listed(home_of(home), state=state)}, tree)


@payment_app.command("use")
def use(entry: Entry, deal: DealOption, note: Note, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Use money that is unclear or a surplus for a deal that waits."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.payments import use_payment

        answer(as_json, use_payment(home_of(home), entry, deal, note, actor=operator(), now=now()), tree)


@payment_app.command("return")
def return_(
    entry: Entry,
    note: Note,
    payee: Annotated[str | None, typer.Option("--payee", help="Account, where the statement did not say one.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Send money back that is unclear or a surplus: it goes into the next file for the bank."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.returns import send_back

        answer(as_json, send_back(home_of(home), entry, note, payee=payee, actor=operator(), now=now()), tree)


@payment_app.command("pay-out")
def pay_out_(
    party: Annotated[str, typer.Argument(metavar="PARTY", help="Id of the seller.")],
    amount_fen: Annotated[int, typer.Option("--amount-fen", min=1, help="How many fen of its proceeds.")],
    reference: Reference,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Pay a seller out of what it was paid: it goes into the next file for the bank."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.returns import pay_out

        answer(as_json, pay_out(home_of(home), party, amount_fen, reference, actor=operator(), now=now()), tree)


@payment_app.command("returns")
def returns(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Money on its way back, and the files for the bank."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.returns import files, listed

        opened = home_of(home)
        answer(as_json, {"returns": listed(opened), "files": files(opened)}, tree)


@payment_app.command("return-file")
def return_file(
    out: Annotated[Path, typer.Option("--out", help="New file for the bank; it names accounts, so keep it safe.")],
    again: Annotated[str | None, typer.Option("--again", help="Id of a file that is to be made again.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write what is to go back into a new file for the bank, or a file again."""
    with answering(as_json):
        from tanzhang.cli.common import check_new
        from tanzhang.cli.show import tree
        from tanzhang.service.market.returns import file_data, new_file

        opened = home_of(home)
        check_new(out)
        made = {"status": "made again", "id": again} if again else new_file(opened, actor=operator(), now=now())
        write_new(out, file_data(opened, made["id"]))
        answer(as_json, {**made, "file": str(out)}, tree)


@payment_app.command("returned")
def returned(file: BankFile, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Take over what the bank says became of it: all of it, or nothing if any of it is wrong."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.returns import take_answers

        said = take_answers(home_of(home), content_of(file), file.name, actor=operator(), now=now())
        answer(as_json, said, tree)
