"""The mall (积分商城): offers, codes, orders with every change of each, and payments.

What an order costs in points is a move of the book (stores/register/points.py) under the order's number; money is kept
apart, by the payment that confirmed it. Codes and addresses are sealed with a key outside the database, the secret of a
voucher is kept nowhere. A change of an order is an appended row beside the row that says where it stands now.

Whatever decides is asked inside the transaction that writes, for a whole group of orders at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tanzhang.core.order import State
from tanzhang.stores.book import Book
from tanzhang.stores.book.schema import NUMBER, ONLY_ADDED, TEXT, metadata

SPENT, GIVEN_BACK = "mall", "mall refund"
"""What moves of points for orders, and back, are called; their reference is the order's number."""
ERASED = ""
"""The account of an order whose person was erased."""
_AT_ONCE = 500

mall_offer = sa.Table(
    "mall_offer",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),  # from 1; every version is in the audit trail
    sa.Column("merchant", TEXT, nullable=False),  # a partner
    sa.Column("document", TEXT, nullable=False),  # JSON (service/offers.py)
    sa.Column("stock", sa.BigInteger),  # how many there are in all; NULL without end. Of codes, how many were added.
    sa.Column("sold", sa.BigInteger, nullable=False),  # orders that hold one of them
    sa.Column("opens_at", TEXT, nullable=False),
    sa.Column("closes_at", TEXT),
    sa.Column("ended_at", TEXT),
)
# A pool of codes, each given to one order at most.
mall_code = sa.Table(
    "mall_code",
    metadata,
    sa.Column("hash", TEXT, primary_key=True),  # keyed, of offer and code
    sa.Column("offer", TEXT, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),  # they are given in this order
    sa.Column("sealed", TEXT, nullable=False),
    sa.Column("order", TEXT, unique=True),
    sa.Index("mall_code_free", "offer", "order", "number"),
)
# Where an order stands; what it cost, and the terms it was placed under, never change.
mall_order = sa.Table(
    "mall_order",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("account", TEXT, nullable=False),  # empty once the person is erased
    sa.Column("request", TEXT),  # keyed hash of what was asked for under the order's key
    sa.Column("offer", TEXT, nullable=False),
    sa.Column("merchant", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("unit", TEXT, nullable=False),  # of its points
    sa.Column("price_points", sa.BigInteger, nullable=False),
    sa.Column("price_fen", sa.BigInteger),
    sa.Column("settlement_fen", sa.BigInteger, nullable=False),  # what the merchant is owed once it has delivered
    sa.Column("terms", TEXT, nullable=False),  # JSON
    sa.Column("state", TEXT, nullable=False),
    sa.Column("held", sa.Boolean, nullable=False),  # whether it counts as sold, and against its person's limit
    sa.Column("placed_at", TEXT, nullable=False),
    sa.Column("placed_day", TEXT, nullable=False),  # local
    sa.Column("changed_at", TEXT, nullable=False),
    sa.Column("pay_until", TEXT),
    sa.Column("valid_until", TEXT),  # of a voucher, once it is issued; not after that moment
    sa.Column("due_at", TEXT),  # it expires then unless something happens
    sa.Column("address", TEXT),  # sealed; where goods go, and how they were sent
    sa.Index("mall_order_account", "account", "placed_at", "id"),
    sa.Index("mall_order_merchant", "merchant", "state", "id"),
    sa.Index("mall_order_due", "due_at"),
)
mall_order_event = sa.Table(
    "mall_order_event",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("order", TEXT, nullable=False),
    sa.Column("before", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("by", TEXT, nullable=False),  # "person", or a role and who of it; never a person
    sa.Index("mall_order_event_order", "order"),
    sa.Index("mall_order_event_at", "at"),
    info={ONLY_ADDED: True},
)
# Money that came in for an order, by the reference of whoever took it.
mall_payment = sa.Table(
    "mall_payment",
    metadata,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("reference", TEXT, nullable=False, unique=True),
    sa.Column("order", TEXT, nullable=False, unique=True),
    sa.Column("amount_fen", sa.BigInteger, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("by", TEXT, nullable=False),
    info={ONLY_ADDED: True},
)


class Mall:
    """The mall of a home."""

    def __init__(self, book: Book) -> None:
        self._book = book

    # -- reading ----------------------------------------------------------------------------------------------

    def offer(self, name: str) -> Any | None:
        """An offer, also one that has ended."""
        rows = self._book.query(sa.select(mall_offer).where(mall_offer.c.id == name))
        return rows[0] if rows else None

    def offers(self, after: str, limit: int, *, at: str | None = None, merchant: str | None = None) -> list[Any]:
        """Offers by id after one: all, or those that are open ``at`` a moment, of one merchant or of all."""
        statement = sa.select(mall_offer).where(mall_offer.c.id > after)
        if at is not None:
            last = mall_offer.c.closes_at
            statement = statement.where(mall_offer.c.ended_at.is_(None) & (mall_offer.c.opens_at <= at))
            statement = statement.where(last.is_(None) | (last > at))
        if merchant is not None:
            statement = statement.where(mall_offer.c.merchant == merchant)
        return self._book.query(statement.order_by(mall_offer.c.id).limit(limit))

    def order(self, number: str) -> Any | None:
        """An order."""
        with self._book.reading() as con:
            return self.orders_in(con, [number]).get(number)

    def orders_of(
        self, accounts: Sequence[str], before: tuple[str, str] | None = None, limit: int = 10_000
    ) -> list[Any]:
        """Orders of some accounts, the latest first; those before a moment and number."""
        statement = sa.select(mall_order).where(mall_order.c.account.in_(accounts))
        if before is not None:
            statement = statement.where(sa.tuple_(mall_order.c.placed_at, mall_order.c.id) < sa.tuple_(*before))
        return self._book.query(statement.order_by(mall_order.c.placed_at.desc(), mall_order.c.id.desc()).limit(limit))

    def orders_at(self, merchant: str, state: State, after: str, limit: int) -> list[Any]:
        """Orders of a merchant in a state, by number after one."""
        own = (mall_order.c.merchant == merchant) & (mall_order.c.state == state) & (mall_order.c.id > after)
        return self._book.query(sa.select(mall_order).where(own).order_by(mall_order.c.id).limit(limit))

    def events(self, orders: Sequence[str]) -> dict[str, list[Any]]:
        """The changes of some orders, in their order."""
        found: dict[str, list[Any]] = {number: [] for number in orders}
        for some in _parts(list(orders)):
            own = sa.select(mall_order_event).where(mall_order_event.c.order.in_(some))
            for row in self._book.query(own.order_by(mall_order_event.c.id)):
                found[row.order].append(row)
        return found

    def code_of(self, order: str) -> Any | None:
        """The code that an order was given."""
        rows = self._book.query(sa.select(mall_code).where(mall_code.c.order == order))
        return rows[0] if rows else None

    def changes(self, merchant: str, since: str, until: str) -> list[Any]:
        """What a merchant's orders went through from a moment to before another, by offer and change.

        Rows: offer, kind, before, state, orders, points, fen, settlement_fen, and paid_fen, what was paid for them.
        """
        own = mall_order_event.join(mall_order, mall_order.c.id == mall_order_event.c.order)
        own = own.outerjoin(mall_payment, mall_payment.c.order == mall_order.c.id)
        keys = (mall_order.c.offer, mall_order.c.kind, mall_order_event.c.before, mall_order_event.c.state)
        statement = sa.select(
            *keys,
            sa.func.count().label("orders"),
            sa.func.sum(mall_order.c.price_points).label("points"),
            sa.func.sum(mall_order.c.settlement_fen).label("settlement_fen"),
            sa.func.coalesce(sa.func.sum(mall_payment.c.amount_fen), 0).label("paid_fen"),
        ).select_from(own)
        within = (mall_order_event.c.at >= since) & (mall_order_event.c.at < until)
        statement = statement.where((mall_order.c.merchant == merchant) & within)
        return self._book.query(statement.group_by(*keys).order_by(*keys))

    def due(self, at: str, limit: int) -> list[str]:
        """Orders whose time is over at a moment, those that have waited longest first."""
        own = sa.select(mall_order.c.id).where(mall_order.c.due_at <= at)
        return [row.id for row in self._book.query(own.order_by(mall_order.c.due_at).limit(limit))]

    def waits(self) -> bool:
        """Whether any order would expire at some moment."""
        return bool(self._book.query(sa.select(mall_order.c.id).where(mall_order.c.due_at.is_not(None)).limit(1)))

    def old_addresses(self, before: str) -> list[str]:
        """Orders of goods that were sent before a moment and still say where to."""
        own = (mall_order.c.state == State.REDEEMED) & mall_order.c.address.is_not(None)
        return [
            row.id
            for row in self._book.query(sa.select(mall_order.c.id).where(own & (mall_order.c.changed_at < before)))
        ]

    # -- in somebody's transaction ----------------------------------------------------------------------------

    def offers_in(self, con: sa.Connection, names: Iterable[str]) -> dict[str, Any]:
        """Offers by id."""
        return _by_id(con, mall_offer, names)

    def orders_in(self, con: sa.Connection, numbers: Iterable[str]) -> dict[str, Any]:
        """Orders by number."""
        return _by_id(con, mall_order, numbers)

    def holding(self, con: sa.Connection, offer: str, accounts: Iterable[str], since: str) -> dict[str, int]:
        """How many of an offer each of some accounts has, of orders placed on ``since`` or a later day."""
        found: dict[str, int] = {}
        for some in _parts(sorted(set(accounts))):
            own = mall_order.c.account.in_(some) & (mall_order.c.offer == offer) & mall_order.c.held
            counted = sa.select(mall_order.c.account, sa.func.count().label("own"))
            counted = counted.where(own & (mall_order.c.placed_day >= since)).group_by(mall_order.c.account)
            found |= {row.account: int(row.own) for row in con.execute(counted)}
        return found

    def add_offer(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a new offer."""
        con.execute(mall_offer.insert(), dict(values))

    def change_offer(self, con: sa.Connection, name: str, values: Mapping[str, Any]) -> None:
        """Say something of an offer anew."""
        con.execute(mall_offer.update().where(mall_offer.c.id == name).values(dict(values)))

    def hold(self, con: sa.Connection, counts: Mapping[str, int]) -> None:
        """Count so many more of each offer as sold, or fewer."""
        for name, count in sorted(counts.items()):
            if count:
                sold = {"sold": mall_offer.c.sold + count}
                con.execute(mall_offer.update().where(mall_offer.c.id == name).values(sold))

    def known_codes(self, con: sa.Connection, hashes: Sequence[str]) -> set[str]:
        """Which codes were added before."""
        found: set[str] = set()
        for some in _parts(hashes):
            found |= {row.hash for row in con.execute(sa.select(mall_code.c.hash).where(mall_code.c.hash.in_(some)))}
        return found

    def add_codes(self, con: sa.Connection, offer: str, sealed: Sequence[tuple[str, str]]) -> None:
        """Add codes, hash and sealed text, behind those that an offer has."""
        last = sa.select(sa.func.coalesce(sa.func.max(mall_code.c.number), 0)).where(mall_code.c.offer == offer)
        first = int(con.execute(last).scalar_one()) + 1
        rows = [
            {"hash": name, "offer": offer, "number": number, "sealed": text}
            for number, (name, text) in enumerate(sealed, first)
        ]
        if rows:
            con.execute(mall_code.insert(), rows)

    def give_codes(self, con: sa.Connection, offer: str, orders: Sequence[str]) -> None:
        """Give each order the next free code of an offer. There have to be so many."""
        free = (mall_code.c.offer == offer) & mall_code.c.order.is_(None)
        statement = sa.select(mall_code.c.hash).where(free).order_by(mall_code.c.number).limit(len(orders))
        codes = [row.hash for row in con.execute(statement)]
        given = mall_code.update().where(mall_code.c.hash == sa.bindparam("of_hash"))
        rows = [{"of_hash": code, "of_order": order} for code, order in zip(codes, orders, strict=True)]
        con.execute(given.values(order=sa.bindparam("of_order")), rows)

    def take_codes_back(self, con: sa.Connection, orders: Sequence[str]) -> None:
        """Put codes that nobody saw back into their pools."""
        for some in _parts(orders):
            con.execute(mall_code.update().where(mall_code.c.order.in_(some)).values(order=None))

    def add_orders(self, con: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep new orders."""
        con.execute(mall_order.insert(), [dict(row) for row in rows])

    def change_orders(self, con: sa.Connection, numbers: Sequence[str], values: Mapping[str, Any]) -> None:
        """Change what stands in the rows of some orders."""
        for some in _parts(numbers):
            con.execute(mall_order.update().where(mall_order.c.id.in_(some)).values(dict(values)))

    def tell(self, con: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append changes of orders: order, before, state, at, by."""
        con.execute(mall_order_event.insert(), [dict(row) for row in rows])

    def payments(self, con: sa.Connection, references: Sequence[str]) -> dict[str, Any]:
        """Payments by reference."""
        own = sa.select(mall_payment).where(mall_payment.c.reference.in_(references))
        return {row.reference: row for row in con.execute(own)}

    def add_payment(self, con: sa.Connection, values: Mapping[str, Any]) -> None:
        """Keep a payment."""
        con.execute(mall_payment.insert(), dict(values))

    def open_orders(self, con: sa.Connection, accounts: Sequence[str]) -> list[Any]:
        """Orders of persons for whom something would still have to be paid or sent."""
        found: list[Any] = []
        for some in _parts(accounts):
            open_ = mall_order.c.state.in_([State.UNPAID, State.PAID])
            found += con.execute(sa.select(mall_order).where(mall_order.c.account.in_(some) & open_))
        return found

    def forget(self, con: sa.Connection, accounts: Sequence[str]) -> int:
        """Have orders say no more whose they are, nor where anything goes; returns how many there were."""
        count = 0
        gone = {"account": ERASED, "request": None, "address": None}
        for some in _parts(accounts):
            count += con.execute(mall_order.update().where(mall_order.c.account.in_(some)).values(gone)).rowcount
        return count


def _by_id(con: sa.Connection, table: sa.Table, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for some in _parts(sorted(set(names))):
        found |= {row.id: row for row in con.execute(sa.select(table).where(table.c.id.in_(some)))}
    return found


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
