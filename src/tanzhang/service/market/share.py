"""The proof of a share: that so many milligrams of one's own record are part of a lot, and where in its order.

A file in the form of other proofs here, a C2SP ``.tlog-proof`` of the lot's entry; who has the record's receipt knows
its leaf. The sum of all members before it is that of the left siblings on the path, so a payment can be computed again
from it (docs/lots.md). It names nobody; the sums beside it on the path are of other records, unnamed.
"""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.lot import Evidence, Share, lot_text, verify_share_proof
from tanzhang.core.merkle import SUBTREE_LEAVES
from tanzhang.core.receipt import Evidence as Receipt
from tanzhang.core.receipt import verify_receipt
from tanzhang.core.record import encode, leaf
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.lot import keys_of, path_in_lot
from tanzhang.engine.signing import verifier_of
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.lot_leaves import leaves_of_members, record_leaf
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import members_at, read_lot_subtrees, read_members


def share_proof(
    home: Home, account: uuid.UUID, action: uuid.UUID, number: int, *, reader: Reader | None = None
) -> bytes:
    """The proof file of what a lot has of an act of an account, or of one whose holdings are in it.

    ``reader`` is one of this home that is kept. Raises ``not-in-lot``, also where the act is not one's own,
    ``unknown-lot``, ``record-erased``, ``lot-file-changed``.
    """
    lot = home.lots.one(number)
    found = (reader or Reader(home)).settled(action)
    if lot.entry is None or found is None or found.record.account not in own_accounts(home, account):
        raise _not_in(number)
    key = int(keys_of(found.batch, np.array([found.number]))[0])
    indexes, amounts = members_at(home.storage, lot, np.array([key]))
    index = int(indexes[0])
    if index < 0:
        raise _not_in(number)
    first = index - index % SUBTREE_LEAVES
    keys, mg = read_members(home.storage, lot, first, first + SUBTREE_LEAVES)
    leaves = leaves_of_members(home, keys, mg).leaves
    path = path_in_lot(index, mg, leaves, read_lot_subtrees(home.storage, lot))
    share = Share(record_leaf(home, key), found.batch, found.number, int(amounts[0]), index)
    text = home.book.entries(lot.entry)[0].text
    if home.log.size <= lot.entry:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    return home.log.prove(lot.entry, Evidence(share, path, text).to_bytes())


def check_share(data: bytes, vkey: str, receipt: bytes | None = None) -> dict[str, Any]:
    """Verify a proof file without a home, and that it is of the record of a ``receipt``; as JSON members.

    Raises at the first thing that is wrong; ``lot-proof-malformed`` where receipt and proof are of two records.
    """
    log = verifier_of(vkey)
    verified = verify_share_proof(data, log)
    share, checks = verified.share, list(verified.checks)
    if receipt is not None:
        checks.append(_check_record(receipt, verified.share, vkey))
    return {
        "status": "verified",
        "lot": lot_text(verified.lot.number),
        "programme": verified.lot.programme,
        "vintage": verified.lot.vintage,
        "batch": share.batch,
        "place": str(share.place),
        "record": share.commitment.hex(),
        "amount_mg": str(share.amount_mg),
        "before_mg": str(verified.before_mg),
        "total_mg": str(verified.lot.total_mg),
        "units": str(verified.lot.units),
        "log": verified.origin,
        "entry": verified.index,
        "log_size": verified.log_size,
        "checks": checks,
    }


def _check_record(receipt: bytes, share: Share, vkey: str) -> str:
    verified = verify_receipt(receipt, verifier_of(vkey))
    evidence = Receipt.parse(TlogProof.parse(receipt).extra or b"")
    same = leaf(evidence.salt, encode(verified.record)) == share.commitment
    if not same or (str(share.batch), share.place) != (str(verified.manifest["batch"]), evidence.index):
        raise refuse(
            "lot-proof-malformed",
            "receipt and share are of two records",
            where="proof of a share of a lot",
            remedy="give the receipt of the act that the share is of",
        )
    return f"the record is that of the receipt, action {verified.record.action_id}"


def _not_in(number: int) -> TanzhangError:
    return refuse(
        "not-in-lot",
        f"{lot_text(number)} has nothing of such an act of yours",
        where=lot_text(number),
        remedy="see which lots have something of your acts",
    )
