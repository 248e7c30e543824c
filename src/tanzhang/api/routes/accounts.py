"""Accounts for those who run and audit the programme: any account's statement and records."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

from litestar import get
from litestar.params import FromPath, FromQuery

from tanzhang.api.access import allow
from tanzhang.api.given import Now, TheCaller, TheReader
from tanzhang.core.access import Caller, Role
from tanzhang.service.accounts import account_named
from tanzhang.service.privacy import note_staff
from tanzhang.service.reading import RECENT, Reader

_STAFF = allow(Role.OPERATOR, Role.AUDITOR)


@get("/v1/accounts/{account:str}/statement", opt=_STAFF, sync_to_thread=True)
def statement(reader: TheReader, caller: TheCaller, now: Now, account: FromPath[str]) -> dict[str, Any]:
    """An account's balances, totals by behaviour, latest and open records; amounts are texts of whole mg.

    ``account`` is its id, or PARTNER:SUBJECT of a platform account. The person sees who looked.
    """
    own = _noted(reader, caller, account, "statement", now)
    return reader.statement(own)


@get("/v1/accounts/{account:str}/records", opt=_STAFF, sync_to_thread=True)
def records(
    reader: TheReader,
    caller: TheCaller,
    now: Now,
    account: FromPath[str],
    since: FromQuery[date | None] = None,
    until: FromQuery[date | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = RECENT,
) -> dict[str, Any]:
    """The settled records of an account with local days from ``since`` up to before ``until``, the latest first."""
    own = _noted(reader, caller, account, "records", now)
    found = reader.records(own, since=since, until=until, cursor=cursor, limit=limit)
    if not found["items"]:
        reader.statement(own)  # refuses an account of which nothing is known
    return found


def _noted(reader: Reader, caller: Caller, text: str, what: str, now: datetime) -> uuid.UUID:
    """The account that was named, once it is kept that one of the staff looks at it."""
    account = account_named(reader.home, text)
    note_staff(reader.home, account, role=caller.role, who=caller.subject, what=what, now=now)
    return account


handlers = [statement, records]
