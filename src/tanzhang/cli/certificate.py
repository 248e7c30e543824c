"""``tanzhang certificate``: certificates that verify offline and can be revoked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, day_of, home_of, now, vkey_of
from tanzhang.cli.partner import operator

certificate_app = typer.Typer(help="Certificates that verify offline and can be revoked.")
Out = Annotated[Path, typer.Option("-o", "--out", help="Where to write it; a name that ends in .pdf for the page.")]


@certificate_app.command("make-key")
def make_key(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Make the key that certificates are signed with, once, and put it into the log."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.certificates import make_key as service

        answer(as_json, service(home_of(home), actor=operator(), now=now()), tree)


@certificate_app.command("rotate-key")
def rotate_key(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Sign from now on with a new key; certificates of before stay valid."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.certificates import rotate_key as service

        answer(as_json, service(home_of(home), actor=operator(), now=now()), tree)


@certificate_app.command("statement")
def statement(
    account: Annotated[str, typer.Argument(help="Account id, or PARTNER:SUBJECT.")],
    month: Annotated[str, typer.Option("--month", help="The month, YYYY-MM.")],
    out: Out,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Issue the statement of an account's month, as JSON or PDF; the person sees that it was done."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.core.access import Role
        from tanzhang.service.accounts import account_named
        from tanzhang.service.certificate_page import pdf_of
        from tanzhang.service.certificates import issue_statement, own_certificate
        from tanzhang.service.privacy import note_staff
        from tanzhang.service.reading import Reader

        opened, moment = home_of(home), now()
        named = account_named(opened, account)
        day = day_of(f"{month}-01", "--month")
        actor = operator()
        note_staff(
            opened, named, role=Role.OPERATOR, who=actor.subject, what=f"statement of {month} issued", now=moment
        )
        made = issue_statement(Reader(opened), named, day, now=moment)
        data = own_certificate(opened, str(named), made["id"])
        out.write_bytes(pdf_of(data) if out.suffix == ".pdf" else data)
        said = {name: value for name, value in made.items() if name != "credential"}
        answer(as_json, {**said, "file": str(out), "says": made["credential"]["credentialSubject"]}, tree)


@certificate_app.command("revoke")
def revoke(
    certificate: Annotated[str, typer.Argument(metavar="ID", help="As it stands on the certificate.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept for good, so it must name nobody.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a certificate for good."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.certificates import revoke as service

        name = certificate.removeprefix("urn:uuid:")
        answer(as_json, service(home_of(home), name, reason, actor=operator(), now=now()), tree)


@certificate_app.command("status-list")
def status_list(
    number: Annotated[int, typer.Argument(help="Which list, from 0.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the list.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a status list, signed, as the service hands it out."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.certificates import status_of

        data = status_of(home_of(home), number, now=now())
        out.write_bytes(data)
        answer(as_json, {"status": "written", "file": str(out), "bytes": len(data)}, tree)


@certificate_app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A certificate, as JSON or PDF.")],
    key: Annotated[
        str | None, typer.Option("--key", help="The log's public key (vkey), or a file that holds it.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Which witnesses must have signed; may name the log as well.")
    ] = None,
    status: Annotated[
        Path | None, typer.Option("--status", help="The status list that it names, fetched within the last day.")
    ] = None,
    opening: Annotated[
        Path | None, typer.Option("--opening", help="The file that shows whom a silent retirement was for.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a certificate offline, with nothing but the log's public key or a policy."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.core.policy import parse_policy
        from tanzhang.service.certificate_check import check_certificate

        trusted = None if policy is None else parse_policy(policy.read_bytes(), where=str(policy))
        listed = None if status is None else status.read_bytes()
        shown = None if opening is None else opening.read_bytes()
        vkey = None if key is None else vkey_of(key)
        said = check_certificate(file.read_bytes(), vkey, trusted, status=listed, opening=shown, now=now())
        answer(as_json, said, tree)
