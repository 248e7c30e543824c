"""``tanzhang party``: organisations that may hold and trade units, and the documents they are known by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, content_of, converted, home_of, now
from tanzhang.cli.partner import operator

party_app = typer.Typer(help="Organisations that may hold and trade units.")

Party = Annotated[str, typer.Argument(metavar="PARTY", help="Id of the party.")]
Digest = Annotated[str, typer.Argument(metavar="DIGEST", help="SHA-256 of the document, as the party's page shows it.")]
Note = Annotated[str | None, typer.Option("--note", help="Why; the party sees it.")]


@party_app.command("apply")
def apply_(
    party: Party,
    title: Annotated[str, typer.Option("--title", help="Its name, as in the business licence.")],
    contact: Annotated[str, typer.Option("--contact", help="Whom to ask there.")],
    bank_account: Annotated[str, typer.Option("--bank-account", help="Where its money comes from and goes back to.")],
    kind: Annotated[
        str, typer.Option("--kind", help="enterprise, institution, public_body, social_organisation or other.")
    ] = "enterprise",
    credit_code: Annotated[
        str | None, typer.Option("--credit-code", help="Unified social credit code of 18 characters.")
    ] = None,
    phone: Annotated[str | None, typer.Option("--phone", help="Of whom to ask.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="Of whom to ask.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take an application; documents and a decision come after it."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.parties import PartySaid, apply

        said = {"title": title, "kind": kind, "bank_account": bank_account, "credit_code": credit_code}
        wanted = converted({**said, "contact": {"name": contact, "phone": phone, "email": email}}, PartySaid)
        answer(as_json, apply(home_of(home), party, wanted, actor=operator(), now=now()), next_steps.party)


@party_app.command("list")
def list_(
    state: Annotated[str | None, typer.Option("--state", help="Those in one state alone.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Every party, by id."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.parties import listed

        answer(as_json, {"parties": listed(home_of(home), state=state)}, tree)


@party_app.command("show")
def show(party: Party, home: HomeOption = None, as_json: AsJson = False) -> None:
    """A party, whom to ask there, its documents."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.parties import described, party_named

        opened = home_of(home)
        answer(as_json, described(opened, party_named(opened, party)), next_steps.party)


@party_app.command("document")
def document(
    party: Party,
    file: Annotated[Path, typer.Argument(help="The document, of at most 2 MiB.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind", help="business_licence, representative, beneficial_owner, authority, bank_account or other."
        ),
    ] = "other",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Hand in a document; it is sealed at rest."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.parties import DocumentSaid, add_document

        wanted = converted({"kind": kind}, DocumentSaid).kind
        opened, content = home_of(home), content_of(file)
        answer(
            as_json,
            add_document(opened, party, wanted, file.name, content, actor=operator(), now=now()),
            next_steps.document(party),
        )


@party_app.command("read")
def read(
    party: Party,
    digest: Digest,
    out: Annotated[Path, typer.Option("--out", help="New file; it may name people, so keep it safe.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a document into a new file; that it was read is in the audit trail."""
    with answering(as_json):
        from tanzhang.cli.common import write_new
        from tanzhang.cli.show import tree
        from tanzhang.service.market.parties import document_data

        data = document_data(home_of(home), party, digest, actor=operator(), now=now())
        write_new(out, data)
        answer(as_json, {"status": "written", "file": str(out)}, tree)


@party_app.command("judge")
def judge(
    party: Party,
    digest: Digest,
    accept: Annotated[bool, typer.Option("--accept/--refuse", help="What is thought of it.")],
    note: Note = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what is thought of a document."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.parties import judge_document

        opened = home_of(home)
        found = judge_document(opened, party, digest, accepted=accept, note=note, actor=operator(), now=now())
        answer(as_json, found, next_steps.document(party))


@party_app.command("set")
def set_(
    party: Party,
    state: Annotated[str, typer.Argument(metavar="STATE", help="approved, refused, suspended or closed.")],
    note: Note = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Approve, refuse, suspend or close a party."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.parties import set_state

        answer(
            as_json, set_state(home_of(home), party, state, note=note, actor=operator(), now=now()), next_steps.party
        )


@party_app.command("forget")
def forget_(party: Party, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let go whom to ask at a party that is over, its bank account and what its documents say, for good."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.parties import forget

        answer(as_json, forget(home_of(home), party, actor=operator(), now=now()), tree)
