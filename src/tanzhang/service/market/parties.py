"""Parties of the market: an organisation applies, hands in documents, is looked at, and may hold and trade units.

What a programme asks of a party before it is approved is the programme's decision. **Ours to say**, as a default: at
least one document, all of them judged, at least one of them accepted. Staff of role ``buyer`` act for one party.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.deal import DealState
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.party import FOLLOWING, PartyState, credit_code
from tanzhang.core.units import PARTY, PROGRAMME, TERMINAL, State
from tanzhang.service.moments import received_at
from tanzhang.stores.home import Home
from tanzhang.stores.register.parties import ACCEPTED, RECEIVED, REFUSED, market_party, party_document
from tanzhang.stores.register.people import place_of

MOST_BYTES = 2 << 20
"""Of one document; the default is ours."""
Id = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$", examples=["road_builder"])]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["r-2026-17"])]
"""By what whoever asks names what is asked for; the same again has one effect and one answer."""
_ACCOUNT_PATTERN = "^[0-9A-Za-z][0-9A-Za-z ._-]{3,63}$"
BankAccount = Annotated[str, msgspec.Meta(pattern=_ACCOUNT_PATTERN, examples=["6222 0000 0001"])]
"""No spreadsheet takes such a text for a formula."""
_BANK_ACCOUNT = re.compile(_ACCOUNT_PATTERN)
_SEPARATORS = re.compile("[ ._-]")


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to ask at a party."""

    name: Title
    phone: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    email: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class PartySaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a party says of itself when it applies.

    ``bank_account`` is where money goes back to; money from elsewhere waits until somebody has looked at it.
    ``credit_code`` is the unified social credit code (统一社会信用代码), null for an organisation that has none.
    """

    title: Title
    kind: Literal["enterprise", "institution", "public_body", "social_organisation", "other"]
    contact: Contact
    bank_account: BankAccount
    credit_code: Annotated[str, msgspec.Meta(max_length=40, examples=["91350100M000100Y43"])] | None = None


DocumentKind = Literal["business_licence", "representative", "beneficial_owner", "authority", "bank_account", "other"]


class DocumentSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of what kind a document is."""

    kind: DocumentKind


