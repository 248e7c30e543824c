"""Pass grams on (转出) to another scheme, and take in (转入) what another one passed on; each gram once.

Passed grams stay what the person's acts came to, and are used, as given ones are (donations.py). A file leads to the
entry of the log, and names the one home and account it is for. That home verifies it with the key of the giver's log,
once, and books the grams as received, in a unit of their own: they are in no total of its own acts and cannot be given
or sold there. docs/passing-on.md, docs/adr/0038-retirement-and-passing-on.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.log_tree import Verified
from tanzhang.core.note import VerifierKey
from tanzhang.core.passing import PASSED, PASSINGS, RECEIVED, Passing, account_commitment
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import verifier_of
from tanzhang.service.donations import Open, Text
from tanzhang.service.giving import give_grams
from tanzhang.service.joining import own_accounts
from tanzhang.service.log_rows import described_proof, proof_of
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.receipt import origin_of
from tanzhang.service.said import Id, Say, check_id, read_documents, say_documents
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.passings import PASS_ON, RECEIVE, account_of

FORMAT = "tanzhang.passing-schemes/1"
MOST_BYTES = 200_000
"""Of a file that is taken in; ours, many times what one has."""
_ENTRIES = 50  # a scheme's page shows the last ones
_WAYS = {PASSED: "passed_on", RECEIVED: "received"}


class SchemeSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says of another scheme: a programme on another installation, or an outside market.

    ``takes``: grams are passed on to it; ``gives``: what it passed on is taken in. ``log`` is the public key (vkey) of
    its log and ``programme`` its id there, both null where it has no such log; then it only takes. ``source`` is where
    it was agreed, ``status`` example, draft or published.
    """

    title: Text
    title_zh: Text
    text: Text
    text_zh: Text
    holder: Text
    takes: bool
    gives: bool
    open: Open
    source: Text
    status: Literal["example", "draft", "published"]
    log: Text | None = None
    programme: Id | None = None


# -- schemes --------------------------------------------------------------------------------------------------


def load_schemes(home: Home, path: Path, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take schemes over from a YAML file: all of them, or none if any is wrong; those that say the same stay as is.

    ``file-missing``, ``scheme-malformed`` and what reading YAML refuses, all mistakes together.
    """
    read = partial(checked, home)
    found = read_documents(path, form=FORMAT, member="schemes", checked=read, malformed=_malformed)
    return {"status": "loaded", "schemes": say_documents(home.book, found, _saying(home, actor), now=now)}


def put_scheme(home: Home, name: str, said: SchemeSaid, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Say a scheme anew, as a whole; ``scheme-malformed``."""
    check_id(name, "path: scheme", _malformed)
    say_documents(home.book, {name: checked(home, said, "#")}, _saying(home, actor), now=now)
    return scheme_page(home, name)


def checked(home: Home, said: Any, where: str) -> SchemeSaid:
    """What is said of a scheme, read; ``scheme-malformed``."""
    try:
        scheme = said if isinstance(said, SchemeSaid) else msgspec.convert(said, SchemeSaid)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), where) from None
    if scheme.open.until is not None and scheme.open.until <= scheme.open.since:
        raise _malformed("it is open on no day: 'until' is not after 'from'", where)
    if not (scheme.takes or scheme.gives):
        raise _malformed("it neither takes nor gives", where)
    if (scheme.log is None) != (scheme.programme is None) or (scheme.gives and scheme.log is None):
        raise _malformed("it has not both of 'log' and 'programme', which one that gives needs", where)
    if scheme.log is not None:
        try:
            name = VerifierKey.parse(scheme.log).name
        except TanzhangError as error:
            raise _malformed(error.problems[0].message, where) from None
        if name == home.values["origin"]:
            raise _malformed("its log is the one of this home", where)
    return scheme


def _saying(home: Home, actor: Actor) -> Say:
    def say(con: sa.Connection, name: str, document: str, at: str) -> int:
        version, is_new = home.passings.said.say(con, name, document, at)
        if is_new:
            detail = {"version": version}
            home.audit.write(con, actor, "passing scheme said", f"passing scheme {name}", at=at, detail=detail)
        return version

    return say


def scheme_named(home: Home, name: str, version: int | None = None) -> tuple[int, SchemeSaid]:
    """Version and document of a scheme, the last one by default; ``unknown-scheme``."""
    row = home.passings.said.one(name, version)
    if row is None:
        remedy = "see the list of schemes"
        raise refuse("unknown-scheme", f"there is no scheme {name[:80]!r}", where="scheme", remedy=remedy)
    return row.version, read_scheme(row)


def read_scheme(row: Any) -> SchemeSaid:
    """The document of a row of table passing_scheme."""
    return msgspec.json.decode(row.document, type=SchemeSaid)


def schemes(home: Home, after: str = "", limit: int | None = None) -> list[dict[str, Any]]:
    """Every scheme whose id comes after another, by id: what is said of it, what went to it and came from it."""
    return [_shown(home, row) for row in home.passings.said.all(after, limit)]


