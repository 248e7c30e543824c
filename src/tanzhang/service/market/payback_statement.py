"""What a person sees of what their reductions brought, and the proof of what a single record got.

A share is mostly less than a fen, and money is paid in whole fen: what running totals do to it is said in words and in
numbers, so that nobody looks for what is not there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.lot import lot_text
from tanzhang.core.payback import Divided, Evidence, explained, thousandths, verify_payment_proof
from tanzhang.engine.signing import verifier_of
from tanzhang.service.market.payback import accounts_paid, owed
from tanzhang.service.market.payback_payouts import kept
from tanzhang.service.market.rules import market_rules
from tanzhang.service.market.share import share_proof
from tanzhang.service.moments import received_day
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home

HOW = (
    "Money is paid in whole fen. A running total goes along all records of a lot, in an order that was fixed before "
    "there was a price; each record gets the whole fen that the total passes within it, none or more. What a share has "
    "beside them is not kept for anybody: it is part of a fen of another record. All payments together are exactly "
    "what was divided, and none differs from its share by a fen. Each can be computed again from its proof."
)
HOW_ZH = (
    "款项以整分支付。按批次中各记录在定价之前就已固定的顺序逐条累计，累计额每越过一整分，该分即归所在记录；"
    "一条记录可能得到零分、一分或更多。份额中不足一分的部分不为任何人保留，而是其他记录所得整分的一部分。"
    "全部支付之和恰等于所分配的金额，每笔与其精确份额相差不到一分，并可凭证明重新计算。"
)


def overview(home: Home, account: uuid.UUID, *, now: datetime) -> dict[str, Any]:
    """What an account is owed now, from how much on it is paid out, and what was paid before.

    ``least_payout_fen`` is null where no market rules are in force.
    """
    fen = sum(owed(home, account).values())
    try:
        least: int | None = max(market_rules(home, received_day(home, now)).least_payout_fen, 1)
    except TanzhangError as error:
        if error.code not in ("no-market", "market-not-in-force"):
            raise
        least = None
    out = kept(home, account)
    return {
        "account": str(account),
        "owed_fen": str(fen),
        "least_payout_fen": None if least is None else str(least),
        "can_be_asked": least is not None and fen >= least,
        "under_way_fen": str(out["asked"] + out["in_file"]),
        "paid_fen": str(out["paid"]),
        "how": HOW,
        "how_zh": HOW_ZH,
    }


def sales(home: Home, account: uuid.UUID, before: int | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """What each sale of lots with records of an account brought it, the latest first; ``number`` is for cursors."""
    own = accounts_paid(home, account)
    mg = home.lots.frozen_of(own)
    fen: dict[int, int] = {}
    for each in own:
        for run, amount in home.payback.shares_of(each).items():
            fen[run] = fen.get(run, 0) + amount
    rows = home.payback.runs_of_lots(mg, before=before, limit=limit)
    return [_sale(row, mg[row.lot], fen.get(row.seq, 0)) for row in rows]


def _sale(row: Any, mg: int, fen: int) -> dict[str, Any]:
    divided = Divided.parse(row.text)
    said, said_zh = words(divided, mg, fen)
    return {
        "number": row.seq,
        "deal": divided.deal,
        "lot": lot_text(divided.lot),
        "made_at": row.made_at,
        "mg": str(mg),
        "total_mg": str(divided.total_mg),
        "shared_fen": str(divided.shared_fen),
        "exact_fen": thousandths(divided.shared_fen * mg, divided.total_mg),
        "fen": str(fen),
        "said": said,
        "said_zh": said_zh,
    }


def words(divided: Divided, mg: int, fen: int) -> tuple[str, str]:
    """What a share of a sale came to, in English and Chinese.

    ``mg`` may be of several records; ``fen`` is what they got together.
    """
    over, under = divided.shared_fen * mg, divided.total_mg
    share, grams, lot = thousandths(over, under), _grams(mg), lot_text(divided.lot)
    said = f"Your {grams} g in lot {lot} earned {share} fen of this sale; you hold {fen} fen of it"
    said_zh = f"您在批次 {lot} 中的 {grams} 克在本次出售中的份额为 {share} 分；您持有其中 {fen} 分"
    left = over - fen * under
    if left > 0:
        rest = thousandths(left, under)
        said += f", and {rest} fen are part of what other records of the lot got: the running total passed no other "
        said += "whole fen within yours, and nothing is kept back for you."
        said_zh += f"，其余 {rest} 分属于批次中其他记录所得的整分：累计额在您的记录内未再越过整分，也没有为您留存。"
    elif left < 0:
        rest = thousandths(-left, under)
        said += f", {rest} fen more than your share: the running total passed whole fen within your records to which "
        said += "other records of the lot had added."
        said_zh += f"，比您的份额多 {rest} 分：累计额在您的记录内越过的整分中，含有批次中其他记录的部分。"
    else:
        said, said_zh = f"{said}: exactly your share.", f"{said_zh}，恰为您的份额。"
    return said, said_zh


def _grams(mg: int) -> str:
    whole, part = divmod(mg, 1_000)
    return f"{whole}.{part:03}".rstrip("0").rstrip(".")


# -- single records -------------------------------------------------------------------------------------------


def payment_proof(reader: Reader, account: uuid.UUID, action: uuid.UUID, deal: int) -> bytes:
    """The proof file of what a record of one's own got of a sale: what was divided, and the share of its lot.

    Raises ``unknown-sale``, ``not-in-lot``, ``record-erased``, ``lot-file-changed``.
    """
    home = reader.home
    row = home.payback.run_of(deal)
    if row is None:
        raise refuse(
            "unknown-sale",
            f"no money of a deal {deal} was divided",
            where="deal",
            remedy="see what the sales of your reductions brought; a sale is divided shortly after it is delivered",
        )
    share = share_proof(home, account, action, row.lot, reader=reader)
    if home.log.size <= row.entry:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    return home.log.prove(row.entry, Evidence(row.text, share).to_bytes())


def payment(reader: Reader, account: uuid.UUID, action: uuid.UUID, deal: int) -> dict[str, Any]:
    """What a record of one's own got of a sale, and how that was computed; as :func:`payment_proof` proves it."""
    proof = payment_proof(reader, account, action, deal)
    return {"action": str(action), **check_proof(proof, reader.home.values["vkey"])}


