"""The registers of a home: one for each kind of thing that its book keeps beside the way of an action."""

from __future__ import annotations

from functools import cached_property

from tanzhang.stores.book import Book
from tanzhang.stores.register.access import Access
from tanzhang.stores.register.auctions import Auctions
from tanzhang.stores.register.audit import Audit
from tanzhang.stores.register.authorisations import Authorisations
from tanzhang.stores.register.benefits import Benefits
from tanzhang.stores.register.certificates import Certificates
from tanzhang.stores.register.chores import Chores
from tanzhang.stores.register.deals import Deals
from tanzhang.stores.register.deliveries import Deliveries
from tanzhang.stores.register.donations import Donations
from tanzhang.stores.register.epochs import Epochs
from tanzhang.stores.register.groups import Groups
from tanzhang.stores.register.guard import GuardRegister
from tanzhang.stores.register.joinings import Joinings
from tanzhang.stores.register.lots import Lots
from tanzhang.stores.register.mall import Mall
from tanzhang.stores.register.market_terms import MarketTerms
from tanzhang.stores.register.money import Money
from tanzhang.stores.register.parties import Parties
from tanzhang.stores.register.partners import Partners
from tanzhang.stores.register.passings import Passings
from tanzhang.stores.register.payback import Payback
from tanzhang.stores.register.payments import Payments
from tanzhang.stores.register.people import People
from tanzhang.stores.register.pledges import Pledges
from tanzhang.stores.register.points import Points
from tanzhang.stores.register.points_runs import PointsRuns
from tanzhang.stores.register.retirements import Retirements
from tanzhang.stores.register.signing import Signing
from tanzhang.stores.register.staff import Staff
from tanzhang.stores.register.units import Units
from tanzhang.stores.register.verifications import Verifications
from tanzhang.stores.register.webhooks import Webhooks


class Registers:
    """Each is made when it is first asked for; all write in transactions of ``book``."""

    book: Book

    # -- who may do what, and what they did ------------------------------------------------------------------------

    @cached_property
    def access(self) -> Access:
        """Keys of partners and sessions of people."""
        return Access(self.book)

    @cached_property
    def staff(self) -> Staff:
        """People of enterprises, of the city, auditors and operators."""
        return Staff(self.book)

    @cached_property
    def partners(self) -> Partners:
        """Partners that the operator registered or changed."""
        return Partners(self.book)

    @cached_property
    def signing(self) -> Signing:
        """Keys by which partners sign requests."""
        return Signing(self.book)

    @cached_property
    def audit(self) -> Audit:
        """The trail of dangerous acts."""
        return Audit(self.book)

    # -- people and their accounts ---------------------------------------------------------------------------------

    @cached_property
    def people(self) -> People:
        """Persons, their identities and consents."""
        return People(self.book)

    @cached_property
    def joinings(self) -> Joinings:
        """Which account's holdings go to which other one, and transfers."""
        return Joinings(self.book)

    @cached_property
    def groups(self) -> Groups:
        """Groups of friends."""
        return Groups(self.book)

    @cached_property
    def epochs(self) -> Epochs:
        """Closed epochs, and what they keep of accounts."""
        return Epochs(self.book)

    # -- reports, and what is done by and by -----------------------------------------------------------------------

    @cached_property
    def deliveries(self) -> Deliveries:
        """Requests of partners and their answers."""
        return Deliveries(self.book)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Webhooks of partners, and their outbox."""
        return Webhooks(self.book)

    @cached_property
    def chores(self) -> Chores:
        """What workers do by themselves."""
        return Chores(self.book)

    @cached_property
    def guard(self) -> GuardRegister:
        """What the guard holds, and what was decided of it."""
        return GuardRegister(self.book)

    # -- what acts earn, and what that buys ------------------------------------------------------------------------

    @cached_property
    def points(self) -> Points:
        """What accounts hold in points, and every movement of them."""
        return Points(self.book)

    @cached_property
    def points_runs(self) -> PointsRuns:
        """By what points were awarded and ended."""
        return PointsRuns(self.book)

    @cached_property
    def mall(self) -> Mall:
        """What points can be spent on, and what was ordered."""
        return Mall(self.book)

    @cached_property
    def benefits(self) -> Benefits:
        """What points buy besides goods, and every use of it."""
        return Benefits(self.book)

    @cached_property
    def donations(self) -> Donations:
        """Projects that can be given to, and what was given to each."""
        return Donations(self.book)

    @cached_property
    def passings(self) -> Passings:
        """Schemes that grams go to and come from, and what went and came."""
        return Passings(self.book)

    @cached_property
    def certificates(self) -> Certificates:
        """Certificates that were issued, and the keys for them."""
        return Certificates(self.book)

    # -- the market ------------------------------------------------------------------------------------------------

    @cached_property
    def market_terms(self) -> MarketTerms:
        """Which terms of a market were published."""
        return MarketTerms(self.book)

    @cached_property
    def authorisations(self) -> Authorisations:
        """Whose reductions may be pooled into lots."""
        return Authorisations(self.book)

    @cached_property
    def lots(self) -> Lots:
        """Lots, and whose milligrams are in them."""
        return Lots(self.book)

    @cached_property
    def verifications(self) -> Verifications:
        """Verifiers of lots, and what was done to verify each lot."""
        return Verifications(self.book)

    @cached_property
    def units(self) -> Units:
        """Carbon units in blocks, and every event that made them so."""
        return Units(self.book)

    @cached_property
    def parties(self) -> Parties:
        """Parties of the market, and the documents they are known by."""
        return Parties(self.book)

    @cached_property
    def deals(self) -> Deals:
        """Offers and deals over units."""
        return Deals(self.book)

    @cached_property
    def auctions(self) -> Auctions:
        """Auctions of units, and their bids."""
        return Auctions(self.book)

    @cached_property
    def payments(self) -> Payments:
        """Money that came in for the market, and went back."""
        return Payments(self.book)

    @cached_property
    def pledges(self) -> Pledges:
        """What sponsors add to prices."""
        return Pledges(self.book)

    @cached_property
    def money(self) -> Money:
        """Movements of money, in fen."""
        return Money(self.book)

    @cached_property
    def payback(self) -> Payback:
        """What of sales is whose, and what became of it."""
        return Payback(self.book)

    @cached_property
    def retirements(self) -> Retirements:
        """Units that were used for a claim, and for whom."""
        return Retirements(self.book)
