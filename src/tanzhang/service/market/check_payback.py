"""What verification asks of paying back: each sale divided again, what is owed against money, pay-outs and escrow.

A run is computed again from the members of its lot and whose their records are. Of accounts that were erased since,
only what they got in all can be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.payback import KIND, Divided, FeeTaken
from tanzhang.service.findings import RESTORE
from tanzhang.service.market.payback import DIVIDED, FROM_ESCROW, TO_ESCROW, shares_of_lot
from tanzhang.service.market.payback_payouts import OUT, PAYBACKS
from tanzhang.service.market.rules import market_rules_of
from tanzhang.stores.book import entry
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import is_as_written
from tanzhang.stores.postings import postings_of
from tanzhang.stores.register.money import BANK, ESCROW, PAYBACK
from tanzhang.stores.register.payback import ENDED, HELD, OF_RUN, PAID, SHARE, STATES, TAKEN, payback_share

Wrong = Callable[[str, str], None]


def check_payback(home: Home) -> tuple[int, list[Problem]]:
    """How many runs, pay-outs and amounts in escrow were looked at, and what is wrong.

    Payments of a sale sum to what is divided, and each account got what its records get by running total; the log says
    the same; what is owed in all is shares less what was paid and what went to escrow, and money says so too.
    """
    problems: list[Problem] = []

    def wrong(message: str, place: str) -> None:
        problems.append(Problem("payback-mismatch", message, f"{home.book.name}: {place}", RESTORE))

    runs = home.payback.runs()[::-1]
    for row in runs:
        _check_run(home, row, wrong)
    sold = [sale.id for sale in home.deals.sales() if sale.number <= home.payback.last_delivered()]
    if [row.deal for row in runs] != sold:
        wrong("the sales that were divided are not those that were delivered, in their order", "payback_run")
    sealed = sa.select(entry.c.seq).where(entry.c.kind == KIND).order_by(entry.c.seq)
    if [row.entry for row in runs] != [each.seq for each in home.book.query(sealed)]:
        wrong("the log has other entries of sales than runs name", "payback_run")
    payouts = _check_payouts(home, wrong)
    escrow = _check_escrow(home, runs, wrong)
    _check_sums(home, wrong)
    return len(runs) + payouts + escrow, problems


def _check_run(home: Home, row: Any, wrong: Wrong) -> None:
    place = f"payback_run {row.seq}"
    deal = home.deals.deal(row.deal)
    try:
        lot, divided = home.lots.one(row.lot), Divided.parse(row.text)
        rules = market_rules_of(home, lot.terms)
    except TanzhangError as error:
        wrong(f"run {row.seq}: {error.problems[0].message}", place)
        return
    fees = tuple(FeeTaken.of(fee.id, fee.share, divided.gross_fen) for fee in rules.fees)
    sold = None if deal is None else (deal.id, deal.units, deal.gross_fen, deal.topup_fen, fees)
    if sold is None or divided != Divided(home.programme.id, lot.number, lot.members, lot.total_mg, *sold):
        wrong(f"the log says another thing of deal {row.deal} than the book", place)
    if (row.lot, row.shared_fen) != (divided.lot, divided.shared_fen):
        wrong(f"run {row.seq} divides another amount than the log says", place)
    legs = {f"sale:{row.deal}": -divided.gross_fen - divided.topup_fen, PAYBACK: row.shared_fen - row.nobodys_fen}
    legs |= {ESCROW: row.nobodys_fen, **{f"fee:{fee.id}": fee.fen for fee in divided.fees}}
    move = home.money.move(DIVIDED, f"deal:{row.deal}")
    if ({} if move is None else dict(move.legs)) != {account: fen for account, fen in legs.items() if fen}:
        wrong(f"money of deal {row.deal} did not move as it was divided", place)
    _check_shares(home, row, lot, wrong)


def _check_shares(home: Home, row: Any, lot: Any, wrong: Wrong) -> None:
    """That pages have what the records of each account get; of accounts that were erased since, in all."""
    place = f"payback_share of run {row.seq}"
    own = (payback_share.c.kind == SHARE) & (payback_share.c.number == row.seq)
    columns = (payback_share, payback_share.c.kind.label("unit"))
    pages = home.book.query(sa.select(*columns).where(own).order_by(payback_share.c.first))
    kept = postings_of(pages)
    amounts = np.asarray(kept["amount"])
    names = kept["account"].cast(pa.binary(16)).to_pylist() if kept.num_rows else []
    if (len(names), int(amounts.sum())) != (row.accounts, row.shared_fen - row.nobodys_fen):
        wrong(f"pages of run {row.seq} do not come to what it divided", place)
    if len(amounts) and (int(amounts.min()) <= 0 or names != sorted(set(names))):
        wrong(f"pages of run {row.seq} name an account twice, or give it nothing", place)
    if any(sum(_page(page)) != page.amount for page in pages):
        wrong(f"a page of run {row.seq} does not come to what it says", place)
    if not is_as_written(home.storage, lot):
        wrong(f"the members of the lot of run {row.seq} are not what was written", lot.file)
        return
    computed, nobodys = shares_of_lot(home, lot, row.shared_fen)
    got = dict(zip(names, amounts.tolist(), strict=True))
    gone = nobodys - row.nobodys_fen
    for name, fen in zip(computed["account"].to_pylist(), computed["amount"].to_pylist(), strict=True):
        less = got.pop(name, -1) - fen
        gone -= less  # more than 0 if a part of its records is of an erased life of the account
        if less < 0:
            wrong(f"an account has other than the {fen} fen of its records in run {row.seq}", place)
            return
    if gone != sum(got.values()):
        wrong(f"accounts have what no record of run {row.seq} got", place)


def _page(page: Any) -> list[int]:
    return [int(fen) for fen in np.frombuffer(page.data, ">i8", offset=page.accounts * 16)]


def _check_payouts(home: Home, wrong: Wrong) -> int:
    parts: dict[str, int] = {}
    for part in home.payback.parts():
        parts[part.payout] = parts.get(part.payout, 0) + part.fen
    in_files: dict[str, list[int]] = {}
    rows = home.payback.payouts()
    for number, row in enumerate(rows):
        has = parts.pop(row.id, 0)
        if row.seq != number or row.state not in STATES or has != (row.value if row.state in TAKEN else 0):
            wrong(f"pay-out {row.id} ({row.state}) has not the parts that it should", "payback_payout")
        paid = home.money.move(OUT, row.id)
        wanted = {PAYBACK: -row.value, BANK: row.value} if row.state == PAID else None
        if (None if paid is None else dict(paid.legs)) != wanted:
            wrong(f"pay-out {row.id} is {row.state}, and money says otherwise", "payback_payout")
        if row.file is not None:
            in_files.setdefault(row.file, []).append(row.value)
    for name in sorted(parts):
        wrong(f"there is no pay-out {name}", "payback_part")
    for file in home.benefits.files(PAYBACKS.kind):
        values = in_files.pop(file.id, [])
        if (len(values), sum(values)) != (file.rows, file.fen):
            wrong(f"file {file.id} has not the pay-outs that it says", "payout_file")
    for name in sorted(in_files):
        wrong(f"there is no file {name}", "payback_payout")
    return len(rows)


def _check_escrow(home: Home, runs: list[Any], wrong: Wrong) -> int:
    rows = home.payback.escrow()
    for number, row in enumerate(rows):
        moved, ended = home.money.move(TO_ESCROW, str(row.seq)), home.money.move(FROM_ESCROW, str(row.seq))
        came = None if row.reason == OF_RUN else {PAYBACK: -row.fen, ESCROW: row.fen}
        went = {ESCROW: -row.fen, f"public:{row.purpose}": row.fen} if row.state == ENDED else None
        said = [None if move is None else dict(move.legs) for move in (moved, ended)]
        if said != [came, went] or row.seq != number or row.state not in (HELD, ENDED) or row.fen <= 0:
            wrong(f"amount {row.seq} in escrow is not what was moved for it", "payback_escrow")
    of_runs = sorted(row.fen for row in rows if row.reason == OF_RUN)
    if of_runs != sorted(row.nobodys_fen for row in runs if row.nobodys_fen):
        wrong("escrow has not what runs found to be nobody's", "payback_escrow")
    return len(rows)


def _check_sums(home: Home, wrong: Wrong) -> None:
    found = home.payback.sums()
    owed = found["share"] - found["gone"] - found["taken"]
    out = found["asked"] + found["in_file"] + found["paid"]
    if found["taken"] + found["nobodys"] != out:
        wrong("pay-outs have not what was taken of accounts", "payback_part")
    if found["gone"] != found["escrow_erased"] + found["escrow_failed"] + found["nobodys"]:
        wrong("what erased accounts had is neither in escrow nor paid", "payback_share")
    if home.money.balance(PAYBACK) != owed + found["nobodys"] + found["taken"] - found["paid"]:
        wrong("money says that another amount is owed than pages, pay-outs and escrow", "money_move")
