"""Accounts for those who run and audit the programme: any account's statement and records."""

from __future__ import annotations

from datetime import date
from typing import Any

from litestar import get
from litestar.params import FromPath, FromQuery

from tanzhang.api.access import allow
from tanzhang.api.given import TheReader
from tanzhang.core.access import Role
from tanzhang.service.accounts import account_named
from tanzhang.service.reading import RECENT

_STAFF = allow(Role.OPERATOR, Role.AUDITOR)


@get("/v1/accounts/{account:str}/statement", opt=_STAFF, sync_to_thread=True)
def statement(reader: TheReader, account: FromPath[str]) -> dict[str, Any]:
    """An account's balances, totals by behaviour, latest and open records; amounts are texts of whole mg.

    ``account`` is its id, or PARTNER:SUBJECT of a platform account.
    """
    return reader.statement(account_named(reader.home, account))


@get("/v1/accounts/{account:str}/records", opt=_STAFF, sync_to_thread=True)
def records(
    reader: TheReader,
    account: FromPath[str],
    since: FromQuery[date | None] = None,
    until: FromQuery[date | None] = None,
    cursor: FromQuery[str | None] = None,
    limit: FromQuery[int] = RECENT,
) -> dict[str, Any]:
    """The settled records of an account with local days from ``since`` up to before ``until``, the latest first."""
    own = account_named(reader.home, account)
    return reader.records(own, since=since, until=until, cursor=cursor, limit=limit)


handlers = [statement, records]
