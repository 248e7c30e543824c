"""Carbon units for tests, made by the register alone, and lots that are issued."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tanzhang.core.access import Actor, Role
from tanzhang.core.lot import LotEntry, LotState
from tanzhang.core.serial import lot_name
from tanzhang.core.units import PROGRAMME, Block, Kind, State
from tanzhang.service.market.issue import issue
from tanzhang.stores.home import Home
from tanzhang.stores.market_rules import MARKET
from tanzhang.stores.register.units import Begun

AT = "2026-07-01T04:00:00+00:00"
NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
TIER = "inclusion"
LABEL = {
    "reference": "l-1", "lo": 0, "hi": 9, "scheme": "s", "scope": "any", "tier": TIER, "granted_by": "bureau",
    "evidence": "ab" * 32, "first_day": "2026-07-01", "until_day": None, "revokes": None,
}  # fmt: skip
OPERATOR = Actor(Role.OPERATOR, "olga", "command line")


def begin(
    home: Home, lot: int, units: int, *, holder: str = PROGRAMME, vintage: int = 2025, reference: str | None = None
) -> list[Block]:
    """Let a lot begin as one block, through the register alone."""
    begun = Begun(lot, Kind.ISSUE, "CN-110000", "BEIJING", vintage, "T", units, TIER)
    with home.book.transaction() as con:
        blocks = [Block(lot, 0, units, vintage, holder, State.HELD, TIER)]
        return home.units.begin(con, begun, blocks, reference or lot_name(lot), AT, actor="olga")


def imported(home: Home, units: int) -> list[Block]:
    """A lot that comes from another registry, through the register alone: nothing of it is in the log."""
    with home.book.transaction() as con:
        lot = home.units.next_import(con)
        where = ("gold", f"GS1-{lot}")
        begun = Begun(lot, Kind.IMPORT, "CN-110000", "BEIJING", 2025, "T", units, TIER, *where)
        return home.units.begin(
            con, begun, [Block(lot, 0, units, 2025, PROGRAMME, State.HELD, TIER)], f"i-{lot}", AT, actor="olga"
        )


def registered(home: Home, units: int, reference: str = "lot", *, vintage: int = 2025) -> int:
    """A lot of so many units that is registered, without files of members: its number. Its entry stands in the log."""
    rules = MARKET.of(home.catalogue, "example")[0]
    with home.book.transaction() as con:
        what = {"reference": reference, "vintage": vintage, "region": "CN-110000", "behaviours": None, "wanted": None}
        number = home.lots.draft(con, {**what, "early": None}, actor=OPERATOR, at=AT)
        said = LotEntry(
            number, home.programme.id, vintage, "CN-110000", {}, rules.digest, rules.unit_mass_mg, units, 1, 1024,
            bytes(32), units * rules.unit_mass_mg, 0, 0,
        )  # fmt: skip
        fixed = {
            "market": rules.key, "terms": rules.digest, "methodologies": "{}", "unit_mass_mg": rules.unit_mass_mg,
            "units": units, "total_mg": said.total_mg, "members": 1, "accounts": 1, "leaves": 1024,
            "root": said.root.hex(), "batches": 0, "first_batch": 0, "last_batch": 0, "file": "", "file_digest": "",
            "subtrees": "", "subtrees_digest": "",
        }  # fmt: skip
        nobody = pa.table({"account": pa.array([], pa.uuid()), "amount": pa.array([], pa.int64())})
        home.lots.freeze(con, number, fixed, said.to_text(), nobody, actor=OPERATOR, at=AT)
        for state in (LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED):
            home.lots.advance(con, number, state, detail={}, actor=OPERATOR, at=AT)
    return number


def issued(home: Home, units: int, reference: str = "lot", **more: Any) -> dict[str, Any]:
    """A lot that is issued, by the service."""
    return issue(home, registered(home, units, reference, **more), reference=reference, actor=OPERATOR, now=NOW)
