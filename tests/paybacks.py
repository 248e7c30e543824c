"""What tests of paying back share: people with reductions, a lot of them, and sales of its units."""

from __future__ import annotations

import uuid
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from tanzhang.core.access import Actor, Role
from tanzhang.core.deal import DealState
from tanzhang.core.lot import LotState
from tanzhang.engine.columns import one_array
from tanzhang.engine.lot import keys_of
from tanzhang.service.award import records_of
from tanzhang.service.intake import intake
from tanzhang.service.market.payback import run_due
from tanzhang.service.market.rules import market_rules
from tanzhang.service.settle import settle
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import SCHEMA
from tanzhang.stores.records import writing_table

from .homes import DAY, Event, account, box, on, ride, write

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
AT = "2025-06-20T04:00:00.000000+00:00"
UNIT_MG = 10**6
"""Units of the example's market are 1 kg."""


def reports() -> list[Event]:
    """1,440 g of Anna, 720 g of Bo, 185 g of Cai."""
    rides = [ride("a-1", "anna"), ride("a-2", "anna", hour=10), ride("b-1", "bo", hour=9)]
    return [*rides, *(box(f"c-{number}", "cai") for number in range(5))]


def people(home: Home, folder: Path) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    """The accounts of Anna, Bo and Cai, whose acts are settled."""
    intake(home, write(folder / "reports.ndjson", reports()), now=on(6))
    settle(home, now=on(12))
    return account(home, "amap", "anna"), account(home, "amap", "bo"), account(home, "cainiao", "cai")


def frozen_lot(home: Home, units: int = 2, reference: str = "lot-1") -> int:
    """A lot of the first reductions, by its register: issued, without a tree; its number."""
    keys, mg, owners = [], [], []
    for row in home.book.batches():
        records = records_of(home, row)
        keys.append(keys_of(row.seq, np.asarray(records["place"], np.int64)))
        mg.append(np.asarray(records["granted_mg"], np.int64))
        owners += one_array(records["account"]).to_pylist()
    until = np.minimum(np.cumsum(np.concatenate(mg)), units * UNIT_MG)
    parts = np.diff(until, prepend=0)
    within = parts > 0
    key, part = np.concatenate(keys)[within], parts[within]
    assert int(part.sum()) == units * UNIT_MG
    file = f"lots/{reference}/members.parquet"
    with writing_table(home.storage / file, home=home.storage) as written:
        arrays = [pa.array((key >> 32).astype(np.int32)), pa.array(key.astype(np.uint32)), pa.array(part)]
        written.add(pa.table(arrays, schema=SCHEMA))
    sums: dict[bytes, int] = {}
    for owner, amount in zip(np.array(owners, object)[within].tolist(), part.tolist(), strict=True):
        sums[owner] = sums.get(owner, 0) + amount
    names = sorted(sums)
    shares = pa.table({"account": pa.array(names, pa.uuid()), "amount": [sums[name] for name in names]})
    values = {"market": "example@1", "terms": market_rules(home, DAY).digest, "methodologies": "{}"}
    values |= {"unit_mass_mg": UNIT_MG, "units": units, "total_mg": units * UNIT_MG, "members": len(part)}
    values |= {"accounts": len(names), "leaves": 1_024, "root": "00" * 32, "batches": len(keys)}
    values |= {"first_batch": 0, "last_batch": len(keys) - 1, "file": file, "file_digest": written.digest}
    values |= {"subtrees": "", "subtrees_digest": ""}
    said = {"reference": reference, "vintage": 2025, "region": "CN", "behaviours": None, "wanted": units, "early": ""}
    with home.book.transaction() as con:
        number = home.lots.draft(con, said, actor=OPERATOR, at=AT)
        home.lots.freeze(con, number, values, "the entry of a lot", shares, actor=OPERATOR, at=AT)
        for state in (LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED, LotState.ISSUED):
            home.lots.advance(con, number, state, detail={}, actor=OPERATOR, at=AT)
    return number


def sell(home: Home, lot: int, units: int, gross_fen: int, topup_fen: int = 0, seller: str = "programme") -> int:
    """A deal over units of a lot that is delivered and paid, by the registers of deals and money; its number."""
    with home.book.transaction() as con:
        number = home.deals.next_deal(con)
        said = {"source": "agreed", "seller": seller, "buyer": "steel", "lot": lot, "units": units}
        said |= {"price_fen": gross_fen // units, "gross_fen": gross_fen, "topup_fen": 0, "due_day": "2025-06-30"}
        said |= {"reference": f"d-{number}", "delivered": None, "note": None, "made_at": AT, "changed_at": AT}
        home.deals.add(con, number, said, by="test")
        row = home.deals.deal_in(con, number)
        home.deals.advance(con, row, DealState.DELIVERED, at=AT, by="test", topup_fen=topup_fen)
        to = f"sale:{number}" if seller == "programme" else f"party:{seller}"
        legs = {"bank": -gross_fen, "sponsor:hill": -topup_fen, to: gross_fen + topup_fen}
        home.money.post(con, "sale", legs, f"deal:{number}", AT)
    return number


def sold(home: Home, gross_fen: int, *, units: int = 1, topup_fen: int = 0, now: datetime | None = None) -> int:
    """A new lot of 2 kg of which some units were sold, and that sale divided; the number of the deal."""
    deal = sell(home, frozen_lot(home), units, gross_fen, topup_fen)
    assert run_due(home, now=now or on(21))["sales"] == 1
    return deal
