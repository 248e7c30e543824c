"""What tests of paying back share: people with reductions, a lot of them that is issued, and sales of its units."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec

from tanzhang.core.lot import lot_text
from tanzhang.service.market.deals import OfferSaid, accept, offer
from tanzhang.service.market.issue import issue
from tanzhang.service.market.payback import run_due
from tanzhang.service.market.payments import confirm
from tanzhang.service.market.pledges import PledgeSaid, pledge
from tanzhang.service.market.verifiers import put_verifier
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.home import Home

from .homes import Event, account, box, ride
from .lots import LATER, entrusted, frozen, report
from .trading import OPERATOR, approved
from .verifying import SAID, VERIFIER, registered


def after(days: int, hours: int = 0) -> datetime:
    """A moment so long after lots can be frozen."""
    return LATER + timedelta(days=days, hours=hours)


def reports() -> list[Event]:
    """4,320 g of Anna, 2,880 g of Bo, 185 g of Cai."""
    days = [date(2025, 6, day) for day in (1, 2, 3, 4)]
    rides = [ride(f"a-{number}", "anna", day=days[number % 4], hour=8 + number) for number in range(6)]
    rides += [ride(f"b-{number}", "bo", day=days[number], hour=9) for number in range(4)]
    return [*rides, *(box(f"c-{number}", "cai", day=days[3]) for number in range(5))]


def people(home: Home, folder: Path) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    """The accounts of Anna, Bo and Cai, whose acts are settled and may go into lots."""
    report(home, folder, reports())
    found = account(home, "amap", "anna"), account(home, "amap", "bo"), account(home, "cainiao", "cai")
    entrusted(home, *found)
    return found


def issued_lot(home: Home, reference: str = "lot-1") -> int:
    """A lot of all that may go into it, 7 units, verified, registered and issued; its number."""
    put_verifier(home, VERIFIER, SAID, actor=OPERATOR, now=LATER)
    number = frozen(home, reference)
    registered(home, number)
    issue(home, number, reference=reference, actor=OPERATOR, now=LATER)
    return number


def sell(home: Home, lot: int, gross_fen: int, topup_fen: int = 0, buyer: str = "steel") -> int:
    """A unit of a lot that is sold, paid and delivered; the number of the deal. A sponsor adds to what it brings."""
    if home.parties.row(buyer) is None:
        approved(home, buyer)
        approved(home, "hill")
    name = f"{lot}-{len(home.deals.all())}"
    if topup_fen:
        said = {"sponsor": "hill", "reference": name, "fen": str(topup_fen), "per": "unit", "cap_fen": str(topup_fen)}
        pledge(home, msgspec.convert({**said, "source": "a letter"}, PledgeSaid), actor=OPERATOR, now=LATER)
    said = {"seller": "programme", "reference": name, "lot": lot_text(lot), "units": "1", "until": after(60)}
    made = offer(home, msgspec.convert({**said, "price_fen": str(gross_fen)}, OfferSaid), actor=OPERATOR, now=LATER)
    deal = accept(home, int(made["number"]), buyer, 1, name, actor=OPERATOR, now=LATER)
    line = Line(f"E-{name}", LATER.date(), gross_fen, "Steel", "6222 0000 0001", "", "")
    confirm(home, int(deal["number"]), line, actor=OPERATOR, now=LATER)
    return int(deal["number"])


def sold(home: Home, gross_fen: int, topup_fen: int = 0) -> int:
    """A new lot of which a unit was sold, and that sale divided; the number of the deal."""
    deal = sell(home, issued_lot(home), gross_fen, topup_fen)
    assert run_due(home, now=after(1))["sales"] == 1
    return deal
