"""Verify a lot (核查): hand it to a verifier, draw a sample that nobody chose, file findings, decide, register.

The operator hands a frozen lot over. The verifier draws a sample once; the log's checkpoint of that moment and the
lot's root say which records are in it. Each of them gets a finding, and with a material one nothing but a rejection can
be decided, which releases the lot's milligrams. A verified lot is registered when somebody of the operator has attested
that its acts are in no other scheme, every registry of the market's rules was looked up and showed nothing, and another
person registers it; the log then says how it was verified. Nothing of this is ever edited: who erred adds a row.

Every verb takes a ``reference`` of its caller: the same again is the same act and has the same answer; with another
content it is refused (``reference-taken``). docs/verification.md, docs/adr/0035-verification-and-packages.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.lot import LotState, lot_text
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import parse_note
from tanzhang.core.sample import LEAST_PICKS, MOST_PICKS, RULE, picks, seed
from tanzhang.service.market.open_data import cells_of
from tanzhang.service.market.rules import market_rules_of
from tanzhang.service.market.sampled import is_member, sampled_members
from tanzhang.service.market.verifiers import check_standing, verifier_page
from tanzhang.service.moments import received_at
from tanzhang.service.privacy import note_staff
from tanzhang.stores.home import Home
from tanzhang.stores.register.verifications import (
    ATTESTED,
    DECIDED,
    DRAWN,
    FINDINGS,
    HANDED,
    LOOKED_UP,
    REGISTERED,
    detail_of,
)

FORMAT = "tanzhang.lot-verification/1"
NONE, MINOR, MATERIAL = "none", "minor", "material"
SEVERITIES = (NONE, MINOR, MATERIAL)
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of a document kept elsewhere.")]
Number = Annotated[str, msgspec.Meta(pattern="^(0|[1-9][0-9]{0,9})$", examples=["17"])]


class RecordNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of a lot, by its batch and its place there."""

    batch: Number
    place: Number


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found of a record, or (null) of the lot. Texts name no person."""

    severity: Literal["none", "minor", "material"]
    text: Text
    record: RecordNamed | None = None
    evidence: Digest | None = None


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a verifier decides, and why; ``evidence`` is the digest of its report."""

    decision: Literal["verified", "rejected"]
    statement: Text
    evidence: Digest


class Attestation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator attests: that the lot's acts are claimed in no other scheme."""

    statement: Text
    evidence: Digest


class LookUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a registry showed on a day. ``clear``: nothing of the lot is in it."""

    registry: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["ccer"])]
    on: date
    clear: bool
    found: Text
    evidence: Digest


# -- the operator hands over, the verifier draws ----------------------------------------------------------------


def hand_over(home: Home, number: int, verifier: str, *, reference: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Hand a frozen lot to a verifier. ``unknown-lot``, ``lot-state``, ``unknown-verifier``, ``verifier-suspended``."""

    def effect(on: _On) -> dict[str, Any]:
        check_standing(home, verifier)
        advance(home, on.con, number, LotState.IN_VERIFICATION, {"verifier": verifier}, actor, now)
        return {"version": verifier_page(home, verifier)["version"]}

    return _act(home, number, HANDED, reference, {"verifier": verifier}, effect, actor=actor, now=now)


