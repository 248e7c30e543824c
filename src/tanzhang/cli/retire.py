"""``tanzhang retire`` and ``tanzhang retirement``: units that are used for a claim, and what shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import (
    AsJson,
    HomeOption,
    answer,
    answering,
    check_new,
    content_of,
    day_of,
    home_of,
    now,
    vkey_of,
    write_new,
)
from tanzhang.cli.partner import operator

retirement_app = typer.Typer(help="Units that were used for a claim, for good.")

Retirement = Annotated[str, typer.Argument(metavar="ID", help="Id of the retirement.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="New file.")]


def retire_(
    party: Annotated[str, typer.Argument(metavar="PARTY", help="Whose units they are.")],
    reference: Annotated[str, typer.Option("--reference", help="Names it; the same again is the same retirement.")],
    beneficiary: Annotated[str, typer.Option("--beneficiary", help="For whom.")],
    purpose: Annotated[str, typer.Option("--purpose", help="Code of the market rules: tanzhang market terms.")],
    since: Annotated[str, typer.Option("--since", help="First day of the period of the claim, YYYY-MM-DD.")],
    until: Annotated[str, typer.Option("--until", help="Last day of it.")],
    serial: Annotated[list[str] | None, typer.Option("--serial", help="Units by number; as often as needed.")] = None,
    lot: Annotated[str | None, typer.Option("--lot", help="Instead: the lowest that are held of this lot,")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="so many of them.")] = None,
    beneficiary_id: Annotated[str, typer.Option("--beneficiary-id", help="A number it is known by.")] = "",
    using_entity: Annotated[str, typer.Option("--using-entity", help="Who makes the claim, if another.")] = "",
    note: Annotated[str, typer.Option("--note", help="What everybody may read with it.")] = "",
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Nobody sees for whom; a file can show it.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Retire units that a party holds, for good."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import Asked, retire

        asked = Asked(
            purpose=purpose,
            since=day_of(since, "--since"),
            until=day_of(until, "--until"),
            beneficiary=beneficiary,
            beneficiary_id=beneficiary_id,
            using_entity=using_entity,
            note=note,
            anonymous=anonymous,
            serials=tuple(serial or ()),
            lot=lot,
            count=count,
        )
        answer(as_json, retire(home_of(home), party, reference, asked, actor=operator(), now=now()), tree)


@retirement_app.command("list")
def list_(
    lot: Annotated[str | None, typer.Option("--lot", help="Of one lot alone.")] = None,
    vintage: Annotated[int | None, typer.Option("--vintage", help="Of one vintage alone.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="For one purpose alone.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Every retirement as everybody sees it, the latest first."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import retirements

        found = retirements(home_of(home), lot=lot, vintage=vintage, purpose=purpose)
        answer(as_json, {"retirements": found}, tree)


@retirement_app.command("show")
def show(retirement: Retirement, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A retirement with names that its party keeps to itself."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import retirement_page

        answer(as_json, retirement_page(home_of(home), retirement, to_holder=True), tree)


@retirement_app.command("certificate")
def certificate(retirement: Retirement, out: Out, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Write the certificate, as JSON, or as a page where the name ends in .pdf."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.certificate_page import pdf_of
        from tanzhang.service.market.retirement_certificate import retirement_certificate

        data = retirement_certificate(home_of(home), retirement, now=now())
        check_new(out)
        out.write_bytes(pdf_of(data) if out.suffix == ".pdf" else data)
        answer(as_json, {"status": "written", "id": retirement, "file": str(out)}, tree)


@retirement_app.command("opening")
def opening(retirement: Retirement, out: Out, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Write the file that shows whom a retirement was for, for 'tanzhang certificate verify --opening'."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import opening_of, retirement_row

        opened = home_of(home)
        write_new(out, opening_of(opened, retirement_row(opened, retirement).id).to_text().encode())
        answer(as_json, {"status": "written", "id": retirement, "file": str(out)}, tree)


@retirement_app.command("open")
def open_(retirement: Retirement, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let everybody see whom a silent retirement was for; once shown it stays so."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import open_to_all

        answer(as_json, open_to_all(home_of(home), retirement, actor=operator(), now=now()), tree)


@retirement_app.command("remove")
def take_away_(
    retirement: Retirement,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept for good, so it must name nobody.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Forget whom a retirement was for, where a person is named who wants that; the units stay retired."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import take_away

        answer(as_json, take_away(home_of(home), retirement, reason, actor=operator(), now=now()), tree)


@retirement_app.command("addendum")
def addendum(
    retirement: Retirement,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What puts the spelling right.")],
    reference: Annotated[str, typer.Option("--reference", help="Names it; the same again is the same addendum.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Put a spelling right beside a retirement, which itself never changes."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import add_addendum

        answer(as_json, add_addendum(home_of(home), retirement, reference, text, actor=operator(), now=now()), tree)


@retirement_app.command("proof")
def proof_(retirement: Retirement, out: Out, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Write the proof that a retirement is in the log; it names nobody."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import proof

        check_new(out)
        out.write_bytes(proof(home_of(home), retirement))
        answer(as_json, {"status": "written", "id": retirement, "file": str(out)}, tree)


@retirement_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="Proof of a retirement.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key, or the file that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Verify a proof without a home."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.retire import check_proof

        answer(as_json, check_proof(content_of(file), vkey_of(key)), tree)


@retirement_app.command("serial")
def serial(
    number: Annotated[str, typer.Argument(metavar="SERIAL", help="Serial number of units.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Units by their serial number: how they stand, and everything that was done to them."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.unit_pages import block_page

        answer(as_json, block_page(home_of(home), number), tree)


@retirement_app.command("totals")
def totals(home: HomeOption = None, as_json: AsJson = False) -> None:
    """How much was issued, and what became of it."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.unit_pages import unit_totals

        answer(as_json, unit_totals(home_of(home)), tree)