def scheme_page(home: Home, name: str) -> dict[str, Any]:
    """A scheme, and the last entries of the log that commit to what went to it and came from it; ``unknown-scheme``."""
    scheme_named(home, name)
    entries = []
    for index, text in home.passings.sealed(_ENTRIES):
        sealed = PASSINGS.parse(text)
        sums = sealed.totals.get(name, {})
        said = {unit: str(sums.get(unit, 0)) for unit in _WAYS}
        entries.append({"entry": index, "rows": str(sealed.rows), "root": sealed.root.hex(), **said})
    shown = _shown(home, home.passings.said.one(name))
    return {**shown, "own_log": home.values["origin"], "sealed": entries[::-1]}


def _shown(home: Home, row: Any) -> dict[str, Any]:
    sums = {unit: str(amount) for unit, amount in home.passings.sums(row.id).items()}
    return {"id": row.id, "version": row.version, **json.loads(row.document), **sums}


# -- passing on -----------------------------------------------------------------------------------------------


def pass_on(
    home: Home,
    account: uuid.UUID,
    scheme: str,
    reference: str,
    *,
    grams_mg: int,
    to: uuid.UUID | None = None,
    now: datetime,
) -> dict[str, Any]:
    """Pass grams of an account on, for good. The same ``reference`` again is the same passing on.

    ``to`` is the account there, which alone can take them in; a scheme without a log has none. Raises
    ``unknown-scheme``, ``scheme-closed``, ``passing-incomplete``, ``grams-short``, ``reference-taken``.
    """
    (version, said), at = scheme_named(home, scheme), received_at(now)
    name = derived_secret(home, "passing", f"{account} {reference}").hex()[:32]
    receiver = "" if to is None else account_commitment(to, name)
    with home.book.transaction() as con:
        known = home.passings.one(name, PASSED)
        if known is not None:
            if (known.scheme, known.amount, known.to) != (scheme, grams_mg, receiver):
                raise refuse(
                    "reference-taken",
                    "you passed something else on under this reference",
                    where="#/reference",
                    remedy="give each a reference of its own; send the same again only to retry",
                )
            return described(known)
        if grams_mg <= 0 or (to is None) != (said.log is None):
            raise refuse(
                "passing-incomplete",
                "grams are to be passed on: how many, and to which account where the scheme has a log",
                where="#",
                remedy="name more than nothing, and 'to' if and only if the scheme says a log",
            )
        _check_open(said, scheme, takes=True, day=received_day(home, now))
        target = account_of(scheme, PASSED)
        number = give_grams(home, con, account, target, PASSED, grams_mg, PASS_ON, at)
        row = {
            "id": name,
            "scheme": scheme,
            "log": "" if said.log is None else VerifierKey.parse(said.log).name,
            "to": receiver,
            "account": str(account),
            "unit": PASSED,
            "amount": grams_mg,
            "rehearsal": home.programme.rehearsal,
            "transfer": number,
            "made_at": at,
            "version": version,
        }
        home.passings.add(con, row)
    return described(home.passings.one(name, PASSED))


def _check_open(said: SchemeSaid, scheme: str, *, takes: bool, day: date) -> None:
    closed = day < said.open.since or (said.open.until is not None and day >= said.open.until)
    if closed or not (said.takes if takes else said.gives):
        raise refuse(
            "scheme-closed",
            f"nothing goes {'to' if takes else 'from'} {scheme} on {day}",
            where="scheme",
            remedy=f"it is open from {said.open.since} until {said.open.until or 'further on'}, for what it says",
        )


def passed_file(home: Home, account: uuid.UUID, name: str) -> bytes:
    """The file of what an account passed on, for the receiver; ``not-found``, ``not-sealed`` until the next batch."""
    row = home.passings.one(name, PASSED)
    if row is None or row.account not in {str(each) for each in own_accounts(home, account)}:
        remedy = "list what you passed on"
        raise refuse("not-found", "you passed nothing on under this id", where="path: passing", remedy=remedy)
    return proof_of(home, home.passings, row)


def check_file(data: bytes, vkey: str) -> dict[str, Any]:
    """Verify a file without a home; what it proves, as JSON members. Raises at the first thing that is wrong."""
    return described_proof(PASSINGS.verify(data, verifier_of(vkey)))


# -- taking in ------------------------------------------------------------------------------------------------