def check_proof(data: bytes, vkey: str) -> dict[str, Any]:
    """Verify a proof file without a home; what it proves, as JSON members. Raises at the first thing that is wrong."""
    verified = verify_payment_proof(data, verifier_of(vkey))
    divided, share = verified.divided, verified.share
    said, said_zh = words(divided, share.share.amount_mg, verified.fen)
    return {
        "status": "verified",
        "deal": divided.deal,
        "lot": lot_text(divided.lot),
        "programme": divided.programme,
        "batch": share.share.batch,
        "place": str(share.share.place),
        "record": share.share.commitment.hex(),
        "mg": str(share.share.amount_mg),
        "before_mg": str(share.before_mg),
        "total_mg": str(divided.total_mg),
        "shared_fen": str(divided.shared_fen),
        **explained(divided, share.before_mg, share.share.amount_mg),
        "said": said,
        "said_zh": said_zh,
        "log": share.origin,
        "entry": verified.index,
        "log_size": verified.log_size,
        "checks": list(verified.checks),
    }


# -- a copy of what is kept -----------------------------------------------------------------------------------


def about(home: Home, accounts: Iterable[uuid.UUID]) -> list[Mapping[str, Any]]:
    """What is kept of what sales brought accounts: fen by run, and what pay-outs took, of accounts that have any."""
    found: list[Mapping[str, Any]] = []
    for each in accounts:
        shares = home.payback.shares_of(each)
        if shares:
            runs = {str(run): str(fen) for run, fen in shares.items() if run >= 0}
            taken = str(home.payback.taken(each))
            found.append({"account": str(each), "fen_by_run": runs, "taken_fen": taken})
    return found
