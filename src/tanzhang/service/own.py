"""What a signed-in person sees of their own: the account, its records one by one and why each is so, its shares.

An account's records are those booked in it and in accounts that are joined to it; each is read from the record files
and explained by the plan that it names, so nothing shown comes from a second computation.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import segno

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.record import UNIT_OF_KIND, Record, to_json
from tanzhang.engine.kernel import quote
from tanzhang.service.accounts import read_records, statement
from tanzhang.service.export import explained
from tanzhang.service.grading import grade_account
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_day
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files

if TYPE_CHECKING:
    import duckdb

MOST_AT_ONCE = 200


def overview(home: Home, account: uuid.UUID, *, now: datetime) -> dict[str, Any]:
    """The account, what it holds by unit, how much of it came from joined accounts, and this month's grade if any."""
    with home.book.snapshot():
        held, transferred = home.book.balance(account), home.book.transferred(account)
        joined = own_accounts(home, account)[1:]
    return {
        "account": str(account),
        "programme": home.programme.id,
        "rehearsal": home.programme.rehearsal,
        "held": {unit: str(held.get(unit, 0)) for unit in UNIT_OF_KIND.values()},
        "transferred": {unit: str(amount) for unit, amount in sorted(transferred.items())},
        "accounts": [str(each) for each in joined],
        "grade": _grade(home, account, now),
    }


def _grade(home: Home, account: uuid.UUID, now: datetime) -> dict[str, Any]:
    """The grade of this month, or the code of why there is none: a thing that could not be computed is not zero."""
    try:
        return grade_account(home, account, received_day(home, now))
    except TanzhangError as error:
        return {"status": error.code, "grade": None}


def own_statement(home: Home, account: uuid.UUID) -> dict[str, Any]:
    """The statement of an account and of each that is joined to it; one of which nothing is known yet is left out."""
    found = []
    for own in own_accounts(home, account):
        try:
            found.append(statement(home, own))
        except TanzhangError as error:
            if error.code not in ("unknown-account", "account-erased"):
                raise
    return {"account": str(account), "programme": home.programme.id, "accounts": found}


def own_records(
    home: Home, account: uuid.UUID, *, kind: str | None = None, cursor: str | None = None, limit: int = 50
) -> dict[str, Any]:
    """Settled records, the latest day first; ``kind`` is reduction or emission. ``cursor-malformed``."""
    after = _after(cursor)
    with home.book.snapshot():
        con, files = _opened(home, own_accounts(home, account))
        if files is None:
            return {"items": [], "next": None}
        wanted = "" if kind is None else f"AND kind = {quote(kind)}"
        if after is not None:
            wanted += f" AND (day, batch, place) < (DATE {quote(after[0])}, {int(after[1])}, {int(after[2])})"
        order = f"ORDER BY day DESC, batch DESC, place DESC LIMIT {limit + 1}"
        con.execute(f"CREATE TEMP TABLE page AS SELECT * FROM {files} WHERE true {wanted} {order}")
        places = con.execute(f"SELECT day::VARCHAR, batch, place FROM page {order}").fetchall()
        records = read_records(con, f"SELECT * EXCLUDE (batch, place) FROM page {order}")
    items = [
        {"batch": str(number), **to_json(record)}
        for (_, number, _), record in zip(places[:limit], records, strict=False)
    ]
    return {"items": items, "next": _cursor(places[limit - 1]) if len(places) > limit else None}


def own_record(home: Home, account: uuid.UUID, action: uuid.UUID) -> dict[str, Any]:
    """One record with its methodology and the steps of its computation; ``unknown-action`` if it is not one's own."""
    with home.book.snapshot():
        number, place, record = _one(home, account, action)
        plans = home.book.plans() if record.plan is not None else {}
        said = explained(number, place, record, plans)
        if record.plan is not None:
            said["plan_document"] = json.loads(plans[record.plan])
    return said


def check_own(home: Home, account: uuid.UUID, action: uuid.UUID) -> None:
    """Refuse an action that is not one's own as one that is not there: ``unknown-action``."""
    _one(home, account, action)


def _one(home: Home, account: uuid.UUID, action: uuid.UUID) -> tuple[int, int, Record]:
    con, files = _opened(home, own_accounts(home, account))
    if files is not None:
        own = f"FROM {files} WHERE action_id = {quote(str(action))}::UUID"
        order = "ORDER BY outcome IN ('repeat', 'conflict'), batch, place LIMIT 1"
        con.execute(f"CREATE TEMP TABLE one AS SELECT * {own} {order}")
        for number, place in con.execute("SELECT batch, place FROM one").fetchall():
            (record,) = read_records(con, "SELECT * EXCLUDE (batch, place) FROM one")
            return number, place, record
    raise refuse(
        "unknown-action",
        f"no settled record of action {action} is yours",
        where="action",
        remedy="see your records; what is open yet is in your statement",
    )


def _opened(home: Home, accounts: Sequence[uuid.UUID]) -> tuple[duckdb.DuckDBPyConnection, str | None]:
    """An engine, and a relation of all records of some accounts with their batch and place; None without a batch."""
    con = home.connect()
    numbered = [
        (str(file.path), row.seq, file.first) for row in home.book.batches() for file in record_files(home.storage, row)
    ]
    if not numbered:
        return con, None
    columns = zip(("filename", "batch", "first"), zip(*numbered, strict=True), strict=True)
    con.register("numbered", pa.table({name: list(values) for name, values in columns}))
    named = ", ".join(quote(name) for name, _, _ in numbered)
    own = ", ".join(f"{quote(str(each))}::UUID" for each in accounts)
    read = f"read_parquet([{named}], filename = true, file_row_number = true)"
    relation = (
        f"(SELECT r.* EXCLUDE (filename, file_row_number), batch, first + file_row_number AS place FROM {read} r "
        f"JOIN numbered USING (filename) WHERE account IN ({own}))"
    )
    return con, relation


def _cursor(place: Sequence[Any]) -> str:
    return urlsafe_b64encode(json.dumps([str(each) for each in place]).encode()).decode()


def _after(cursor: str | None) -> tuple[str, str, str] | None:
    if cursor is None:
        return None
    try:
        day, number, place = json.loads(urlsafe_b64decode(cursor))
        return datetime.strptime(day, "%Y-%m-%d").date().isoformat(), str(int(number)), str(int(place))  # noqa: DTZ007
    except (ValueError, TypeError) as error:
        raise refuse(
            "cursor-malformed",
            f"the cursor cannot be read: {error}",
            where="query: cursor",
            remedy="send what 'next' of the page before said, or nothing for the first page",
        ) from None


# -- receipts as pictures -------------------------------------------------------------------------------------

_MOST_IN_QR = 1_900
"""Bytes; a QR code holds 2,953 at most (ISO/IEC 18004, version 40-L), and phones read such a dense one badly."""


def receipt_qr(receipt: bytes) -> dict[str, str]:
    """A QR code of a receipt: what it ``holds``, its ``text`` and the picture."""
    digest = hashlib.sha256(receipt).hexdigest()
    holds, text = "digest", f"urn:sha256:{digest}"
    if len(receipt) <= _MOST_IN_QR:
        holds, text = "receipt", receipt.decode()
    return {"holds": holds, "text": text, "sha256": digest, "svg": segno.make(text, error="m").svg_inline(scale=4)}
