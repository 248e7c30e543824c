"""Retire units (注销): use them for a claim, once and for good, by whoever holds them.

One transaction checks that every unit is ``held`` by who asks, retires them, keeps who it was for and gives the log its
entry; a client's reference names it, and the same asked again has the same answer. Nothing undoes a retirement, and
beneficiary and purpose never change: a spelling is put right by an addendum, which stands beside it. Who it was for may
stay a commitment; the units are in the public list all the same. docs/retirement.md.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.market import MarketRules
from tanzhang.core.methodology import canonical_json
from tanzhang.core.policy import Policy
from tanzhang.core.retirement import RETIREMENTS, Opening, serials_of
from tanzhang.core.serial import Serial, code_of, lot_name, lot_number
from tanzhang.core.units import PARTY, Block, Pick, State, lowest
from tanzhang.engine.signing import CosignatureVerifier
from tanzhang.service.log_rows import described_proof, proof_of
from tanzhang.service.market.parties import check_approved
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.receipt import origin_of, trusted_log
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.book import entry
from tanzhang.stores.book.schema import end_of, unit_event
from tanzhang.stores.home import Home
from tanzhang.stores.register.people import place_of
from tanzhang.stores.register.retirements import retirement_addendum, retirement_opening

MOST_TEXT = 500
"""Characters of a beneficiary, a using entity, a note or an addendum; ours."""
ADDENDUM, HIDDEN = "retirement addendum", "retirement opening taken away"
"""Acts of the audit trail."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to retire: ``serials``, or ``count`` units of ``lot``, the lowest that the party holds.

    ``since`` and ``until`` are the first and last day of the period of the claim; ``beneficiary`` is for whom,
    ``using_entity`` who makes the claim (the beneficiary itself if empty). Who is ``anonymous`` shows neither.
    """

    purpose: str
    since: date
    until: date
    beneficiary: str
    beneficiary_id: str = ""
    using_entity: str = ""
    note: str = ""
    anonymous: bool = False
    serials: Sequence[str] = ()
    lot: str | None = None
    count: int | None = None


# -- retiring -------------------------------------------------------------------------------------------------


def retire(home: Home, party: str, reference: str, asked: Asked, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Retire units that a party holds, for good; described as :func:`retirement_page`, with what it was asked for.

    The same ``reference`` again is the same retirement. Raises ``retirement-malformed`` and what reading serial numbers
    refuses, all together; ``unknown-party``, ``party-not-approved``, ``no-market``, ``units-short``, ``block-outside``,
    ``unit-state``, ``lots-mixed``, ``reference-taken``.
    """
    holder, request = f"{PARTY}{party}", _request(home, asked)
    name = derived_secret(home, "retirement", f"{holder} {reference}").hex()[:32]
    with home.book.transaction() as con:
        known = home.retirements.row(name)
        if known is None:  # a repeat is told what was done, whatever the rules are by now
            rules = market_rules(home, received_day(home, now))
            picks = _picked(home, asked, rules)
            check_approved(home, con, party, "retire units")
            _book(home, con, name, holder, asked, picks, rules, request, actor, received_at(now))
            home.retirements.seal(con, home.programme.id)
        elif known.request != request:
            raise refuse(
                "reference-taken",
                "you retired something else under this reference",
                where="#/reference",
                remedy="give each retirement a reference of its own; send the same again only to retry",
            )
    publish_soon(home)
    return retirement_page(home, name, to_holder=True)


def _book(
    home: Home,
    con: sa.Connection,
    name: str,
    holder: str,
    asked: Asked,
    picks: Sequence[Pick],
    rules: MarketRules,
    request: str,
    actor: Actor,
    at: str,
) -> None:
    if not picks:
        lot = lot_number(str(asked.lot), where="#/lot")
        own = home.units.blocks_in(con, holder=holder, lot=lot, states=[State.HELD])
        picks = lowest(own, asked.count or 0)
    who, detail = f"{actor.role}:{actor.subject}", {"purpose": asked.purpose}
    blocks = home.units.retire(con, holder, picks, name, detail, at, actor=who)
    using = asked.using_entity or asked.beneficiary
    opening = Opening(secrets.token_hex(32), asked.beneficiary, asked.beneficiary_id, using, asked.note)
    serials = _serials(home, blocks)
    values = {
        "id": name,
        "holder": holder,
        "lot": blocks[0].lot,
        "vintage": blocks[0].vintage,
        "serials": canonical_json(list(serials)),
        "units": sum(block.count for block in blocks),
        "purpose": asked.purpose,
        "market": rules.key,
        "since": asked.since.isoformat(),
        "until": asked.until.isoformat(),
        "commitment": opening.commitment,
        "request": request,
        "event": end_of(con, unit_event)[0] - 1,
        "entry": end_of(con, entry)[0],  # which sealing appends
        "made_at": at,
    }
    sealed = home.personal_keys.seal(opening.to_text(), place_of(retirement_opening, "sealed", name))
    home.retirements.add(con, values, sealed, public=not asked.anonymous)
    said = {"serials": list(serials), "holder": holder, "purpose": asked.purpose}
    home.audit.write(con, actor, "units retired", f"retirement {name}", at=at, detail=said)


