"""Market rules (市场规则) of a programme: what lots, sales and paybacks keep to, as data.

Every number is a programme's decision: the file it stands in says where it was read, or that it is an example. Whoever
entrusts grams does so under one version, named by its digest; the document itself is in the log. docs/market.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.factors import Period
from tanzhang.core.methodology import canonical_json

KIND = "market-terms"
"""The kind of entries of the log that publish terms."""
FORMAT = "tanzhang.market-terms/1"
CANCELLED = "cancelled"
"""What :attr:`Levy.to` says of a levy whose units are cancelled as they are issued."""
UNIT_MASS_MG: Mapping[str, int] = {"T": 10**9, "K": 10**6}
"""Unit letter of a serial number -> mass of one unit."""
CALENDAR, WORKING = "calendar_days", "working_days"


@dataclass(frozen=True, slots=True)
class Levy:
    """A share of the units of a lot, taken as they are issued.

    ``to`` is :data:`CANCELLED` or the holder ``levy:<id>``. Whole units: rounded down, or up where ``environment``.
    """

    id: str
    share: Fraction
    to: str
    environment: bool


@dataclass(frozen=True, slots=True)
class Fee:
    """A share of a sale's money that is not paid back; ``why`` says for what."""

    id: str
    share: Fraction
    why: str


@dataclass(frozen=True, slots=True)
class Tier:
    """A level of the market (市场层级); a unit is in exactly one."""

    id: str
    title: str
    title_zh: str
    source: str | None


@dataclass(frozen=True, slots=True)
class LabelScheme:
    """What a label (标签) can say of units; only units of ``tier`` can bear it. ``source`` None: an example."""

    id: str
    tier: str
    title: str
    title_zh: str
    source: str | None


@dataclass(frozen=True, slots=True)
class MarketRules:
    """One version. ``valid`` are local days of what is done under it: a lot built, a sale made; not days of acts.

    ``purposes`` are codes of purposes of retirement, ``registries`` those to be looked up before a lot is issued, both
    with titles (en, zh) in ``titles``. ``notice_counts`` is :data:`CALENDAR` or :data:`WORKING`: Monday to Friday and
    not in ``days_off``. ``escrow_purpose`` names the account ``public:<purpose>``. ``digest`` (SHA-256, hex) is of
    ``text``, the whole document as canonical JSON.
    """

    id: str
    version: int
    title: str
    title_zh: str
    status: str
    source: str
    valid: Period
    digest: str
    where: str
    unit_letter: str
    unit_mass_mg: int
    notice_days: int
    notice_counts: str
    days_off: frozenset[date]
    reserve_share: Fraction
    levies: tuple[Levy, ...]
    fees: tuple[Fee, ...]
    tiers: tuple[Tier, ...]
    default_tier: str
    labels: Mapping[str, LabelScheme]
    purposes: tuple[str, ...]
    registries: tuple[str, ...]
    titles: Mapping[str, tuple[str, str]]
    payment_days: int
    least_payout_fen: int
    escrow_days: int
    escrow_purpose: str
    text: str

    @property
    def key(self) -> str:
        """Id and version."""
        return f"{self.id}@{self.version}"

    def notice_ends(self, public_since: date) -> date:
        """The first day on which a lot under terms that are public since a day may freeze.

        The day of publication does not count, and ``notice_days`` days that count lie between the two; without any
        notice it is that day.
        """
        if not self.notice_days:
            return public_since
        day, left = public_since + timedelta(days=1), self.notice_days
        while left:
            left -= self.counts(day)
            day += timedelta(days=1)
        return day

    def counts(self, day: date) -> bool:
        """Whether a day of publication counts."""
        return self.notice_counts == CALENDAR or (day.weekday() < 5 and day not in self.days_off)


@dataclass(frozen=True, slots=True)
class Published:
    """An entry of the log: terms of a programme, public since a local day. ``text`` is the rules' canonical JSON."""

    programme: str
    public_since: date
    text: str

    @property
    def digest(self) -> str:
        """The digest that names these terms."""
        return terms_digest(self.text)

    def to_text(self) -> str:
        """The entry, as canonical JSON."""
        since = self.public_since.isoformat()
        members = {"programme": self.programme, "public_since": since, "terms_digest": self.digest}
        return canonical_json({"format": FORMAT, **members, "terms": json.loads(self.text)})

    @classmethod
    def parse(cls, text: str) -> Published:
        """Read an entry; ``market-terms-malformed`` if it is not one of ours, byte for byte."""
        try:
            data: dict[str, Any] = json.loads(text)
            found = cls(data["programme"], date.fromisoformat(data["public_since"]), canonical_json(data["terms"]))
            if found.to_text() == text:
                return found
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise _malformed()


def terms_digest(text: str) -> str:
    """The digest of terms from their canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()


def _malformed() -> TanzhangError:
    return refuse(
        "market-terms-malformed",
        "the entry is not one of market terms",
        where="entry",
        remedy="compare the log with a copy of it",
    )
