"""Orders of the mall: placed, paid, cancelled, sent, expired and refunded; each change moves points in its transaction.

Orders that wait at one moment are placed together (:mod:`tanzhang.service.teller`): offers, limits and codes are read
once for all of them, decided in the order they came in, and kept in one transaction with the points that they cost.
Nothing is oversold, since transactions that write stand one behind another. A key names an order for good: its number
is made of account and key, so that a retry, from any process, finds what was placed before. A refusal is not kept, and
is decided anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.order import FOLLOWING, NUMBER_LENGTH, Kind, State, crockford, settled
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.offers import TERMS, sale_begins, unknown_offer
from tanzhang.service.secrets import derived
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import ERASED, GIVEN_BACK, SPENT, mall_order
from tanzhang.stores.register.people import place_of
from tanzhang.stores.register.points import UNIT, Spending

PERSON, CHORE = "person", "chore"
ADDRESS_KEPT = timedelta(days=90)
"""How long it is kept where goods went once they were sent, for returns; the default is ours."""
EXPIRED_AT_ONCE, _PAYMENTS_AT_ONCE = 500, 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order that somebody asks for, under a key of their own; an address for goods, and nothing else."""

    account: uuid.UUID
    offer: str
    key: str
    address: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """The order as it was placed, or why it was not; ``repeated`` if it was placed before."""

    order: Mapping[str, Any] | None = None
    error: TanzhangError | None = None
    repeated: bool = False


@dataclass(slots=True)
class _Asked:
    """One of a group: the number that its order has, what it asks for, and its answer once there is one."""

    wanted: Wanted
    number: str
    request: str
    address: str | None = None
    placed: Placed | None = None


@dataclass
class _Offer:
    """An offer while a group is decided; ``left`` and ``holding`` change with what is placed of it."""

    row: Any
    document: Mapping[str, Any]
    left: int | None
    holding: Counter[str]

    @property
    def unit(self) -> str:
        return f"{UNIT}{self.document['points']}"

    @cached_property
    def terms(self) -> str:
        return json.dumps({name: self.document[name] for name in TERMS})

    @property
    def price_points(self) -> int:
        return int(self.document["price_points"])


def place(home: Home, wanted: Sequence[Wanted], *, now: datetime) -> list[Placed]:
    """Place orders that came in together, in their order; what is answered is durable.

    Refusals, each in its answer: ``unknown-offer``, ``offer-not-open``, ``sold-out``, ``limit-reached``,
    ``address-missing``, ``address-not-needed``, ``points-short``, ``idempotency-key-reused``.
    """
    key, asked = home.identity_key, []
    for each in wanted:
        number = crockford(derived(key, "mall order", f"{each.account}\0{each.key}"), NUMBER_LENGTH)
        sealed = None if each.address is None else _sealed(home, number, each.address)
        asked.append(_Asked(each, number, _request(key, each), sealed))
    with home.book.transaction() as con:
        _Group(home, con, now).place(asked)
    return [each.placed for each in asked if each.placed is not None]


