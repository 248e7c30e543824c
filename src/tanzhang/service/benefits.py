"""Benefits that are not goods (权益): queue priority, discounts, a bank's points, red packets; bought with points.

What each costs, for whom, how often and until when is a document of the operator, versioned by what it says. Buying is
one transaction: points are spent and the use is there, or neither. How a use goes on from there: tokens here, transfers
in :mod:`tanzhang.service.transfers`, pay-outs in :mod:`tanzhang.service.payouts`. docs/benefits.md.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.service.donations import Amount, Open, Text
from tanzhang.service.joining import own_accounts
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.points import rules_named
from tanzhang.service.said import Id
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.outgoing import check_url
from tanzhang.stores.register.benefits import ASKED, BENEFIT, ISSUED, PENDING, REFUND, REFUNDED, benefit_use
from tanzhang.stores.register.people import place_of
from tanzhang.stores.register.points import UNIT, Spending
from tanzhang.stores.yaml_text import Document, load_yaml

FORMAT = "tanzhang.benefits/1"
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
PAYEE = "^[0-9A-Za-z][0-9A-Za-z@._-]{3,63}$"
"""What an account at a bank or a wallet may look like. No spreadsheet takes such a text for a formula."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often, at most; null for any number. Days are local. What was given back does not count."""

    per_person_day: Count | None = None
    per_person: Count | None = None
    per_day: Count | None = None
    in_all: Count | None = None


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may use it: whoever has at least so many confirmed milligrams."""

    reduction_mg: Amount | None = None


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long a token holds, and whether points of one that ends unused are given back."""

    lasts_s: Annotated[int, msgspec.Meta(ge=30, le=366 * 86_400)]
    unused: Literal["lost", "refunded"]


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """From ``from`` on, until before ``until``: ``points`` get ``gets`` (fen, or a bank's points), in whole multiples.

    ``sponsor`` pays for it, up to ``budget`` in all of these days.
    """

    since: date
    points: Count
    gets: Count
    until: date | None = None
    sponsor: Id | None = None
    budget: Amount | None = None


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of what is got, in fen: at least, by person and day, by day in all."""

    least: Count = 1
    per_person_day: Count | None = None
    per_day: Count | None = None


class Bank(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose points they become: an id, where its partner API is, how requests are signed (RFC 9421)."""

    id: Id
    url: Annotated[str, msgspec.Meta(max_length=2_000)]
    signature: Literal["ed25519"] | Literal["hmac-sha256"]


class _Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """What every benefit says.

    ``points`` is the points programme whose points buy it, ``source`` where it was agreed, ``status`` example, draft or
    published.
    """

    title: Text
    title_zh: Text
    text: Text
    text_zh: Text
    points: Id
    open: Open
    source: Text
    status: Literal["example", "draft", "published"]
    limits: Limits = Limits()
    needs: Needs = Needs()


class QueuePriority(_Offer, frozen=True, kw_only=True, tag="queue_priority"):
    """To be called earlier, shown by a token that the partner's system verifies."""

    price_points: Count
    partner: Id
    token: Token


class Discount(_Offer, frozen=True, kw_only=True, tag="discount"):
    """Percent or fen off at a partner, shown by a token that the partner's system verifies."""

    price_points: Count
    partner: Id
    token: Token
    percent: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    amount_fen: Count | None = None


class BankPoints(_Offer, frozen=True, kw_only=True, tag="bank_points"):
    """Points of a bank for points of the programme."""

    bank: Bank
    rates: list[Rate]


class RedPacket(_Offer, frozen=True, kw_only=True, tag="red_packet"):
    """Money for points (红包), paid out through an adapter."""

    rates: list[Rate]
    adapter: Literal["bank_file"]
    fen: Values = Values()


Offer = QueuePriority | Discount | BankPoints | RedPacket


# -- what is offered ------------------------------------------------------------------------------------------