def apply(home: Home, name: str, said: PartySaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """A party applies under an id. The same again gets the same answer, as the party is by now.

    ``party-malformed``, ``credit-code-wrong``, ``party-exists`` (the id or number is another one's).
    """
    try:
        msgspec.convert(name, Id)
    except msgspec.ValidationError:
        what = f"{name[:80]!r} cannot be the id of a party"
        raise refuse("party-malformed", what, where="party", remedy="use small letters, digits, _ and -") from None
    if name == PROGRAMME:  # its staff would sell what persons entrusted
        what = f"{name} is under which the programme itself sells"
        raise refuse("party-malformed", what, where="party", remedy="use another id")
    code = None if said.credit_code is None else credit_code(said.credit_code)
    keys, at, request = home.personal_keys, received_at(now), _request(home, name, said)
    contact = canonical_json(msgspec.to_builtins(said.contact))
    row = {
        "id": name,
        "title": said.title,
        "kind": said.kind,
        "credit_code": code,
        "contact": keys.seal(contact, place_of(market_party, "contact", name)),
        "bank_account": keys.seal(said.bank_account, place_of(market_party, "bank_account", name)),
        "request": request,
        "state": PartyState.APPLIED.value,
        "note": None,
        "applied_at": at,
        "changed_at": at,
    }
    with home.book.transaction() as con:
        known = home.parties.row_in(con, name)
        if known is not None and known.request == request:
            return described(home, known)
        if known is not None or (code is not None and home.parties.has_code(con, code)):
            what = f"there is a party {name}, or one of this number, already"
            raise refuse("party-exists", what, where="party", remedy="use another id, or look at the one there is")
        home.parties.add(con, row)
        home.audit.write(con, actor, "party applied", f"party {name}", at=at, detail={"kind": said.kind})
    return described(home, party_named(home, name))


def _request(home: Home, name: str, said: PartySaid) -> str:
    text = canonical_json({"id": name, **msgspec.to_builtins(said)})
    return hmac.digest(home.identity_key, f"tanzhang party\0{text}".encode(), hashlib.sha256).hex()


# -- documents ------------------------------------------------------------------------------------------------


def add_document(
    home: Home, party: str, kind: DocumentKind, name: str, content: bytes, *, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Hand in a document; the very same again changes nothing. ``unknown-party``, ``party-document-size``."""
    row = party_named(home, party)
    if not 0 < len(content) <= MOST_BYTES:
        raise refuse(
            "party-document-size",
            f"the document has {len(content)} bytes",
            where="#/content",
            remedy=f"hand in one of 1 to {MOST_BYTES} bytes; scan it more coarsely or in parts",
        )
    if row.state == PartyState.CLOSED:
        raise _wrong_state(row, "takes no documents")
    digest, at = hashlib.sha256(content).hexdigest(), received_at(now)
    number = f"{party}.{digest}"
    text = base64.b64encode(content).decode()
    values = {"id": number, "party": party, "kind": kind, "name": name[:200], "digest": digest, "bytes": len(content)}
    values |= {"sealed": home.personal_keys.seal(text, place_of(party_document, "sealed", number))}
    with home.book.transaction() as con:
        if home.parties.add_document(con, {**values, "state": RECEIVED, "note": None, "received_at": at}):
            detail = {"kind": kind, "digest": digest}
            home.audit.write(con, actor, "party document added", f"party {party}", at=at, detail=detail)
    return _document(home.parties.document(number))


def document_data(home: Home, party: str, digest: str, *, actor: Actor, now: datetime) -> bytes:
    """What a document says; that it was read, and by whom, is in the audit trail. ``not-found``."""
    row = _document_named(home, party, digest)
    if row.sealed is None:
        raise _no_document(digest)
    with home.book.transaction() as con:
        detail = {"digest": row.digest}
        home.audit.write(con, actor, "party document read", f"party {party}", at=received_at(now), detail=detail)
    return base64.b64decode(home.personal_keys.open(row.sealed, place_of(party_document, "sealed", row.id)))


def judge_document(
    home: Home, party: str, digest: str, *, accepted: bool, note: str | None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Say what is thought of a document. ``not-found``."""
    row, state = _document_named(home, party, digest), ACCEPTED if accepted else REFUSED
    with home.book.transaction() as con:
        home.parties.judge(con, row.id, state, note)
        detail = {"digest": digest, "note": note}
        home.audit.write(con, actor, f"party document {state}", f"party {party}", at=received_at(now), detail=detail)
    return _document(home.parties.document(row.id))


def _document_named(home: Home, party: str, digest: str) -> Any:
    row = home.parties.document(f"{party_named(home, party).id}.{digest}")
    if row is None:
        raise _no_document(digest)
    return row


def _no_document(digest: str) -> TanzhangError:
    what = f"there is no document {digest[:80]} of this party, or it is forgotten"
    return refuse("not-found", what, where="document", remedy="see the digests of its documents: tanzhang party show")


# -- states ---------------------------------------------------------------------------------------------------


def set_state(home: Home, name: str, state: str, *, note: str | None, actor: Actor, now: datetime) -> dict[str, Any]:
    """Approve, refuse, suspend or close a party; a state it is in already changes nothing.

    ``unknown-party``, ``party-state`` for what does not follow, ``party-documents`` where nothing shows who it is,
    ``party-in-use`` where a party that is to be closed has something left.
    """
    if state not in {*PartyState}:
        raise refuse(
            "party-state", f"{state[:40]!r} is no state", where="state", remedy=f"one of {', '.join(FOLLOWING)}"
        )
    wanted, at = PartyState(state), received_at(now)
    with home.book.transaction() as con:
        row = home.parties.row_in(con, name)
        if row is None:
            raise unknown_party(name)
        if row.state != wanted:
            if wanted not in FOLLOWING[PartyState(row.state)]:
                raise _wrong_state(row, f"cannot become {wanted}")
            if wanted is PartyState.APPROVED:
                _check_documents(home.parties.states_of_documents(con, name))
            if wanted is PartyState.CLOSED:
                _check_nothing_left(home, con, name)
            home.parties.change(con, name, {"state": wanted.value, "note": note, "changed_at": at})
            detail = {"before": row.state, "note": note}
            home.audit.write(con, actor, f"party {wanted}", f"party {name}", at=at, detail=detail)
    return described(home, party_named(home, name))


def _check_documents(states: list[str]) -> None:
    if ACCEPTED not in states or RECEIVED in states:
        raise refuse(
            "party-documents",
            f"of {len(states)} documents {states.count(ACCEPTED)} are accepted, {states.count(RECEIVED)} not judged",
            where="documents",
            remedy="hand one in: tanzhang party document; judge all, and accept one at least: tanzhang party judge",
        )


def _check_nothing_left(home: Home, con: sa.Connection, name: str) -> None:
    """Refuse to close a party that has units, money or something that waits: ``party-in-use``.

    What comes back to it later of a payment is no such thing: the payment itself says where to.
    """
    holder, open_states = f"{PARTY}{name}", [state for state in State if state not in TERMINAL]
    left = {
        "units": sum(block.count for block in home.units.blocks_in(con, holder=holder, states=open_states)),
        "fen": home.money.balance(holder, con),
        "fen as a sponsor": home.money.balance(f"sponsor:{name}", con),
        "deals that wait": len(home.deals.page(None, 1_000, party=name, state=DealState.AGREED)),
        "pledges that are open": len(home.pledges.open_of(con, name)),
        "payouts under way": home.payments.payouts_of(con, holder),
    }
    said = [f"{count} {what}" for what, count in left.items() if count]
    if said:
        remedy = "settle these first; until then suspend it"
        raise refuse("party-in-use", f"party {name} has {', '.join(said)}", where="party", remedy=remedy)


def forget(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Let go contact, bank account and contents of documents of a party that is closed or was refused, for good.

    How long they must be kept before is the law's word and the operator's to know. ``unknown-party``, ``party-state``.
    """
    with home.book.transaction() as con:
        row = home.parties.row_in(con, name)
        if row is None:
            raise unknown_party(name)
        if row.state not in (PartyState.CLOSED, PartyState.REFUSED):
            raise _wrong_state(row, "is still needed")
        home.parties.forget(con, name)
        home.audit.write(con, actor, "party forgotten", f"party {name}", at=received_at(now), detail={})
    return described(home, party_named(home, name))


def check_approved(home: Home, con: sa.Connection, name: str, what: str) -> Any:
    """In somebody's transaction: the row of a party that may act; ``unknown-party``, ``party-not-approved``."""
    row = home.parties.row_in(con, name)
    if row is None:
        raise unknown_party(name)
    if row.state != PartyState.APPROVED:
        remedy = "let the operator approve it: tanzhang party set; what it has is not touched"
        raise refuse(
            "party-not-approved", f"party {name} is {row.state} and cannot {what}", where="party", remedy=remedy
        )
    return row


def party_named(home: Home, name: str) -> Any:
    """The row of a party; ``unknown-party``."""
    row = home.parties.row(name)
    if row is None:
        raise unknown_party(name)
    return row


def unknown_party(name: str) -> TanzhangError:
    """The refusal of a party that there is not."""
    return refuse(
        "unknown-party",
        f"there is no party {name[:80]!r}",
        where="party",
        remedy="list the parties: tanzhang party list",
    )


def _wrong_state(row: Any, what: str) -> TanzhangError:
    following = ", ".join(sorted(FOLLOWING[PartyState(row.state)])) or "nothing"
    return refuse(
        "party-state", f"party {row.id} is {row.state} and {what}", where="party", remedy=f"next: {following}"
    )


# -- what is shown --------------------------------------------------------------------------------------------


def described(home: Home, row: Any) -> dict[str, Any]:
    """A party as the operator and itself see it, sealed fields opened."""
    keys = home.personal_keys
    contact = row.contact and json.loads(keys.open(row.contact, place_of(market_party, "contact", row.id)))
    names = ("id", "title", "kind", "credit_code", "state", "note", "applied_at", "changed_at")
    return {
        **{name: getattr(row, name) for name in names},
        "contact": contact,
        "bank_account": bank_account_of(home, row),
        "documents": [_document(each) for each in home.parties.documents(row.id)],
    }


def listed(home: Home, after: str = "", limit: int = 100_000, state: str | None = None) -> list[dict[str, Any]]:
    """Parties by id after one, without what is sealed."""
    names = ("id", "title", "kind", "credit_code", "state", "applied_at", "changed_at")
    return [{name: getattr(row, name) for name in names} for row in home.parties.page(after, limit, state)]


def bank_account_of(home: Home, row: Any) -> str | None:
    """Where money of a party goes back to."""
    if row.bank_account is None:
        return None
    return home.personal_keys.open(row.bank_account, place_of(market_party, "bank_account", row.id))


def same_account(one: str | None, other: str | None) -> bool:
    """Whether two texts name one bank account, however digits are grouped."""
    if not one or not other:
        return False
    return _SEPARATORS.sub("", one).upper() == _SEPARATORS.sub("", other).upper()


def is_bank_account(text: str) -> bool:
    """Whether a text can name an account that money is sent to."""
    return _BANK_ACCOUNT.fullmatch(text) is not None


def _document(row: Any) -> dict[str, Any]:
    names = ("kind", "name", "digest", "state", "note", "received_at")
    return {**{name: getattr(row, name) for name in names}, "bytes": str(row.bytes)}
