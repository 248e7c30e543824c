"""What verification asks of the mall: nothing sold twice or beyond its stock, every order paid for once in points."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.core.order import FOLLOWING, Kind, State
from tanzhang.service.findings import RESTORE, SHOWN
from tanzhang.stores.book import points_move
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import (
    ERASED,
    GIVEN_BACK,
    SPENT,
    mall_code,
    mall_offer,
    mall_order,
    mall_order_event,
    mall_payment,
)


def check_mall(home: Home) -> tuple[int, list[Problem]]:
    """How many orders were looked at, and what is wrong (``mall-mismatch``), some of each sort.

    Of each offer as many orders hold one as are counted, and no more than its stock; every order of codes that holds
    one has one code; what an order cost is one move of points of its account, and what was refunded was given back;
    money orders went on with a payment of their price; every change follows the one before, to where the order stands.
    """
    (total,) = home.book.query(sa.select(sa.func.count()).select_from(mall_order))[0]
    return int(total), [*_offers(home), *_codes(home), *_points(home), *_payments(home), *_events(home)]


def _wrong(message: str, where: str) -> Problem:
    return Problem("mall-mismatch", message, where, RESTORE)


def _offers(home: Home) -> list[Problem]:
    held = sa.select(mall_order.c.offer, sa.func.count().label("held")).where(mall_order.c.held)
    counted = held.group_by(mall_order.c.offer).subquery()
    sold = sa.func.coalesce(counted.c.held, 0)
    joined = mall_offer.outerjoin(counted, counted.c.offer == mall_offer.c.id)
    wrong = (sold != mall_offer.c.sold) | (mall_offer.c.sold > mall_offer.c.stock)
    columns = (mall_offer.c.id, mall_offer.c.sold, mall_offer.c.stock, sold.label("held"))
    rows = home.book.query(sa.select(*columns).select_from(joined).where(wrong).order_by(mall_offer.c.id).limit(SHOWN))
    return [
        _wrong(f"{row.sold} are said to be sold of {row.stock}, {row.held} orders hold one", f"offer {row.id}")
        for row in rows
    ]


def _codes(home: Home) -> list[Problem]:
    """Orders that hold a code without having one, codes of orders that do not, pools that are not what is said."""
    joined = mall_order.outerjoin(mall_code, mall_code.c.order == mall_order.c.id)
    own = (mall_order.c.kind == Kind.CODE) & mall_order.c.held
    wrong = (own & (mall_code.c.hash.is_(None) | (mall_code.c.offer != mall_order.c.offer))) | (
        ~own & mall_code.c.hash.is_not(None)
    )
    statement = sa.select(mall_order.c.id).select_from(joined).where(wrong).order_by(mall_order.c.id).limit(SHOWN)
    found = [
        _wrong("the order's code is not what it should be", f"order {row.id}") for row in home.book.query(statement)
    ]
    pools = sa.select(mall_code.c.offer, sa.func.count().label("codes")).group_by(mall_code.c.offer).subquery()
    of_offer = mall_offer.join(pools, pools.c.offer == mall_offer.c.id)
    differing = (
        sa.select(mall_offer.c.id, pools.c.codes).select_from(of_offer).where(pools.c.codes != mall_offer.c.stock)
    )
    return found + [
        _wrong(f"its pool has {row.codes} codes, which is not its stock", f"offer {row.id}")
        for row in home.book.query(differing.limit(SHOWN))
    ]


def _points(home: Home) -> list[Problem]:
    """Orders whose points were not spent, or not given back as their state says, and moves of no order."""
    spent, back = points_move.alias("spent"), points_move.alias("back")

    def of(move: Any, kind: str) -> sa.ColumnElement[bool]:
        return sa.and_(move.c.unit == mall_order.c.unit, move.c.kind == kind, move.c.reference == mall_order.c.id)

    joined = mall_order.outerjoin(spent, of(spent, SPENT)).outerjoin(back, of(back, GIVEN_BACK))
    unspent = spent.c.seq.is_(None) | (spent.c.amount != -mall_order.c.price_points)
    others = (mall_order.c.account != ERASED) & (spent.c.account != mall_order.c.account)
    refunded = mall_order.c.state == State.REFUNDED
    unlike = (refunded & back.c.seq.is_(None) & (mall_order.c.account != ERASED)) | (
        ~refunded & back.c.seq.is_not(None)
    )
    differing = back.c.seq.is_not(None) & (back.c.amount != mall_order.c.price_points)
    statement = sa.select(mall_order.c.id).select_from(joined).where(unspent | others | unlike | differing)
    found = [
        _wrong("points of the order are not what it says", f"order {row.id}")
        for row in home.book.query(statement.order_by(mall_order.c.id).limit(SHOWN))
    ]
    nameless = points_move.outerjoin(mall_order, mall_order.c.id == points_move.c.reference)
    lone = points_move.c.kind.in_([SPENT, GIVEN_BACK]) & mall_order.c.id.is_(None)
    statement = sa.select(points_move.c.seq).select_from(nameless).where(lone).order_by(points_move.c.seq).limit(SHOWN)
    return found + [
        _wrong("points went for an order that is not there", f"{home.book.name}: points_move {row.seq}")
        for row in home.book.query(statement)
    ]


def _payments(home: Home) -> list[Problem]:
    joined = mall_order.outerjoin(mall_payment, mall_payment.c.order == mall_order.c.id)
    needs = mall_order.c.price_fen.is_not(None) & mall_order.c.state.in_([State.PAID, State.ISSUED, State.REDEEMED])
    paid = mall_payment.c.id.is_not(None)
    another = paid & (mall_order.c.price_fen.is_(None) | (mall_payment.c.amount_fen != mall_order.c.price_fen))
    unexpected = paid & (mall_order.c.state == State.UNPAID)
    statement = sa.select(mall_order.c.id).select_from(joined).where((needs & ~paid) | another | unexpected)
    return [
        _wrong("the payment of the order is not what it says", f"order {row.id}")
        for row in home.book.query(statement.order_by(mall_order.c.id).limit(SHOWN))
    ]


def _events(home: Home) -> list[Problem]:
    """Orders whose changes do not follow one another from their beginning to where they stand."""
    statement = sa.select(
        mall_order_event.c.order, mall_order_event.c.before, mall_order_event.c.state, mall_order.c.state.label("last")
    ).select_from(mall_order_event.outerjoin(mall_order, mall_order.c.id == mall_order_event.c.order))
    at, last, wrong = dict[str, str](), dict[str, str | None](), set[str]()
    for row in home.book.query(statement.order_by(mall_order_event.c.id)):
        before = at.get(row.order, State.PLACED.value)
        if row.before != before or State(row.state) not in FOLLOWING[State(before)]:
            wrong.add(row.order)
        at[row.order], last[row.order] = row.state, row.last
    wrong |= {number for number, state in last.items() if at[number] != state}
    silent = mall_order.outerjoin(mall_order_event, mall_order_event.c.order == mall_order.c.id)
    of_none = sa.select(mall_order.c.id).select_from(silent).where(mall_order_event.c.id.is_(None))
    wrong |= {row.id for row in home.book.query(of_none)}
    return [
        _wrong("the order's changes do not lead to its state", f"order {number}") for number in sorted(wrong)[:SHOWN]
    ]