class _Group:
    """Orders that are placed in one transaction."""

    def __init__(self, home: Home, con: sa.Connection, now: datetime) -> None:
        self.home, self.con, self.now = home, con, now
        self.at, self.day = received_at(now), received_day(home, now)
        self.offers: dict[str, _Offer] = {}
        self.usable: dict[str, dict[uuid.UUID, int]] = {}

    def place(self, asked: Sequence[_Asked]) -> None:
        """Give each its answer, and keep what is placed."""
        known = self.home.mall.orders_in(self.con, {each.number for each in asked})
        first: dict[str, _Asked] = {}
        for each in asked:
            row = known.get(each.number)
            if row is not None:
                each.placed = _again(row._mapping, each)
            else:
                first.setdefault(each.number, each)
        self._look_at([*first.values()])
        placed = self._decide([*first.values()])
        rows = [self._row(each) for each in placed]
        self._keep(rows)
        kept = {row["id"]: row for row in rows}
        for each in asked:
            if each.placed is not None:
                continue
            if first[each.number] is each:
                each.placed = Placed(as_placed(kept[each.number]))
            else:  # one that came twice in this very group
                before = first[each.number].placed
                refused = before is not None and before.order is None
                each.placed = before if refused else _again(kept[each.number], each)

    def _look_at(self, asked: Sequence[_Asked]) -> None:
        """Read what the group is about: offers, what its people have of those that are limited, and their points."""
        for name, row in self.home.mall.offers_in(self.con, {each.wanted.offer for each in asked}).items():
            document = json.loads(row.document)
            left, holding = None if row.stock is None else row.stock - row.sold, Counter[str]()
            if document["limit"] is not None:
                accounts = [str(each.wanted.account) for each in asked if each.wanted.offer == name]
                since = _since(document["limit"]["per"], self.day)
                holding.update(self.home.mall.holding(self.con, name, accounts, since))
            self.offers[name] = _Offer(row, document, left, holding)
        by_unit: dict[str, set[uuid.UUID]] = defaultdict(set)
        for each in asked:
            if each.wanted.offer in self.offers:
                by_unit[self.offers[each.wanted.offer].unit].add(each.wanted.account)
        for unit, own in by_unit.items():
            self.usable[unit] = self.home.points.usable_in(self.con, unit, own, self.day)

    def _decide(self, asked: Sequence[_Asked]) -> list[_Asked]:
        """Those that are placed, in the order they came in; the others have their refusals."""
        placed: dict[str, list[_Asked]] = defaultdict(list)
        for each in asked:
            error = self._objection(each)
            if error is not None:
                each.placed = Placed(error=error)
                continue
            offer, account = self.offers[each.wanted.offer], each.wanted.account
            offer.left = None if offer.left is None else offer.left - 1
            offer.holding[str(account)] += 1
            self.usable[offer.unit][account] -= offer.price_points
            placed[offer.unit].append(each)
        for unit, own in placed.items():
            spendings = [self._spending(each) for each in own]
            if any(self.home.points.spend(self.con, unit, spendings, at=self.at, day=self.day)):
                raise RuntimeError("points that were there cannot be spent")
        return [each for own in placed.values() for each in own]

    def _spending(self, each: _Asked) -> Spending:
        offer = self.offers[each.wanted.offer]
        counter = f"mall:{offer.row.merchant}"
        return Spending(each.wanted.account, offer.price_points, SPENT, counter, each.number)

    def _objection(self, each: _Asked) -> TanzhangError | None:
        """Why an order cannot be placed."""
        name, offer = each.wanted.offer, self.offers.get(each.wanted.offer)
        if offer is None:
            return unknown_offer(name)
        closed = offer.row.ended_at is not None or (offer.row.closes_at or "A") <= self.at
        if closed or self.at < sale_begins(offer.document):
            begins = "is over" if closed else f"begins at {sale_begins(offer.document)}"
            return refuse("offer-not-open", f"the sale of {name} {begins}", where="#/offer", remedy="see its times")
        limit = offer.document["limit"]
        if limit is not None and offer.holding[str(each.wanted.account)] >= limit["count"]:
            what = f"{limit['count']} of {name} for one person, and you have them"
            return refuse("limit-reached", what, where="#/offer", remedy=f"the limit is for one {limit['per']}")
        if offer.left is not None and offer.left <= 0:
            return refuse("sold-out", f"nothing is left of {name}", where="#/offer", remedy="choose another offer")
        is_goods = offer.document["kind"] == Kind.GOODS
        if is_goods and each.address is None:
            return refuse(
                "address-missing", "goods need an address", where="#/address", remedy="send name, phone and address"
            )
        if each.address is not None and not is_goods:
            return refuse(
                "address-not-needed",
                "an address is kept for goods alone",
                where="#/address",
                remedy="leave it out",
            )
        there = self.usable[offer.unit][each.wanted.account]
        if there < offer.price_points:
            what = f"{offer.price_points} points are asked for, and {max(there, 0)} are there"
            return refuse("points-short", what, where="points", remedy="come back with more points")
        return None

    def _row(self, each: _Asked) -> dict[str, Any]:
        """The row of an order that is placed."""
        offer = self.offers[each.wanted.offer]
        document, kind = offer.document, Kind(offer.document["kind"])
        price_fen = None if document["price_fen"] is None else int(document["price_fen"])
        state = settled(kind) if price_fen is None else State.UNPAID
        pay_until = received_at(self.now + timedelta(minutes=document["pay_minutes"]))
        row = {
            "id": each.number,
            "account": str(each.wanted.account),
            "request": each.request,
            "offer": each.wanted.offer,
            "merchant": offer.row.merchant,
            "kind": kind.value,
            "unit": offer.unit,
            "price_points": offer.price_points,
            "price_fen": price_fen,
            "settlement_fen": int(document["settlement_fen"]),
            "terms": offer.terms,
            "held": True,
            "placed_at": self.at,
            "placed_day": self.day.isoformat(),
            "pay_until": pay_until if state is State.UNPAID else None,
            "valid_until": None,
            "address": each.address,
        }
        return {**row, **_entering(row, state, self.now)}

    def _keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        mall = self.home.mall
        mall.add_orders(self.con, rows)
        mall.tell(self.con, [_event(row["id"], State.PLACED, row["state"], self.at, PERSON) for row in rows])
        mall.hold(self.con, Counter(row["offer"] for row in rows))
        codes: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row["kind"] == Kind.CODE:
                codes[row["offer"]].append(row["id"])
        for name, numbers in codes.items():
            mall.give_codes(self.con, name, numbers)