def draw(
    home: Home, number: int, verifier: str, count: int, *, reference: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Draw the sample of a lot: ``count`` milligrams of it, by the log's checkpoint of now. Once for each lot.

    ``not-found`` of a lot that is another's, ``lot-state``, ``sample-size``, ``sample-drawn``, ``sample-checkpoint``.
    """
    check_own(home, number, verifier)
    if not LEAST_PICKS <= count <= MOST_PICKS:
        raise refuse(
            "sample-size",
            f"a sample of {count} milligrams is not drawn",
            where="count",
            remedy=f"draw {LEAST_PICKS} to {MOST_PICKS}; docs/verification.md says what so many tell",
        )

    def effect(on: _On) -> dict[str, Any]:
        _check_state(on.row, LotState.IN_VERIFICATION)
        if _of_kind(on.events, DRAWN):
            remedy = "read the sample that was drawn; a second one could be chosen"
            raise refuse("sample-drawn", "the sample of this lot was drawn", where=lot_text(number), remedy=remedy)
        note = parse_note(home.log.checkpoint_bytes())
        seed(bytes.fromhex(on.row.root), on.row.entry, note.text)
        return {"rule": RULE, "checkpoint": note.text, "root": on.row.root}

    return _act(home, number, DRAWN, reference, {"count": str(count)}, effect, actor=actor, now=now)


def sample(home: Home, number: int, verifier: str | None, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """The records of a lot's sample with their content, each quantified again by the recipe that the book keeps.

    ``verifier`` None is the operator. Who reads it is written down, where each person sees it too whose record it is.
    Raises ``not-found``, ``sample-missing``.
    """
    if verifier is not None:
        check_own(home, number, verifier)
    row, events = home.lots.one(number), home.verifications.events(number)
    drawn = _drawn(number, events)
    wanted = _picks(row, drawn)
    looked_at = _records_found(events)
    members = sampled_members(home, row, wanted)
    for each in members:
        each["findings"] = looked_at.get((each["batch"], each["place"]), [])
    what, at = f"lot sample {lot_text(number)}", received_at(now)
    for account in sorted({each["record"]["account"] for each in members if each["record"] is not None}):
        note_staff(home, uuid.UUID(account), role=actor.role, who=actor.subject, what=what, now=now)
    with home.book.transaction() as con:
        detail = {"records": str(len(members))}
        home.audit.write(con, actor, "lot sample read", f"lot {lot_text(number)}", at=at, detail=detail)
    return {"lot": lot_text(number), **_sample_said(row, drawn), "records": members}


def file_findings(
    home: Home,
    number: int,
    verifier: str,
    findings: Sequence[Finding],
    *,
    reference: str,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """File findings, all or none. ``not-found``, ``lot-state``, ``finding-malformed``; each ``not-a-member``."""
    check_own(home, number, verifier)
    if not findings:
        raise refuse("finding-malformed", "there is no finding", where="#/findings", remedy="file one at least")
    asked = {"findings": [msgspec.to_builtins(each) for each in findings]}

    def effect(on: _On) -> dict[str, Any]:
        _check_state(on.row, LotState.IN_VERIFICATION)
        _drawn(number, on.events)
        _check_members(home, on.row, findings)
        return {}

    return _act(home, number, FINDINGS, reference, asked, effect, actor=actor, now=now)


def decide(
    home: Home, number: int, verifier: str, decision: Decision, *, reference: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Decide about a lot; a rejection releases all that it holds.

    ``not-found``, ``lot-state``, ``sample-missing``; ``sample-unfinished`` while a record of the sample has no finding,
    ``finding-material`` and ``rejection-unfounded`` where the decision is not the one that the findings ask for.
    """
    check_own(home, number, verifier)

    def effect(on: _On) -> dict[str, Any]:
        _check_state(on.row, LotState.IN_VERIFICATION)
        drawn, found = _drawn(number, on.events), _counted(on.events)
        _check_decision(number, decision, found)
        if decision.decision == "verified":
            _check_looked_at(home, on.row, drawn, on.events)
        detail = {"evidence": decision.evidence, **found}
        advance(home, on.con, number, LotState(decision.decision), detail, actor, now)
        return {"found": found}

    asked = msgspec.to_builtins(decision)
    return _act(home, number, DECIDED, reference, asked, effect, actor=actor, now=now)


# -- the operator attests, looks registries up, registers -------------------------------------------------------


def attest(
    home: Home, number: int, said: Attestation, *, reference: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Attest that a verified lot's acts are in no other scheme. ``lot-state``."""
    return _verified(home, number, ATTESTED, msgspec.to_builtins(said), reference, actor, now)


def look_up(home: Home, number: int, said: LookUp, *, reference: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Keep what a registry of the market's rules showed; the last look at each counts.

    ``lot-state``, ``unknown-registry``.
    """
    wanted = market_rules_of(home, home.lots.one(number).terms).registries
    if said.registry not in wanted:
        raise refuse(
            "unknown-registry",
            f"{said.registry} is no registry of the market's rules",
            where="registry",
            remedy=f"look up {', '.join(wanted) or 'none: the rules name no registry'}",
        )
    return _verified(home, number, LOOKED_UP, msgspec.to_builtins(said), reference, actor, now)


def _verified(
    home: Home, number: int, kind: str, asked: dict[str, Any], reference: str, actor: Actor, now: datetime
) -> dict[str, Any]:
    """An act of the operator on a verified lot that changes nothing else."""

    def effect(on: _On) -> dict[str, Any]:
        _check_state(on.row, LotState.VERIFIED)
        return {}

    return _act(home, number, kind, reference, asked, effect, actor=actor, now=now)


def register(home: Home, number: int, *, reference: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Register a verified lot, by another person than who attested; the log says how it was verified.

    ``lot-state``; all that is lacking together: ``attestation-missing``, ``registry-missing``, ``registry-not-clear``,
    ``two-people``. ``home-busy`` while another process settles or publishes.
    """

    def effect(on: _On) -> dict[str, Any]:
        _check_state(on.row, LotState.VERIFIED)
        _check_registrable(home, on.row, on.events, actor)
        text = canonical_json({"format": FORMAT, **_said(home, on.row, on.events)})
        index = home.verifications.add_entry(on.con, text)
        advance(home, on.con, number, LotState.REGISTERED, {"entry": index}, actor, now)
        return {"entry": str(index)}

    with home.settling():
        done = _act(home, number, REGISTERED, reference, {}, effect, actor=actor, now=now)
        home.publish()
    cells_of(home, number, now=now)
    return done


def _check_registrable(home: Home, row: Any, events: Sequence[Any], actor: Actor) -> None:
    where = lot_text(row.number)
    wrong: list[TanzhangError] = []
    attested = _of_kind(events, ATTESTED)
    if not attested:
        remedy = "attest that the lot's acts are in no other scheme: tanzhang verification attest"
        wrong.append(refuse("attestation-missing", "nobody attested exclusivity", where=where, remedy=remedy))
    elif attested[-1].actor == _text(actor):
        remedy = "let somebody else register it"
        message = "who attested cannot register as well"
        wrong.append(refuse("two-people", message, where=where, remedy=remedy))
    last = {said["registry"]: said for said in (detail_of(each)["asked"] for each in _of_kind(events, LOOKED_UP))}
    for name in market_rules_of(home, row.terms).registries:
        if name not in last:
            message, remedy = f"registry {name} was not looked up", "look there: tanzhang verification look-up"
            wrong.append(refuse("registry-missing", message, where=where, remedy=remedy))
        elif not last[name]["clear"]:
            message = f"registry {name} has acts of this lot, by the last look at it"
            remedy = "find out; dissolve the lot if that is so, or look again"
            wrong.append(refuse("registry-not-clear", message, where=where, remedy=remedy))
    if wrong:
        raise TanzhangError([problem for each in wrong for problem in each.problems])


# -- what is told -----------------------------------------------------------------------------------------------


def verification_page(home: Home, number: int, verifier: str | None = None) -> dict[str, Any]:
    """Everything that was done to verify a lot, for the operator or the verifier it was handed to; ``not-found``."""
    if verifier is not None:
        check_own(home, number, verifier)
    row, events = home.lots.one(number), home.verifications.events(number)
    rules = None if row.terms is None else market_rules_of(home, row.terms)
    return {
        **verification_said(home, number),
        "state": row.state,
        "registries_wanted": [] if rules is None else list(rules.registries),
        "events": [described(each) for each in events],
    }


def verification_said(home: Home, number: int) -> dict[str, Any]:
    """What everybody may know of how a lot was verified: organisations, counts, digests; no person and no free text."""
    row, events = home.lots.one(number), home.verifications.events(number)
    return _said(home, row, events)


def findings_of(home: Home, number: int) -> list[dict[str, Any]]:
    """Every finding of a lot, in the order in which they were filed."""
    return _findings(home.verifications.events(number))


def lots_of(home: Home, verifier: str, after: int, limit: int) -> list[dict[str, Any]]:
    """Lots that were handed to a verifier, by number."""
    rows = home.verifications.handed_to(verifier, after, limit)
    return [
        {"number": row.lot, **verification_said(home, row.lot), "state": home.lots.one(row.lot).state} for row in rows
    ]


def described(row: Any) -> dict[str, Any]:
    """A row of what was done, as those see it who do it."""
    detail = detail_of(row)
    return {
        "number": str(row.seq),
        "lot": lot_text(row.lot),
        "act": row.kind,
        "reference": row.reference,
        **detail["asked"],
        **detail["given"],
        "actor": row.actor,
        "made_at": row.made_at,
    }


def _said(home: Home, row: Any, events: Sequence[Any]) -> dict[str, Any]:
    handed, drawn = _of_kind(events, HANDED), _of_kind(events, DRAWN)
    decided, attested = _of_kind(events, DECIDED), _of_kind(events, ATTESTED)
    name = None if not handed else detail_of(handed[0])["asked"]["verifier"]
    version = None if not handed else detail_of(handed[0])["given"]["version"]
    said_of = None if name is None else home.verifications.said.one(name, version)
    verifier = None if said_of is None else json.loads(said_of.document)
    last = {said["registry"]: said for said in (detail_of(each)["asked"] for each in _of_kind(events, LOOKED_UP))}
    opinion = None if not decided else detail_of(decided[0])["asked"]
    oath = None if not attested else detail_of(attested[-1])["asked"]
    return {
        "programme": home.programme.id,
        "lot": lot_text(row.number),
        "root": row.root,
        "verifier": None if verifier is None else {"id": name, "version": str(version), **verifier},
        "sample": None if not drawn else _sample_said(row, detail_of(drawn[0])),
        "found": _counted(events),
        "findings_digest": _digest(_findings(events)),
        "decision": None
        if opinion is None
        else {
            "decision": opinion["decision"],
            "evidence": opinion["evidence"],
            "statement_digest": _digest(opinion["statement"]),
        },
        "attestation": None
        if oath is None
        else {"evidence": oath["evidence"], "statement_digest": _digest(oath["statement"])},
        "registries": [
            {name: said[name] for name in ("registry", "on", "clear", "evidence")} for _, said in sorted(last.items())
        ],
    }


def _sample_said(row: Any, drawn: Mapping[str, Any]) -> dict[str, Any]:
    made = seed(bytes.fromhex(row.root), row.entry, drawn["given"]["checkpoint"])
    count = drawn["asked"]["count"]
    return {"rule": RULE, "checkpoint": drawn["given"]["checkpoint"], "seed": made.hex(), "picks": count}


def _picks(row: Any, drawn: Mapping[str, Any]) -> tuple[int, ...]:
    said = _sample_said(row, drawn)
    return picks(bytes.fromhex(said["seed"]), int(said["picks"]), row.total_mg)


# -- helpers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _On:
    """What an act is done on: the lot's row and what was done before, in the transaction that does it."""

    con: sa.Connection
    row: Any
    events: Sequence[Any]


Effect = Callable[[_On], dict[str, Any]]


def _act(
    home: Home,
    number: int,
    kind: str,
    reference: str,
    asked: Mapping[str, Any],
    effect: Effect,
    *,
    actor: Actor,
    now: datetime,
) -> dict[str, Any]:
    """Do something once: its effect and the row that tells of it, or the row of before.

    ``effect`` checks, does what else belongs to it, and returns what else the row says.
    """
    if not 0 < len(reference) <= 100 or not reference.isprintable():
        remedy = "use 1 to 100 letters and digits, and a new one for each act"
        raise refuse("reference-malformed", "this cannot be a reference", where="reference", remedy=remedy)
    at = received_at(now)
    with home.book.transaction() as con:
        row, events = home.lots.one(number), home.verifications.events(number, con=con)
        known = next((each for each in _of_kind(events, kind) if each.reference == reference), None)
        if known is not None:
            if detail_of(known)["asked"] != json.loads(canonical_json(asked)):
                raise refuse(
                    "reference-taken",
                    f"another act on {lot_text(number)} has this reference",
                    where="reference",
                    remedy="give each act a reference of its own; send the same again only to retry",
                )
            return described(known)
        detail = {"asked": asked, "given": effect(_On(con, row, events))}
        made = home.verifications.add(con, number, kind, reference, detail, actor=_text(actor), at=at)
        subject = f"lot {lot_text(number)}"
        home.audit.write(con, actor, f"verification {kind}", subject, at=at, detail={"reference": reference})
    return described(made)


def advance(
    home: Home,
    con: sa.Connection,
    number: int,
    to: LotState,
    detail: Mapping[str, Any],
    actor: Actor,
    now: datetime,
) -> None:
    """Let a lot come to another state in somebody's transaction; ``lot-state``."""
    home.lots.advance(con, number, to, detail=detail, actor=actor, at=received_at(now))


def check_own(home: Home, number: int, verifier: str) -> None:
    """Refuse a verifier what was not handed to it, as if it were not there, and one that is suspended."""
    handed = _of_kind(home.verifications.events(number), HANDED)
    if not handed or detail_of(handed[0])["asked"]["verifier"] != verifier:
        remedy = "see the list of lots that were handed to you"
        raise refuse("not-found", f"there is no lot {lot_text(number)} of yours", where="lot", remedy=remedy)
    check_standing(home, verifier)


def _check_state(row: Any, wanted: LotState) -> None:
    if row.state != wanted:
        raise refuse(
            "lot-state",
            f"{lot_text(row.number)} is {row.state}, and this is done while it is {wanted}",
            where=lot_text(row.number),
            remedy="see what was done of it: tanzhang verification show",
        )


def _drawn(number: int, events: Sequence[Any]) -> dict[str, Any]:
    found = _of_kind(events, DRAWN)
    if not found:
        remedy = "let the verifier draw it: tanzhang verification draw"
        raise refuse("sample-missing", "no sample was drawn yet", where=lot_text(number), remedy=remedy)
    return detail_of(found[0])


def _check_members(home: Home, row: Any, findings: Sequence[Finding]) -> None:
    wrong: list[Problem] = []
    for place, each in enumerate(findings):
        named = each.record
        if named is not None and not is_member(home, row, int(named.batch), int(named.place)):
            wrong += refuse(
                "not-a-member",
                f"record {named.place} of batch {named.batch} is not in {lot_text(row.number)}",
                where=f"#/findings/{place}/record",
                remedy="name a member by batch and place, as the sample and the package do",
            ).problems
    if wrong:
        raise TanzhangError(wrong)


def _check_decision(number: int, decision: Decision, found: Mapping[str, str]) -> None:
    material = found[MATERIAL] != "0"
    if decision.decision == "verified" and material:
        raise refuse(
            "finding-material",
            f"{found[MATERIAL]} findings are material",
            where=lot_text(number),
            remedy="reject the lot; another one can be drafted without what is wrong",
        )
    if decision.decision == "rejected" and not material:
        raise refuse(
            "rejection-unfounded",
            "no finding is material",
            where=lot_text(number),
            remedy="file the material finding for which the lot is rejected first",
        )


def _check_looked_at(home: Home, row: Any, drawn: Mapping[str, Any], events: Sequence[Any]) -> None:
    looked_at = _records_found(events)
    members = sampled_members(home, row, _picks(row, drawn), content=False)
    left = [each for each in members if (each["batch"], each["place"]) not in looked_at]
    if left:
        raise refuse(
            "sample-unfinished",
            f"{len(left)} records of the sample have no finding, the first one is record {left[0]['place']} of batch "
            f"{left[0]['batch']}",
            where=lot_text(row.number),
            remedy="file a finding of each, 'none' where nothing was found: tanzhang verification find",
        )


def _findings(events: Sequence[Any]) -> list[dict[str, Any]]:
    return [each for row in _of_kind(events, FINDINGS) for each in detail_of(row)["asked"]["findings"]]


def _counted(events: Sequence[Any]) -> dict[str, str]:
    found = [each["severity"] for each in _findings(events)]
    return {severity: str(found.count(severity)) for severity in SEVERITIES}


def _records_found(events: Sequence[Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    by_record: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in _findings(events):
        if each["record"] is not None:
            by_record.setdefault((each["record"]["batch"], each["record"]["place"]), []).append(each)
    return by_record


def _of_kind(events: Sequence[Any], kind: str) -> list[Any]:
    return [each for each in events if each.kind == kind]


def _digest(said: Any) -> str:
    return sha256(canonical_json(said).encode()).hexdigest()


def _text(actor: Actor) -> str:
    return f"{actor.role} {actor.subject}"