def take_in(home: Home, account: uuid.UUID, data: bytes, *, now: datetime) -> dict[str, Any]:
    """Take in what another scheme passed on to an account here. The same file again has the same answer.

    Raises ``passing-malformed``, ``giver-unknown``, ``passing-elsewhere``, ``passing-of-another``, ``scheme-closed``,
    ``passing-taken-in``, and those of proofs.
    """
    own = own_accounts(home, account)
    taken = _taken_in(home, data)
    if taken is not None and taken.account in {*map(str, own), home.joinings.root(str(account))}:
        return described(taken)  # whatever is said of the scheme by now
    name, version, said, verified = _verified(home, data)
    row = verified.row
    if row.log != home.values["origin"] or row.unit != PASSED:
        raise refuse(
            "passing-elsewhere",
            f"the file is for {row.log or 'a scheme without a log'}, and this is {home.values['origin']}",
            where="file",
            remedy="take it in where it is for; nobody else may",
        )
    if row.rehearsal != home.programme.rehearsal:
        raise _malformed_file("it is of a rehearsal and this is none, or the other way round")
    if row.to not in {account_commitment(each, row.id) for each in own}:
        raise refuse(
            "passing-of-another",
            "the file is for another account",
            where="file",
            remedy="take it in as the account that its giver named",
        )
    at = received_at(now)
    with home.book.transaction() as con:
        known = home.passings.one(row.id, RECEIVED, verified.origin)
        if known is None:
            _check_open(said, name, takes=False, day=received_day(home, now))
            target = home.joinings.root(str(account))
            source = account_of(name, RECEIVED)
            number = home.joinings.give(con, str(source), target, {RECEIVED: row.amount}, RECEIVE, at)
            values = {
                "id": row.id,
                "scheme": name,
                "log": verified.origin,
                "to": row.to,
                "account": target,
                "unit": RECEIVED,
                "amount": row.amount,
                "rehearsal": row.rehearsal,
                "transfer": number,
                "made_at": at,
                "version": version,
                "file": data.decode(),
            }
            home.passings.add(con, values)
        elif known.account not in {*map(str, own), home.joinings.root(str(account))}:  # or parted since
            raise refuse(
                "passing-taken-in",
                f"it was taken in on {known.made_at[:10]}",
                where="file",
                remedy="nothing; each file is taken in once",
            )
    return described(home.passings.one(row.id, RECEIVED, verified.origin))


def _taken_in(home: Home, data: bytes) -> Any | None:
    """What was received by exactly this file; nothing of a file is believed for it."""
    if len(data) > MOST_BYTES:
        raise _malformed_file(f"it has more than {MOST_BYTES} bytes")
    extra = TlogProof.parse(data).extra
    if extra is None:
        raise _malformed_file("it carries nothing that was passed on")
    row = home.passings.one(PASSINGS.parse_evidence(extra).row.id, RECEIVED, origin_of(data))
    return row if row is not None and row.file == data.decode() else None


def _verified(home: Home, data: bytes) -> tuple[str, int, SchemeSaid, Verified[Passing]]:
    """The scheme that gave a file, its version and document, and what the file proves by the key of its log."""
    origin = origin_of(data)
    verified: Verified[Passing] | None = None
    for row in home.passings.said.all():
        said = read_scheme(row)
        if not said.gives or said.log is None or VerifierKey.parse(said.log).name != origin:
            continue
        verified = PASSINGS.verify(data, verifier_of(said.log))
        if verified.sealed.programme == said.programme:
            return row.id, row.version, said, verified
    raise refuse(
        "giver-unknown",
        f"nothing is taken in from {'that programme of ' if verified else ''}{origin[:200]}",
        where="file",
        remedy="see the schemes that give; the operator says them",
    )


# -- what went and came ---------------------------------------------------------------------------------------


def passings(
    home: Home, account: uuid.UUID, before: int | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """What an account and those whose holdings are in it passed on and received, the latest first."""
    own = [str(each) for each in own_accounts(home, account)]
    found = home.passings.of(own, before=before, limit=limit)
    return [{"number": row.seq, **described(row)} for row in found]


def looked_up(home: Home, name: str) -> dict[str, Any]:
    """What is known here of an id, whoever asks: that it was passed on, that it was received; ``not-found``.

    Whoever is handed a file looks it up where it is for. That a third home took it in cannot be seen from here.
    """
    found: Sequence[Any] = [row for unit in _WAYS if (row := home.passings.one(name, unit)) is not None]
    if not found:
        remedy = "nothing was passed on or taken in under it here"
        raise refuse("not-found", "nothing has this id", where="path: passing", remedy=remedy)
    items = [{key: value for key, value in described(row).items() if key != "transfer"} for row in found]
    return {"id": name, "items": items}


def described(row: Any) -> dict[str, Any]:
    """What went or came, as JSON members; ``log`` is the other side's, ``transfer`` the number of the transfer."""
    return {
        "id": row.id,
        "way": _WAYS[row.unit],
        "scheme": row.scheme,
        "log": row.log or None,
        "grams_mg": str(row.amount),
        "made_at": row.made_at,
        "transfer": row.transfer,
    }


def _malformed(message: str, where: str) -> TanzhangError:
    return refuse("scheme-malformed", message, where=where, remedy="docs/passing-on.md shows what a scheme says")


def _malformed_file(message: str) -> TanzhangError:
    remedy = "ask whoever passed it on for the file again"
    return refuse("passing-malformed", message, where="file", remedy=remedy)