def as_placed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What whoever placed an order is answered, the same at any time: nothing in it changes later."""
    waits = row["pay_until"] is not None
    state = State.UNPAID if waits else settled(Kind(row["kind"]))
    return {
        "order": row["id"],
        "offer": row["offer"],
        "merchant": row["merchant"],
        "kind": row["kind"],
        "state": state.value,
        "points": row["unit"].removeprefix(UNIT),
        "price_points": str(row["price_points"]),
        "price_fen": None if row["price_fen"] is None else str(row["price_fen"]),
        "placed_at": row["placed_at"],
        "pay_until": row["pay_until"],
    }


def _again(row: Mapping[str, Any], each: _Asked) -> Placed:
    """The answer to an order that was placed before under its key."""
    if row["request"] == each.request:
        return Placed(as_placed(row), repeated=True)
    return Placed(
        error=refuse(
            "idempotency-key-reused",
            f"key {each.wanted.key!r} was used for another order",
            where="Idempotency-Key",
            remedy="use a new key for each new order; the same key only to send the same order again",
        )
    )


def _request(key: bytes, wanted: Wanted) -> str:
    """What makes two orders of a key the same; keyed, since an address can be guessed."""
    said = json.dumps([wanted.offer, wanted.address and dict(wanted.address)], sort_keys=True)
    return hmac.digest(key, f"tanzhang mall request\0{said}".encode(), hashlib.sha256).hex()


def _sealed(home: Home, number: str, said: Mapping[str, str]) -> str:
    return home.personal_keys.seal(json.dumps(dict(said), ensure_ascii=False), place_of(mall_order, "address", number))


def _since(per: str, day: date) -> str:
    """The first local day whose orders a limit counts."""
    return {"day": day.isoformat(), "month": day.replace(day=1).isoformat()}.get(per, "")


def _event(number: str, before: str, state: str, at: str, by: str) -> dict[str, Any]:
    return {"order": number, "before": str(before), "state": str(state), "at": at, "by": by}


@lru_cache(maxsize=1_000)
def _terms(text: str) -> Mapping[str, Any]:
    """The terms of an order; many orders have the same."""
    found: dict[str, Any] = json.loads(text)
    return found


def _entering(row: Mapping[str, Any], state: State, now: datetime) -> dict[str, Any]:
    """What stands in an order's row once it comes to a state."""
    values: dict[str, Any] = {"state": state.value, "changed_at": received_at(now), "due_at": None}
    if state is State.UNPAID:
        values["due_at"] = row["pay_until"]
    elif state is State.ISSUED and row["kind"] == Kind.VOUCHER:
        lasts = timedelta(days=_terms(row["terms"])["voucher_days"])
        values["valid_until"] = values["due_at"] = received_at(now + lasts)
    return values


# -- what becomes of an order ---------------------------------------------------------------------------------


def change(
    home: Home,
    con: sa.Connection,
    row: Any,
    *states: State,
    by: str,
    now: datetime,
    also: Mapping[str, Any] | None = None,
) -> None:
    """Take an order through some states, in somebody's transaction; its row was read there.

    What comes back on the way to ``refunded``: its points, and the thing itself for somebody else unless its owner saw
    the code. ``also`` is kept in the order's row too.
    """
    before, at, events = State(row.state), received_at(now), []
    values: dict[str, Any] = {}
    seen = row.kind == Kind.CODE and before is State.ISSUED
    for state in states:
        if state not in FOLLOWING[before]:
            raise ValueError(f"no order comes from {before} to {state}")
        events.append(_event(row.id, before, state, at, by))
        values |= _entering(row._mapping, state, now)
        before = state
    if State.CANCELLED in states or State.REFUNDED in states:
        values["address"] = None
        if not seen:
            values["held"] = False
            home.mall.hold(con, {row.offer: -1})
            home.mall.take_codes_back(con, [row.id])
    if State.REFUNDED in states:
        lasts = timedelta(days=_terms(row.terms)["refund_lasts_days"])
        home.points.give_back(
            con, row.unit, SPENT, [row.id], at=at, as_kind=GIVEN_BACK, not_before=received_day(home, now) + lasts
        )
    home.mall.change_orders(con, [row.id], {**values, **(also or {})})
    home.mall.tell(con, events)