def _serials(home: Home, blocks: Sequence[Block]) -> tuple[str, ...]:
    begun = home.units.begun(blocks[0].lot)
    if begun is None:
        raise refuse("unknown-lot", "these units began nowhere", where="lot", remedy="restore the book from a backup")
    return serials_of(begun.serial(0, 1), [(block.lo, block.hi) for block in blocks])


def publish_soon(home: Home) -> None:
    """Bring the log up to the book unless somebody settles now, who does it then."""
    with contextlib.suppress(TanzhangError), home.settling():
        home.publish()


def _request(home: Home, asked: Asked) -> str:
    """What tells one request from another, keyed, so that nobody finds the names in it by trying."""
    said = {name: str(getattr(asked, name)) for name in Asked.__slots__}
    return derived_secret(home, "retirement request", canonical_json(said)).hex()


def _picked(home: Home, asked: Asked, rules: MarketRules) -> list[Pick]:
    """The units that are named, none where they are to be chosen; all mistakes of the request together."""
    problems: list[Problem] = []

    def wrong(message: str, where: str, remedy: str) -> None:
        problems.append(Problem("retirement-malformed", message, where, remedy))

    for name, least in (("beneficiary", 1), ("beneficiary_id", 0), ("using_entity", 0), ("note", 0)):
        text = getattr(asked, name)
        if not least <= len(text) <= MOST_TEXT or not text.isprintable() or text != text.strip():
            remedy = f"write 1 to {MOST_TEXT} characters in one line"
            wrong(f"{name} is missing, or no text to be shown", f"#/{name}", remedy)
    if asked.purpose not in rules.purposes:
        wrong(f"{asked.purpose[:80]!r} is no purpose here", "#/purpose", f"use one of {', '.join(rules.purposes)}")
    if asked.until < asked.since:
        wrong("the period of the claim ends before it begins", "#/until", "give its first and its last day")
    if bool(asked.serials) == (asked.lot is not None) or (asked.lot is None) != (asked.count is None):
        wrong("it names not exactly one of serial numbers, and a lot with a count", "#", "name the one or the other")
    picks: list[Pick] = []
    for number, text in enumerate(asked.serials):
        try:
            picks.append(_pick(home, Serial.parse(text, where=f"#/serials/{number}"), f"#/serials/{number}"))
        except TanzhangError as error:
            problems += error.problems
    if problems:
        raise TanzhangError(problems)
    return picks


def _pick(home: Home, serial: Serial, where: str) -> Pick:
    """A range by its number, which has to be ours in everything that it says; ``unknown-serial``."""
    begun = home.units.begun(serial.lot)
    if begun is None or serial.hi > begun.units or begun.serial(serial.lo, serial.hi) != serial:
        raise refuse(
            "unknown-serial",
            f"{serial.text} is none of {code_of(home.programme.id)} that was issued",
            where=where,
            remedy="copy it from the register of this programme",
        )
    return Pick(serial.lot, serial.lo, serial.hi)


# -- what stands beside it ------------------------------------------------------------------------------------


