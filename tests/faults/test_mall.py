"""A flash sale: a thousand buyers at one moment, two processes that serve them, and one of these killed.

Buyers ask again with the same key until they have an answer. In the end everything is counted: nothing was sold twice,
whoever was told of an order has it, and nobody paid for anything else.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import sqlalchemy as sa

from tanzhang.api.access import COOKIE, CSRF_HEADER
from tanzhang.core.access import new_token, secret_hash
from tanzhang.service.access import csrf_token
from tanzhang.service.check_mall import check_mall
from tanzhang.service.offers import add_codes, add_offer, offer_of
from tanzhang.stores.home import Home
from tanzhang.stores.register.access import session
from tanzhang.stores.register.mall import mall_code, mall_order
from tanzhang.stores.register.points import points_lot

from ..integration.api.conftest import serving
from ..integration.conftest import home, place  # noqa: F401 - the fixtures
from ..mall import OPERATOR, UNIT, grant, person, said

BUYERS, CODES = 1_000, 100


def sign_in(home: Home, buyers: range) -> dict[int, dict[str, str]]:  # noqa: F811
    """Sessions of buyers, kept in one transaction; what each one's browser sends."""
    tokens = {each: new_token() for each in buyers}
    now = datetime.now(UTC)
    rows = [
        {
            "token_hash": secret_hash(token),
            "role": "person",
            "subject": str(person(each)),
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(days=1)).isoformat(),
        }
        for each, token in tokens.items()
    ]
    with home.book.transaction() as con:
        con.execute(session.insert(), rows)
    return {
        each: {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token), "idempotency-key": f"k-{each}"}
        for each, token in tokens.items()
    }


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    replayed: bool
    body: dict[str, Any]


async def ask(port: int, headers: dict[str, str]) -> Answer:
    """Order one, over a connection of its own; ``OSError`` where it broke before the whole answer was there."""
    body = b'{"offer": "film"}'
    lines = ["POST /v1/me/orders HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", "connection: close"]
    lines += [f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head, blank, said = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not blank:
        raise ConnectionResetError("no answer")
    return Answer(int(head.split(b" ", 2)[1]), b"idempotency-replayed" in head.lower(), json.loads(said))


def busiest(main: int) -> psutil.Process:
    """Of the processes of a server the one that has most callers."""
    children = psutil.Process(main).children(recursive=True)
    return max(children, key=lambda each: sum(own.status == psutil.CONN_ESTABLISHED for own in each.net_connections()))


class Sale:
    """Buyers who ask until each has an answer, and then once more; with the first answer a process is killed."""

    def __init__(self, headers: dict[int, dict[str, str]], port: int, main: int) -> None:
        self.headers, self.port, self.main = headers, port, main
        self.answers: dict[int, Answer] = {}
        self.failed = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._buy(each) for each in self.headers))
        first = {each: answer for each, answer in self.answers.items() if answer.status == 201}
        await asyncio.gather(*(self._buy(each) for each in first))
        again = {each: self.answers[each] for each in first}
        assert {each: answer.body for each, answer in again.items()} == {each: first[each].body for each in first}
        assert all(answer.replayed for answer in again.values())

    async def _buy(self, buyer: int) -> None:
        while True:
            try:
                answer = await ask(self.port, self.headers[buyer])
            except (OSError, json.JSONDecodeError):
                self.failed += 1
                await asyncio.sleep(0.05)
                continue
            if answer.status in (429, 503):
                await asyncio.sleep(0.1)
                continue
            if not self.answers:
                busiest(self.main).kill()
            self.answers[buyer] = answer
            return


def test_a_thousand_buyers_of_a_hundred_codes_and_a_process_that_is_killed(home: Home) -> None:  # noqa: F811
    buyers = range(1, BUYERS + 1)
    now = datetime.now(UTC)
    grant(home, map(person, buyers), 150, last="9999-12-31")
    add_offer(home, offer_of(said("film", kind="code", limit={"count": 1, "per": "offer"})), actor=OPERATOR, now=now)
    add_codes(home, "film", "\n".join(f"code {each}" for each in range(CODES)), actor=OPERATOR, now=now)
    headers = sign_in(home, buyers)
    shuffled = dict(random.Random(5).sample([*headers.items()], len(headers)))
    with serving(home, "--workers", "2", "--no-work") as (address, main):
        sale = Sale(shuffled, int(address.rpartition(":")[2]), main.pid)
        asyncio.run(sale.run())

    assert sale.failed > 0, "nobody noticed that a process was killed"
    answered = Counter(answer.body.get("code", "placed") for answer in sale.answers.values())
    assert answered == {"placed": CODES, "sold-out": BUYERS - CODES}
    rows = home.book.query(sa.select(mall_order))
    told = {str(person(each)) for each, answer in sale.answers.items() if answer.status == 201}
    assert {row.account for row in rows} == told
    assert len(rows) == CODES
    given = [row.order for row in home.book.query(sa.select(mall_code))]
    assert sorted(given) == sorted(row.id for row in rows)
    own = sa.select(sa.func.sum(points_lot.c.available)).where(points_lot.c.unit == UNIT)
    assert home.book.query(own)[0][0] == BUYERS * 150 - CODES * 100
    assert check_mall(home) == (CODES, [])