def cancel(home: Home, accounts: Sequence[uuid.UUID], number: str, *, now: datetime) -> None:
    """Take an order back by its owner; its points come back. ``unknown-order``, ``order-not-cancellable``.

    Not once a code could be seen or money came in, nor where the offer's terms say so.
    """
    with home.book.transaction() as con:
        row = home.mall.orders_in(con, [number]).get(number)
        if row is None or row.account not in {*map(str, accounts)}:
            raise unknown_order(number)
        state = State(row.state)
        if state in (State.CANCELLED, State.REFUNDED):
            return
        free = row.price_fen is None and _terms(row.terms)["cancellable"]
        is_open = state is State.PAID or (state is State.ISSUED and row.kind == Kind.VOUCHER)
        late = row.due_at is not None and row.due_at <= received_at(now)
        if late or not (state is State.UNPAID or (free and is_open)):
            raise refuse(
                "order-not-cancellable",
                f"order {number} is {state}, and cannot be taken back",
                where="order",
                remedy="ask the operator",
            )
        change(home, con, row, State.CANCELLED, State.REFUNDED, by=PERSON, now=now)


def refund(home: Home, number: str, *, by: str, now: datetime) -> dict[str, Any]:
    """Cancel an order by the operator and give its points back; money is given back outside of the system.

    ``unknown-order``, ``order-not-cancellable`` once it was redeemed, sent or refunded.
    """
    with home.book.transaction() as con:
        row = home.mall.orders_in(con, [number]).get(number)
        if row is None:
            raise unknown_order(number)
        on_the_way = () if row.state == State.EXPIRED else (State.CANCELLED,)
        if row.state not in (State.UNPAID, State.PAID, State.ISSUED, State.EXPIRED):
            raise refuse(
                "order-not-cancellable",
                f"order {number} is {row.state}",
                where="order",
                remedy="what was delivered or refunded stays so",
            )
        change(home, con, row, *on_the_way, State.REFUNDED, by=by, now=now)
        paid = row.price_fen is not None and row.state != State.UNPAID
    return {"order": number, "state": State.REFUNDED.value, "give_back_fen": str(row.price_fen if paid else 0)}


def pay(home: Home, payments: Sequence[Mapping[str, Any]], *, by: str, now: datetime) -> dict[str, Any]:
    """Confirm money that came in: ``order``, ``amount_fen`` and ``reference`` of each, as a bank's file has them.

    Each is decided by itself; what was confirmed before is ``known``. Others are ``refused`` with a code:
    ``unknown-order``, ``payment-wrong`` (another amount), ``payment-known`` (the reference paid another order, or the
    order was paid by another), ``order-closed`` (it lapsed or was taken back: the money has to be given back).
    """
    items: list[dict[str, Any]] = []
    for start in range(0, len(payments), _PAYMENTS_AT_ONCE):
        some = payments[start : start + _PAYMENTS_AT_ONCE]
        with home.book.transaction() as con:
            known = home.mall.payments(con, [each["reference"] for each in some])
            for each in some:
                said = {"order": each["order"], "reference": each["reference"]}
                try:
                    items.append({**said, "result": _paid(home, con, each, known, by, now)})
                except TanzhangError as error:
                    items.append({**said, "result": "refused", **error.problems[0].as_dict()})
    return {"paid": sum(each["result"] == "paid" for each in items), "items": items}


def _paid(
    home: Home, con: sa.Connection, said: Mapping[str, Any], known: dict[str, Any], by: str, now: datetime
) -> str:
    """Confirm one payment, or say that it is ``known``; ``known`` are those of its group's references."""
    number, reference, amount = said["order"], said["reference"], int(said["amount_fen"])
    row, before = home.mall.orders_in(con, [number]).get(number), known.get(reference)
    if before is not None and (before.order, before.amount_fen) == (number, amount):
        return "known"
    where, look = f"payment {reference}", "find out whose money it is, and give it back if it is nobody's"
    if row is None:
        raise unknown_order(number)
    if before is not None or row.state in _PAID:
        what = (
            f"{reference} paid order {before.order}" if before else f"order {number} was paid under another reference"
        )
        raise refuse("payment-known", what, where=where, remedy=look)
    if row.price_fen != amount:
        raise refuse("payment-wrong", f"order {number} costs {row.price_fen or 0} fen", where=where, remedy=look)
    if row.state != State.UNPAID or row.pay_until <= received_at(now):
        raise refuse("order-closed", f"order {number} is no longer waited for", where=where, remedy=look)
    paid = {"reference": reference, "order": number, "amount_fen": amount, "at": received_at(now), "by": by}
    home.mall.add_payment(con, paid)
    known |= home.mall.payments(con, [reference])
    change(home, con, row, settled(Kind(row.kind)), by=by, now=now)
    return "paid"