def add_addendum(home: Home, name: str, reference: str, text: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Put a spelling right beside a retirement, which itself stays; the same ``reference`` again is the same one.

    ``unknown-retirement``, ``retirement-malformed``, ``reference-taken``.
    """
    row, at = retirement_row(home, name), received_at(now)
    if not 1 <= len(text.strip()) <= MOST_TEXT:
        remedy = f"write 1 to {MOST_TEXT} characters"
        raise refuse("retirement-malformed", "an addendum says something", where="#/text", remedy=remedy)
    digest = addendum_digest(home, text)
    identifier = derived_secret(home, "retirement addendum id", f"{row.id} {reference}").hex()[:32]
    with home.book.transaction() as con:
        known = [each for each in home.retirements.addenda(row.id) if each.id == identifier]
        if known and known[0].digest != digest:
            raise refuse(
                "reference-taken",
                "another addendum has this reference",
                where="#/reference",
                remedy="give each addendum a reference of its own",
            )
        if not known:
            sealed = home.personal_keys.seal(text, place_of(retirement_addendum, "sealed", identifier))
            values = {"id": identifier, "retirement": row.id, "digest": digest, "sealed": sealed, "made_at": at}
            home.retirements.add_addendum(con, values)
            home.audit.write(con, actor, ADDENDUM, f"retirement {row.id}", at=at, detail={"digest": digest})
    return retirement_page(home, row.id, to_holder=True)


def addendum_digest(home: Home, text: str) -> str:
    """What the audit trail keeps of an addendum, keyed, so that nobody finds the text by trying."""
    return derived_secret(home, "retirement addendum", text).hex()


def open_to_all(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let everybody see whom a retirement was for; once shown it stays so. ``unknown-retirement``, ``opening-gone``."""
    row = retirement_row(home, name)
    opening_of(home, row.id)
    with home.book.transaction() as con:
        home.retirements.publish(con, row.id)
        home.audit.write(con, actor, "retirement opened", f"retirement {row.id}", at=received_at(now), detail={})
    return retirement_page(home, row.id, to_holder=True)


def take_away(home: Home, name: str, reason: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Forget whom a retirement was for, and its addenda: where a person is named who wants that. For good.

    Units, purpose and commitment stay, and so does what was given out before. ``unknown-retirement``.
    """
    row = retirement_row(home, name)
    with home.book.transaction() as con:
        home.retirements.forget(con, row.id)
        home.certificates.forget_one(con, certificate_id(home, row.id), received_at(now))
        detail = {"reason": reason}
        home.audit.write(con, actor, HIDDEN, f"retirement {row.id}", at=received_at(now), detail=detail)
    return retirement_page(home, row.id)


def certificate_id(home: Home, retirement: str) -> str:
    """The id of a retirement's certificate, so that there is one."""
    return str(uuid.UUID(bytes=derived_secret(home, "retirement certificate", retirement)[:16], version=4))


def opening_of(home: Home, name: str) -> Opening:
    """What a retirement's commitment is to, whoever may see it; ``opening-gone``."""
    row = home.retirements.opening(name)
    if row.sealed is None:
        remedy = "whoever was given it before still has it, and can show it"
        raise refuse("opening-gone", "it was taken away", where="opening", remedy=remedy)
    return _opened(home, row)


def _opened(home: Home, row: Any) -> Opening:
    place = place_of(retirement_opening, "sealed", row.retirement)
    return Opening.parse(home.personal_keys.open(row.sealed, place))


# -- what is shown --------------------------------------------------------------------------------------------


def retirement_row(home: Home, name: str) -> Any:
    """A retirement's row; ``unknown-retirement``."""
    row = home.retirements.row(name)
    if row is None:
        remedy = "see the public list: tanzhang retirement list"
        raise refuse("unknown-retirement", f"there is no retirement {name[:80]!r}", where="retirement", remedy=remedy)
    return row


def retirement_page(home: Home, name: str, *, to_holder: bool = False) -> dict[str, Any]:
    """A retirement as everybody sees it; ``to_holder`` as its party does: with names that are not public."""
    return _described(home, retirement_row(home, name), to_holder=to_holder)


def retirements(
    home: Home, *, before: int | None = None, limit: int | None = None, lot: str | None = None,
    vintage: int | None = None, purpose: str | None = None, since: date | None = None, until: date | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The public list, the latest first; ``number`` is for cursors. ``since`` and ``until`` are days of the claim."""
    wanted = {
        "lot": None if lot is None else lot_number(lot),
        "vintage": vintage,
        "purpose": purpose,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }
    rows = home.retirements.page(before=before, limit=limit, **wanted)
    return [{"number": row.seq, **_described(home, row)} for row in rows]


def own_retirements(
    home: Home, party: str, *, before: int | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """What a party retired, the latest first, as it may see it."""
    rows = home.retirements.page(before=before, limit=limit, holder=f"{PARTY}{party}")
    return [{"number": row.seq, **_described(home, row, to_holder=True)} for row in rows]


def _described(home: Home, row: Any, *, to_holder: bool = False) -> dict[str, Any]:
    kept = home.retirements.opening(row.id)
    shown = kept.sealed is not None and (kept.public or to_holder)
    serial = Serial.parse(json.loads(row.serials)[0])
    return {
        "id": row.id,
        "state": str(State.RETIRED),
        "lot": lot_name(row.lot),
        "vintage": row.vintage,
        "region": serial.region,
        "serials": json.loads(row.serials),
        "units": str(row.units),
        "unit": serial.unit,
        "purpose": row.purpose,
        "market": row.market,
        "since": row.since,
        "until": row.until,
        "retired_at": row.made_at,
        "commitment": row.commitment,
        "public": bool(kept.public),
        "beneficiary": _opened(home, kept).as_dict() if shown else None,
        "holder": row.holder if to_holder or kept.public else None,
        "addenda": [_addendum(home, each) for each in home.retirements.addenda(row.id)] if shown else [],
        "entry": row.entry,
    }


def _addendum(home: Home, row: Any) -> dict[str, str]:
    text = home.personal_keys.open(row.sealed, place_of(retirement_addendum, "sealed", row.id))
    return {"text": text, "made_at": row.made_at}


# -- proofs ---------------------------------------------------------------------------------------------------


def proof(home: Home, name: str) -> bytes:
    """The proof file that a retirement is in the log; it names nobody. ``unknown-retirement``, ``home-busy``."""
    return proof_of(home, home.retirements, retirement_row(home, name))


def check_proof(data: bytes, vkey: str | None = None, policy: Policy | None = None) -> dict[str, Any]:
    """Verify such a file without a home. Raises at the first thing that is wrong."""
    log = trusted_log(vkey, policy, lambda: origin_of(data), where="retirement check")
    witnesses = () if policy is None else [CosignatureVerifier(each.key) for each in policy.witnesses.values()]
    return described_proof(RETIREMENTS.verify(data, log, policy=policy, witnesses=witnesses))
