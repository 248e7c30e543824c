"""What verification asks of registers beside the way of an action: gifts, the mall, certificates, the market."""

from __future__ import annotations

from collections.abc import Callable

from tanzhang.service.check_benefits import check_benefits
from tanzhang.service.check_certificates import check_certificates
from tanzhang.service.check_donations import check_donations
from tanzhang.service.check_mall import check_mall
from tanzhang.service.findings import Check
from tanzhang.service.market.check_deals import check_deals
from tanzhang.service.market.check_lots import check_lots
from tanzhang.service.market.check_money import check_money
from tanzhang.service.market.check_passings import check_passings
from tanzhang.service.market.check_payback import check_payback
from tanzhang.service.market.check_retirements import check_retirements
from tanzhang.service.market.check_terms import check_terms
from tanzhang.service.market.check_units import check_units
from tanzhang.service.market.check_verifications import check_verifications
from tanzhang.stores.home import Home


def donations(home: Home) -> Check:
    """What was given to projects."""
    what = "gifts against what was moved for them; the log's word for what projects were given"
    return Check("donations", what, *check_donations(home))


def passings(home: Home) -> Check:
    """What was passed on to other schemes and taken in from them."""
    what = "grams that went and came against their transfers, files and the log's word for them"
    return Check("passings", what, *check_passings(home))


def benefits(home: Home) -> Check:
    """What was bought with points besides goods."""
    what = "uses of benefits against the points that were moved for them; pay-outs against their files"
    return Check("benefits", what, *check_benefits(home))


def mall(home: Home) -> Check:
    """What was ordered for points."""
    what = "orders of the mall against stock, codes, moves of points, payments and their own changes"
    return Check("mall", what, *check_mall(home))


def certificates(home: Home) -> Check:
    """Certificates: what was signed and by which key, their places, and what was revoked."""
    return Check("certificates", "keys in the log, signatures, places, revocations", *check_certificates(home))


def money(home: Home) -> Check:
    """Movements of money."""
    return Check("money", "every movement of money sums to zero, and is numbered once", *check_money(home))


def payback(home: Home) -> Check:
    """What sales brought to persons."""
    what = "each sale divided again over its lot; what is owed against money, pay-outs and escrow"
    return Check("payback", what, *check_payback(home))


def verifications(home: Home) -> Check:
    """How lots were verified."""
    what = "each act of verifying a lot against its state, its sample and the log's word for it"
    return Check("verifications", what, *check_verifications(home))


def market_terms(home: Home) -> Check:
    """What lots and sales keep to."""
    what = "published terms are whole and of this programme; each lot was frozen under terms that were public before"
    return Check("market terms", what, *check_terms(home))


def retirements(home: Home) -> Check:
    """Units that were used for a claim."""
    what = "retirements against the units that were retired, openings, addenda, and the log's word for them"
    return Check("retirements", what, *check_retirements(home))


def deals(home: Home) -> Check:
    """What was sold, and the money for it."""
    what = "deals, payments, returns, pledges and auctions against units and money; auctions cleared again"
    return Check("deals", what, *check_deals(home))


def units(home: Home) -> Check:
    """Carbon units."""
    what = "blocks of units made again from every event, lots from the log; labels and tiers"
    return Check("units", what, *check_units(home))


def lots(home: Home) -> Check:
    """Lots, and whose milligrams are in them."""
    what = "lots against their records, roots and entries, shares by account, and how they came to their states"
    return Check("lots", what, *check_lots(home))


REGISTER_CHECKS: tuple[Callable[[Home], Check], ...] = (
    donations,
    passings,
    benefits,
    mall,
    certificates,
    money,
    market_terms,
    lots,
    verifications,
    units,
    deals,
    payback,
    retirements,
)
