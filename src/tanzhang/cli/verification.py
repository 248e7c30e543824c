"""``tanzhang verification``: hand lots to verifiers, what these do, and packages that are checked elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from tanzhang.cli.common import (
    AsJson,
    Evidence,
    HomeOption,
    answer,
    answering,
    content_of,
    converted,
    day_of,
    digest_of,
    home_of,
    now,
)
from tanzhang.cli.partner import operator
from tanzhang.core.errors import refuse
from tanzhang.core.sample import LEAST_PICKS

if TYPE_CHECKING:
    from tanzhang.core.access import Actor

verification_app = typer.Typer(help="Have a lot verified; register it; its packages.")

Lot = Annotated[str, typer.Argument(metavar="LOT", help="Number of the lot, such as L000001.")]
Reference = Annotated[str, typer.Option("--reference", help="Names the act; the same again is the same act.")]
Verifier = Annotated[str, typer.Option("--verifier", help="Id of the verifier.")]
Said = TypeVar("Said")


def verifying() -> Actor:
    """Whoever runs the command for a verifier, by the name of the system's user."""
    from tanzhang.core.access import Actor, Role

    return Actor(Role.VERIFIER, operator().subject, "command line")


def _number(lot: str) -> int:
    from tanzhang.core.lot import lot_number

    return lot_number(lot)


def _read(file: Path, kind: type[Said], code: str) -> Said:
    """What a JSON file says; refused with ``code`` if it does not have its form."""
    import msgspec

    try:
        return msgspec.json.decode(content_of(file), type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise refuse(code, str(error), where=str(file), remedy="docs/verification.md shows the form") from None


@verification_app.command("verifier")
def verifier_(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of the verifier.")],
    file: Annotated[Path, typer.Argument(help="JSON file with what is said of it: docs/verification.md.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Say who a verifier is, a new one or anew."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.verifiers import VerifierSaid, put_verifier

        said = _read(file, VerifierSaid, "verifier-malformed")
        answer(as_json, put_verifier(home_of(home), name, said, actor=operator(), now=now()), tree)


@verification_app.command("verifiers")
def verifiers_(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Every verifier."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.market.verifiers import verifiers

        answer(as_json, {"verifiers": verifiers(home_of(home))}, tree)


@verification_app.command("hand-over")
def hand_over_(
    lot: Lot, verifier: Verifier, reference: Reference, home: HomeOption = None, as_json: AsJson = False
) -> None:
    """Hand a frozen lot to a verifier."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import hand_over

        done = hand_over(home_of(home), _number(lot), verifier, reference=reference, actor=operator(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("draw")
def draw_(
    lot: Lot,
    verifier: Verifier,
    reference: Reference,
    count: Annotated[int, typer.Option("--count", help="How many milligrams of the lot are picked.")] = LEAST_PICKS,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Draw a lot's sample, once, by the log's checkpoint of now."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import draw

        opened = home_of(home)
        done = draw(opened, _number(lot), verifier, count, reference=reference, actor=verifying(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("sample")
def sample_(lot: Lot, verifier: Verifier, home: HomeOption = None, as_json: AsJson = False) -> None:
    """The records of a lot's sample, each quantified again; who reads it is written down."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import sample

        answer(as_json, sample(home_of(home), _number(lot), verifier, actor=verifying(), now=now()), next_steps.sampled)


@verification_app.command("find")
def find(
    lot: Lot,
    file: Annotated[Path, typer.Argument(help="JSON file, a list of findings: docs/verification.md.")],
    verifier: Verifier,
    reference: Reference,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """File findings, all or none."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import Finding, file_findings

        found = _read(file, list[Finding], "finding-malformed")
        opened = home_of(home)
        done = file_findings(opened, _number(lot), verifier, found, reference=reference, actor=verifying(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("decide")
def decide_(
    lot: Lot,
    decision: Annotated[str, typer.Argument(metavar="DECISION", help="verified or rejected.")],
    verifier: Verifier,
    reference: Reference,
    statement: Annotated[str, typer.Option("--statement", help="Why.")],
    evidence: Evidence,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Decide about a lot."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import Decision, decide

        members = {"decision": decision, "statement": statement, "evidence": digest_of(evidence)}
        said = converted(members, Decision)
        opened = home_of(home)
        done = decide(opened, _number(lot), verifier, said, reference=reference, actor=verifying(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("attest")
def attest_(
    lot: Lot,
    reference: Reference,
    statement: Annotated[str, typer.Option("--statement", help="What is attested.")],
    evidence: Evidence,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Attest that a verified lot's acts are in no other scheme."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import Attestation, attest

        members = {"statement": statement, "evidence": digest_of(evidence)}
        said = converted(members, Attestation)
        done = attest(home_of(home), _number(lot), said, reference=reference, actor=operator(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("look-up")
def look_up_(
    lot: Lot,
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="Id of a registry of the market's rules.")],
    reference: Reference,
    on: Annotated[str, typer.Option("--on", help="The day it was looked up, YYYY-MM-DD.")],
    found: Annotated[str, typer.Option("--found", help="What it showed.")],
    evidence: Evidence,
    clear: Annotated[bool, typer.Option("--clear/--not-clear", help="Whether nothing of the lot is in it.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Keep what a registry showed of a verified lot."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import LookUp, look_up

        members = {
            "registry": registry,
            "on": day_of(on, "--on"),
            "clear": clear,
            "found": found,
            "evidence": digest_of(evidence),
        }
        said = converted(members, LookUp)
        done = look_up(home_of(home), _number(lot), said, reference=reference, actor=operator(), now=now())
        answer(as_json, done, next_steps.act)


@verification_app.command("register")
def register_(lot: Lot, reference: Reference, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Register a verified lot, by another person than who attested."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import register

        answer(
            as_json,
            register(home_of(home), _number(lot), reference=reference, actor=operator(), now=now()),
            next_steps.act,
        )


@verification_app.command("show")
def show(lot: Lot, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Everything that was done to verify a lot."""
    with answering(as_json):
        from tanzhang.cli import next_steps
        from tanzhang.service.market.verification import verification_page

        answer(as_json, verification_page(home_of(home), _number(lot)), next_steps.verified)


@verification_app.command("package")
def package(
    lot: Lot,
    out: Annotated[Path, typer.Option("--out", help="New folder, or new file that ends with .zip.")],
    kind: Annotated[
        str, typer.Option("--for", help="public (nobody is in it) or verifier (whole records).")
    ] = "public",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a lot's data package; 'tanzhang verify --lot' checks it anywhere."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.core.lot_package import FILES
        from tanzhang.service.market.package import make_package

        if kind not in FILES:
            raise refuse("usage", f"{kind!r} is no kind of package", where="--for", remedy=f"use {' or '.join(FILES)}")
        answer(as_json, make_package(home_of(home), _number(lot), kind, out, actor=operator(), now=now()), tree)


def verify_package(package: Path, key: str | None, policy: Path | None, as_json: bool) -> None:
    """What ``tanzhang verify --lot`` does."""
    from tanzhang.cli import show
    from tanzhang.cli.common import vkey_of
    from tanzhang.cli.progress import progress_line
    from tanzhang.core.policy import parse_policy
    from tanzhang.service.market.verify_lot import verify_lot

    trusted = None if policy is None else parse_policy(policy.read_bytes(), where=str(policy))
    with progress_line("verify") as progress:
        result = verify_lot(package, None if key is None else vkey_of(key), trusted, progress=progress)
    answer(as_json, result, show.checked)
    if result["status"] != "verified":
        raise typer.Exit(1)