_PAID = (State.PAID, State.ISSUED, State.REDEEMED)


def send(home: Home, merchant: str | None, number: str, *, tracking: str, by: str, now: datetime) -> None:
    """Say that goods were sent, by what they can be followed. ``unknown-order``, ``order-not-open``."""
    with home.book.transaction() as con:
        row = home.mall.orders_in(con, [number]).get(number)
        if row is None or (merchant is not None and row.merchant != merchant):
            raise unknown_order(number)
        if row.state != State.PAID:
            raise refuse("order-not-open", f"order {number} is {row.state}", where="order", remedy="list what is open")
        address = _sealed(home, number, {**address_of(home, row), "tracking": tracking})
        change(home, con, row, State.REDEEMED, by=by, now=now, also={"address": address})


def expire(home: Home, *, now: datetime) -> int:
    """End what was not paid or not used in time; returns how many orders.

    Points of an order that was not paid come back; those of a voucher where its offer said so.
    """
    at, count = received_at(now), 0
    while numbers := home.mall.due(at, EXPIRED_AT_ONCE):
        with home.book.transaction() as con:
            for row in home.mall.orders_in(con, numbers).values():
                if row.due_at is None or row.due_at > at:
                    continue  # something happened to it meanwhile
                back = row.state == State.UNPAID or _terms(row.terms)["refund_expired"]
                refunded = (State.REFUNDED,) if back else ()
                change(home, con, row, State.EXPIRED, *refunded, by=CHORE, now=now)
                count += 1
    return count


def forget_addresses(home: Home, *, now: datetime) -> int:
    """Forget where goods went that were sent :data:`ADDRESS_KEPT` ago; returns of how many orders."""
    numbers = home.mall.old_addresses(received_at(now - ADDRESS_KEPT))
    if numbers:
        with home.book.transaction() as con:
            home.mall.change_orders(con, numbers, {"address": None})
    return len(numbers)


def forget(home: Home, con: sa.Connection, accounts: Sequence[str], *, now: datetime) -> int:
    """Erase persons, in somebody's transaction: orders say no more whose they are. Returns how many there were.

    What is not paid or not sent is cancelled, since nobody could receive it; vouchers hold for whoever shows them.
    """
    for row in home.mall.open_orders(con, accounts):
        change(home, con, row, State.CANCELLED, by=CHORE, now=now)
    return home.mall.forget(con, accounts)


def unknown_order(number: str) -> TanzhangError:
    """The refusal of an order that is not there, or not the caller's."""
    return refuse("unknown-order", f"there is no order {number[:40]}", where="order", remedy="list the orders")


# -- seeing orders --------------------------------------------------------------------------------------------


def address_of(home: Home, row: Any) -> dict[str, str]:
    """Where goods go, and ``tracking`` once they are sent; empty where that is not kept (any more)."""
    if row.address is None:
        return {}
    found: dict[str, str] = json.loads(home.personal_keys.open(row.address, place_of(mall_order, "address", row.id)))
    return found


def described_order(home: Home, row: Any, events: Iterable[Any]) -> dict[str, Any]:
    """An order as its owner sees it, without its code."""
    return {
        **as_placed(row._mapping),
        "state": row.state,
        "valid_until": row.valid_until,
        "address": address_of(home, row) or None,
        "events": [{"state": each.state, "at": each.at} for each in events],
    }


def own_orders(
    home: Home, accounts: Sequence[uuid.UUID], before: tuple[str, str] | None = None, limit: int = 10_000
) -> list[dict[str, Any]]:
    """Orders of accounts of one person, the latest first; those before a moment and number."""
    rows = home.mall.orders_of([*map(str, accounts)], before, limit)
    events = home.mall.events([row.id for row in rows])
    return [described_order(home, row, events[row.id]) for row in rows]


def own_order(home: Home, accounts: Sequence[uuid.UUID], number: str) -> Any:
    """The row of an order that is one's own; ``unknown-order``."""
    row = home.mall.order(number)
    if row is None or row.account == ERASED or row.account not in {*map(str, accounts)}:
        raise unknown_order(number)
    return row
