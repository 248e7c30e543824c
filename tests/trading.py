"""What tests of the market share: parties that are approved, and what is said of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tanzhang.core.access import Actor, Role
from tanzhang.core.serial import lot_name
from tanzhang.core.units import PROGRAMME, Block, Kind, State
from tanzhang.service.market.deals import OfferSaid, accept, offer
from tanzhang.service.market.parties import PartySaid, add_document, apply, judge_document, set_state
from tanzhang.service.market.payments import take_statement
from tanzhang.stores.bank_statements import COLUMNS
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home
from tanzhang.stores.register.units import Begun

from .homes import new_home, on
from .units import AT, TIER

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
ACCOUNT = "6222 0000 0001"


def party_said(**more: Any) -> PartySaid:
    """What a party says of itself."""
    said = {"title": "Example Steel", "kind": "enterprise", "contact": {"name": "Li Na"}, "bank_account": ACCOUNT}
    return msgspec.convert({**said, **more}, PartySaid)


def approved(home: Home, name: str, *, now: datetime | None = None, **more: Any) -> str:
    """A party that may act; its id."""
    moment = now or on(2)
    apply(home, name, party_said(**more), actor=OPERATOR, now=moment)
    kept = add_document(home, name, "business_licence", "licence.pdf", name.encode(), actor=OPERATOR, now=moment)
    judge_document(home, name, kept["digest"], accepted=True, note=None, actor=OPERATOR, now=moment)
    set_state(home, name, "approved", note=None, actor=OPERATOR, now=moment)
    return name


def begin(home: Home, lot: int, units: int, *, vintage: int = 2025) -> None:
    """Let units of a tonne each begin, by the register alone; the programme holds them."""
    begun = Begun(lot, Kind.ISSUE, "CN-110000", "BEIJING", vintage, "T", units, tier=TIER)
    block = Block(lot, 0, units, vintage, PROGRAMME, State.HELD, TIER)
    with home.book.transaction() as con:
        home.units.begin(con, begun, [block], lot_name(lot), AT)


def market_home(folder: Path, book: str | None = None, *, units: int = 1_000) -> Home:
    """A home of Beijing's programme with the example rules of a market, and units of lot 1 of 2025."""
    overlay = folder.with_name(f"{folder.name}-catalogue")
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    (overlay / "programmes").mkdir(parents=True)
    (overlay / "programmes" / "beijing-market.yaml").write_text(
        text.replace("id: beijing\n", "id: beijing-market\nmarket: example\n", 1), encoding="utf-8"
    )
    home = new_home(folder, "beijing-market", book=book, overlays=(overlay,))
    begin(home, 1, units)
    return home


def offered(home: Home, units: int = 1_000, price_fen: int = 6_000, **more: Any) -> int:
    """An offer of the programme; its number."""
    said = {"seller": "programme", "reference": "o-1", "lot": "L000001", "units": str(units)}
    said |= {"price_fen": str(price_fen), "until": on(30)}
    return int(offer(home, msgspec.convert({**said, **more}, OfferSaid), actor=OPERATOR, now=on(8))["number"])


def bought(
    home: Home, buyer: str, units: int, *, reference: str = "d-1", offer: int = 1, day: int = 8
) -> dict[str, Any]:
    """A deal that a party made by accepting an offer."""
    return accept(home, offer, buyer, units, reference, actor=OPERATOR, now=on(day))


def statement(*lines: Sequence[object]) -> bytes:
    """A bank's file of lines (entry, day of June, fen, memo, account)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for line in lines:
        entry, day, fen, memo, account = [*line, ACCOUNT][:5]
        writer.writerow([entry, f"2025-06-{day:02d}", fen, "Example Steel", account, memo])
    return ("\ufeff" + buffer.getvalue()).encode()


def paid(home: Home, *lines: Sequence[object], day: int = 10) -> dict[str, Any]:
    """What a statement of these lines came to."""
    return take_statement(home, "bank_statement", statement(*lines), "june.csv", actor=OPERATOR, now=on(day))


def held(home: Home, holder: str) -> int:
    """How many units somebody holds, free or not."""
    return sum(block.count for block in home.units.blocks(holder=holder))


def money(home: Home, account: str) -> int:
    """What is in an account of money."""
    return home.money.balance(account)