def load_benefits(home: Home, path: Path, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take benefits over from a YAML file: all of them, or none if any is wrong; those that say the same stay as is.

    ``file-missing``, ``benefit-malformed``, ``unknown-partner``, ``url-refused`` and what reading YAML refuses, all
    mistakes together.
    """
    if not path.is_file():
        raise refuse("file-missing", f"{path} is not there", where=str(path), remedy="name an existing file")
    found = _offers_in(home, load_yaml(path.read_text(encoding="utf-8"), path.name))
    at, versions = received_at(now), {}
    with home.book.transaction() as con:
        for name, said in found.items():
            text = canonical_json(msgspec.to_builtins(said))
            versions[name], changed = home.benefits.said.say(con, name, text, at)
            if changed:
                detail = {"version": versions[name]}
                home.audit.write(con, actor, "benefit said", f"benefit {name}", at=at, detail=detail)
    return {"status": "loaded", "benefits": versions}


def _offers_in(home: Home, document: Document) -> dict[str, Offer]:
    data = document.data if isinstance(document.data, dict) else {}
    items = data.get("benefits")
    if data.get("format") != FORMAT or not isinstance(items, dict) or set(data) != {"format", "benefits"}:
        raise TanzhangError(_wrong(f"it is not 'format: {FORMAT}' and 'benefits:' by id", document.where()))
    found: dict[str, Offer] = {}
    problems: list[Problem] = []
    for name, said in items.items():
        where = document.where("benefits", name)
        try:
            found[msgspec.convert(name, Id)] = msgspec.convert(said, Offer)
        except msgspec.ValidationError as error:
            problems.append(_wrong(str(error), where))
        else:
            problems += _mistakes(home, found[name], where)
    if problems:
        raise TanzhangError(problems)
    return found


def _mistakes(home: Home, offer: Offer, where: str) -> list[Problem]:
    """What is wrong with an offer that has its form."""
    found: list[Problem] = []

    def asked(check: Callable[[], object]) -> None:
        try:
            check()
        except TanzhangError as error:
            found.extend(Problem(each.code, each.message, where, each.remedy) for each in error.problems)

    asked(lambda: rules_named(home, offer.points))
    if offer.open.until is not None and offer.open.until <= offer.open.since:
        found.append(_wrong("it is open on no day: 'until' is not after 'from'", where))
    if isinstance(offer, Discount) and (offer.percent is None) == (offer.amount_fen is None):
        found.append(_wrong("it says not exactly one of percent and amount_fen", where))
    if isinstance(offer, QueuePriority | Discount):
        partner = offer.partner
        asked(lambda: home.programme.check_partner(partner))
    if isinstance(offer, BankPoints):
        url = offer.bank.url
        asked(lambda: check_url(url, where=where))
    if isinstance(offer, BankPoints | RedPacket):
        found += [_wrong(each, where) for each in _wrong_rates(offer.rates)]
    return found


def _wrong_rates(rates: list[Rate]) -> list[str]:
    said = [] if rates else ["it has no rate"]
    ordered = sorted(rates, key=lambda rate: rate.since)
    for rate in ordered:
        if rate.until is not None and rate.until <= rate.since:
            said.append(f"the rate from {rate.since} holds on no day")
        if rate.budget is not None and rate.sponsor is None:
            said.append(f"the rate from {rate.since} has a budget of nobody")
    for first, second in itertools.pairwise(ordered):
        if first.until is None or second.since < first.until:
            said.append(f"the rates from {first.since} and from {second.since} hold on the same day")
    return said


def offer_named(home: Home, name: str, version: int | None = None) -> tuple[int, Offer]:
    """Version and document of a benefit, the last one by default; ``unknown-benefit``."""
    row = home.benefits.said.one(name, version)
    if row is None:
        remedy = "see the list of benefits"
        raise refuse("unknown-benefit", f"there is no benefit {name[:80]!r}", where="benefit", remedy=remedy)
    return row.version, read_offer(row)


def read_offer(row: Any) -> Offer:
    """The document of a row of table benefit."""
    offer: Offer = msgspec.json.decode(row.document, type=Offer)
    return offer


def offers(home: Home, after: str = "", limit: int | None = None) -> list[dict[str, Any]]:
    """Every benefit whose id comes after another, by id, as everybody sees it: not how a bank is reached."""
    return [_shown(row) for row in home.benefits.said.all(after, limit)]


def _shown(row: Any) -> dict[str, Any]:
    said = msgspec.json.decode(row.document)
    if "bank" in said:
        said["bank"] = {"id": said["bank"]["id"]}
    return {"id": row.id, "version": row.version, **said}


# -- buying ---------------------------------------------------------------------------------------------------


def buy(
    home: Home,
    account: uuid.UUID,
    name: str,
    reference: str,
    *,
    points: int | None = None,
    payee: str | None = None,
    now: datetime,
) -> Any:
    """Buy a benefit for an account; returns the row of its use. The same ``reference`` again is the same use.

    ``points`` are how many are to be turned into something by a rate; others have a price. ``payee`` is whom a bank or
    a pay-out knows. Raises ``unknown-benefit``, ``benefit-closed``, ``benefit-needs``, ``benefit-limit``,
    ``benefit-asked-wrongly``, ``budget-spent``, ``points-short``, ``reference-taken``.
    """
    version, offer = offer_named(home, name)
    day, at = received_day(home, now), received_at(now)
    use = derived_secret(home, "benefit", f"{account} {reference}").hex()[:32]
    with home.book.transaction() as con:
        known = home.benefits.use(use)
        if known is not None:
            _check_same(known, name, points)
            return known
        _check_open(offer, name, day)
        cost, rate = _cost(offer, points, payee, day), _rate_of(offer, day)
        _check_needs(home, offer, account)
        value = None if rate is None else cost // rate.points * rate.gets
        _check_limits(home, con, name, offer, str(account), day)
        if isinstance(offer, RedPacket) and rate is not None and value is not None:
            _check_values(home, con, name, offer, rate, str(account), value, day)
        elif rate is not None and rate.budget is not None and value is not None:
            _check_budget(home, con, name, rate, value)
        counter = _counter(name, offer)
        spending = Spending(account, cost, BENEFIT, counter, use)
        (wrong,) = home.points.spend(con, UNIT + offer.points, [spending], at=at, day=day)
        if wrong is not None:
            raise wrong
        sealed = None if payee is None else home.personal_keys.seal(payee, place_of(benefit_use, "payee", use))
        row = {"id": use, "benefit": name, "version": version, "account": str(account), "points": cost}
        row |= {"counter": counter, "value": value, "sponsor": None if rate is None else rate.sponsor}
        row |= {"partner": partner_of(offer), "payee": sealed, "state": _first_state(offer), "day": day.isoformat()}
        row |= {"made_at": at, "changed_at": at, "due_at": _due(offer, now), "file": None, "note": None}
        home.benefits.add(con, row)
    return home.benefits.use(use)


def partner_of(offer: Offer) -> str | None:
    """Who takes an offer's tokens, or keeps the points of a bank."""
    if isinstance(offer, BankPoints):
        return offer.bank.id
    return offer.partner if isinstance(offer, QueuePriority | Discount) else None


def _counter(name: str, offer: Offer) -> str:
    """The counter that the points of an offer go to."""
    if isinstance(offer, BankPoints):
        return f"transfer:{offer.bank.id}"
    return f"payout:{name}" if isinstance(offer, RedPacket) else f"benefit:{name}"


def _first_state(offer: Offer) -> str:
    if isinstance(offer, BankPoints):
        return PENDING
    return ASKED if isinstance(offer, RedPacket) else ISSUED


def _due(offer: Offer, now: datetime) -> str | None:
    if isinstance(offer, QueuePriority | Discount):
        return received_at(now + timedelta(seconds=offer.token.lasts_s))
    return received_at(now) if isinstance(offer, BankPoints) else None


def _cost(offer: Offer, points: int | None, payee: str | None, day: date) -> int:
    """How many points a use costs; refuses what is missing or too much of a request: ``benefit-asked-wrongly``."""
    by_rate = isinstance(offer, BankPoints | RedPacket)
    if by_rate != (points is not None) or by_rate != (payee is not None):
        what = "points and payee" if by_rate else "neither points nor payee"
        raise _asked_wrongly(f"this benefit is asked for with {what}")
    if isinstance(offer, QueuePriority | Discount):
        return offer.price_points
    rate = _rate_of(offer, day)
    if rate is None:
        raise _closed(f"no rate holds on {day}", "come back when the operator has set one")
    if points is None or points <= 0 or points % rate.points:
        raise _asked_wrongly(f"{points} points are no whole multiple of {rate.points}")
    return points


def _rate_of(offer: Offer, day: date) -> Rate | None:
    if not isinstance(offer, BankPoints | RedPacket):
        return None
    holding = (rate for rate in offer.rates if rate.since <= day and (rate.until is None or day < rate.until))
    return next(holding, None)


def _check_open(offer: Offer, name: str, day: date) -> None:
    if day < offer.open.since or (offer.open.until is not None and day >= offer.open.until):
        until = offer.open.until or "further on"
        raise _closed(f"{name} is not to be had on {day}", f"it is from {offer.open.since} until {until}")


def _check_needs(home: Home, offer: Offer, account: uuid.UUID) -> None:
    if offer.needs.reduction_mg is None:
        return
    wanted, held = int(offer.needs.reduction_mg), home.book.balance(account).get("co2e_mg", 0)
    if held < wanted:
        raise refuse(
            "benefit-needs",
            f"this is for whoever has {wanted} mg confirmed, and here are {held} mg",
            where="benefit",
            remedy="come back when more acts are confirmed",
        )


def _check_limits(home: Home, con: sa.Connection, name: str, offer: Offer, account: str, day: date) -> None:
    own, on_day = benefit_use.c.benefit == name, benefit_use.c.day == day.isoformat()
    mine = benefit_use.c.account == account
    for limit, conditions in (
        ("per_person_day", (own, on_day, mine)),
        ("per_person", (own, mine)),
        ("per_day", (own, on_day)),
        ("in_all", (own,)),
    ):
        most = getattr(offer.limits, limit)
        if most is not None and home.benefits.counted(con, *conditions)[0] >= most:
            raise _limit(f"{name} is to be had {most} times {limit.replace('_', ' ')}")


def _check_values(
    home: Home, con: sa.Connection, name: str, offer: RedPacket, rate: Rate, account: str, fen: int, day: date
) -> None:
    own = (benefit_use.c.benefit == name, benefit_use.c.day == day.isoformat())
    if fen < offer.fen.least:
        raise _limit(f"{fen} fen are less than the least amount of {offer.fen.least} fen")
    for limit, conditions in (
        (offer.fen.per_person_day, (*own, benefit_use.c.account == account)),
        (offer.fen.per_day, own),
    ):
        if limit is not None and home.benefits.counted(con, *conditions)[1] + fen > limit:
            raise _limit(f"{fen} fen more would be over the limit of {limit} fen")
    if rate.budget is not None:
        _check_budget(home, con, name, rate, fen)


def _check_budget(home: Home, con: sa.Connection, name: str, rate: Rate, value: int) -> None:
    inside = [benefit_use.c.benefit == name, benefit_use.c.sponsor == rate.sponsor]
    inside.append(benefit_use.c.day >= rate.since.isoformat())
    if rate.until is not None:
        inside.append(benefit_use.c.day < rate.until.isoformat())
    spent = home.benefits.counted(con, *inside)[1]
    if rate.budget is not None and spent + value > int(rate.budget):
        raise refuse(
            "budget-spent",
            f"{rate.sponsor} gives {rate.budget} in all, and {spent} are given",
            where="benefit",
            remedy="ask for less, or come back when there is a sponsor again",
        )


def _check_same(known: Any, name: str, points: int | None) -> None:
    if known.benefit != name or points not in (None, known.points):
        raise refuse(
            "reference-taken",
            "another use of yours has this reference",
            where="#/reference",
            remedy="give each use a reference of its own; send the same again only to retry",
        )


# -- giving back ----------------------------------------------------------------------------------------------


def give_back(home: Home, con: sa.Connection, row: Any, state: str, *, note: str | None, now: datetime) -> bool:
    """In somebody's transaction: a use that is in ``state`` becomes ``refunded``, its points go back; whether it was.

    For how long they can be used at the least says their points programme. Those of somebody who was erased go nowhere.
    """
    at = received_at(now)
    ended = {"state": REFUNDED, "payee": None, "due_at": None, "changed_at": at, "note": note}
    if not home.benefits.change(con, row.id, state, ended):
        return False
    offer, day = offer_named(home, row.benefit, row.version)[1], received_day(home, now)
    rules = rules_named(home, offer.points)
    last = day + timedelta(days=rules.at(day).refund_days)
    home.points.give_back(con, rules.unit, BENEFIT, [row.id], at=at, as_kind=REFUND, not_before=last)
    return True


# -- what is shown --------------------------------------------------------------------------------------------


def uses(home: Home, account: uuid.UUID, before: int | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """Uses of an account and of those whose holdings are in it, the latest first; ``number`` is for cursors."""
    own = [str(each) for each in own_accounts(home, account)]
    found = home.benefits.of(own, before=before, limit=limit)
    return [{"number": row.seq, **described(row)} for row in found]


def about_uses(home: Home, account: uuid.UUID) -> list[dict[str, Any]]:
    """What is kept of an account's uses, the sealed field opened."""
    keys, found = home.personal_keys, []
    for row in home.benefits.of([str(each) for each in own_accounts(home, account)]):
        payee = None if row.payee is None else keys.open(row.payee, place_of(benefit_use, "payee", row.id))
        found.append({**described(row), "payee": payee})
    return found


def described(row: Any) -> dict[str, Any]:
    """A use as JSON members; amounts are texts."""
    return {
        "id": row.id,
        "benefit": row.benefit,
        "version": row.version,
        "points": str(row.points),
        "value": None if row.value is None else str(row.value),
        "partner": row.partner,
        "sponsor": row.sponsor,
        "state": row.state,
        "day": row.day,
        "made_at": row.made_at,
        "changed_at": row.changed_at,
        "expires_at": row.due_at if row.state == ISSUED else None,
        "note": row.note,
    }


def _wrong(message: str, where: str) -> Problem:
    return Problem("benefit-malformed", message, where, "docs/benefits.md shows what a benefit says")


def _asked_wrongly(message: str) -> TanzhangError:
    return refuse("benefit-asked-wrongly", message, where="#", remedy="look at the benefit's kind and rate")


def _closed(message: str, remedy: str) -> TanzhangError:
    return refuse("benefit-closed", message, where="benefit", remedy=remedy)


def _limit(message: str) -> TanzhangError:
    return refuse("benefit-limit", message, where="benefit", remedy="come back on another day, or ask for less")
