"""What tests of verifying lots share: a verifier, a lot on each step of the way, and packages that are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from tanzhang.core.access import Actor, Role
from tanzhang.core.lot_package import CONTENTS, NOTE, Contents, FileSaid
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import sign_note
from tanzhang.core.sample import LEAST_PICKS
from tanzhang.service.market.rules import market_rules_of
from tanzhang.service.market.verification import (
    Attestation,
    Decision,
    Finding,
    LookUp,
    RecordNamed,
    attest,
    decide,
    draw,
    file_findings,
    hand_over,
    look_up,
    register,
    sample,
)
from tanzhang.service.market.verifiers import VerifierSaid, put_verifier
from tanzhang.stores.home import Home

from .homes import account, box, ride
from .lots import LATER, entrusted, frozen, report
from .trading import OPERATOR

VERIFIER, SECOND = "green_audit", Actor(Role.OPERATOR, "second_person", "a test")
AUDITOR = Actor(Role.VERIFIER, "auditor_gu", "a test")
SAID = VerifierSaid("Green Audit", "绿色核查", "an example, accredited by nobody", "an example")
DIGEST = sha256(b"a document").hexdigest()
PEOPLE = ("anna", "bo", "cai", "dong", "er", "fang", "gao", "hu", "ji", "ke", "li", "ma")


def frozen_lot(home: Home, folder: Path, *, acts: int = 4, people: tuple[str, ...] = PEOPLE, **more: Any) -> int:
    """A lot of boxes and rides of some people, half of whom entrusted theirs; its number."""
    events = [box(f"{name}-{n}", name) for name in people for n in range(acts)]
    events += [
        ride(f"{name}-r{n}", name, source="amap", hour=8 + 2 * n, distance_m=10_000 + n)
        for name in people
        for n in range(2)
    ]
    report(home, folder, events, day=9)
    report(home, folder, [box(f"{name}-more", name) for name in people], day=10)
    put_verifier(home, VERIFIER, SAID, actor=OPERATOR, now=LATER)
    own = [account(home, source, name) for name in people[::2] for source in ("cainiao", "amap")]
    entrusted(home, *own)
    return frozen(home, **more)


def in_verification(home: Home, number: int) -> None:
    hand_over(home, number, VERIFIER, reference="h", actor=OPERATOR, now=LATER)
    draw(home, number, VERIFIER, LEAST_PICKS, reference="d", actor=AUDITOR, now=LATER)


def found_nothing(home: Home, number: int) -> list[Finding]:
    """A finding of nothing for each record of the sample."""
    records = sample(home, number, VERIFIER, actor=AUDITOR, now=LATER)["records"]
    return [Finding("none", "as reported", RecordNamed(each["batch"], each["place"])) for each in records]


def verified(home: Home, number: int) -> None:
    in_verification(home, number)
    findings = found_nothing(home, number)
    file_findings(home, number, VERIFIER, findings, reference="f", actor=AUDITOR, now=LATER)
    said = Decision("verified", "nothing was found", DIGEST)
    decide(home, number, VERIFIER, said, reference="v", actor=AUDITOR, now=LATER)


def attested(home: Home, number: int) -> None:
    """Exclusivity attested, and every registry of the rules looked up."""
    attest(home, number, Attestation("in no other scheme", DIGEST), reference="a", actor=OPERATOR, now=LATER)
    for name in market_rules_of(home, home.lots.one(number).terms).registries:
        said = LookUp(name, date(2026, 1, 14), True, "nothing of it", DIGEST)
        look_up(home, number, said, reference=f"r-{name}", actor=OPERATOR, now=LATER)


def registered(home: Home, number: int) -> None:
    verified(home, number)
    attested(home, number)
    register(home, number, reference="g", actor=SECOND, now=LATER)


# -- packages ---------------------------------------------------------------------------------------------------


def sealed_again(home: Home, folder: Path) -> None:
    """Let the operator list and sign the files of a package as they are now: what somebody with the key could do."""
    contents = Contents.parse((folder / CONTENTS).read_bytes())
    data = {name: (folder / name).read_bytes() for name in contents.files}
    files = {name: FileSaid(sha256(each).hexdigest(), len(each)) for name, each in data.items()}
    contents = replace(contents, files=files)
    (folder / CONTENTS).write_bytes(contents.to_bytes())
    (folder / NOTE).write_bytes(sign_note(contents.note_text(), [home.signer]))


def change_json(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change what a JSON file of a package says; ``change`` changes it in place, or returns what stands instead."""
    said = json.loads((folder / name).read_bytes())
    changed = change(said)
    (folder / name).write_bytes(canonical_json(said if changed is None else changed).encode())
