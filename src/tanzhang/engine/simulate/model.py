"""What a scenario holds: people, days, behaviours with their partners, and the rates of what goes wrong.

Shares and weights are whole numbers relative to their list; rates are counted in ten-thousandths of the acts concerned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

TEN_THOUSAND = 10_000


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution as (ten-thousandths of the cases, value) from 0 to 10,000, straight between the points."""

    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """A partner that reports a behaviour; ``issuer`` None where the act has no number of anyone."""

    partner: str
    share: int
    evidence: str
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Witness:
    """Another platform that may report the same act."""

    partner: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Activity:
    """One behaviour of the season. With ``speed_dm_per_s`` (slowest, fastest) it is a trip with a beginning.

    ``quantity`` is the distribution of ``input``. ``at_most_per_day`` and ``every_days`` keep a person's acts below
    the caps of a methodology: only the first so many acts of a day, only one day in so many.
    """

    id: str
    share: int
    hours: str
    channels: tuple[Channel, ...]
    witnesses: tuple[Witness, ...]
    input: str
    quantity: Quantiles | None
    speed_dm_per_s: tuple[int, int] | None
    at_most_per_day: int | None
    every_days: int | None

    @property
    def trip(self) -> bool:
        """Whether acts have a beginning, a length and overlaps."""
        return self.speed_dm_per_s is not None


@dataclass(frozen=True, slots=True)
class Hours:
    """How acts are spread over the 24 hours of a working day and of a day at the weekend."""

    weekday: tuple[int, ...]
    weekend: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cheat:
    """Reports of acts that did not happen, made after the pattern of honest ones.

    ``of`` is the behaviour imitated, ``reports`` the one reported, ``partner`` who is cheated (None: the partner of
    the act imitated). ``times`` reports follow each other, of which the first ``granted`` get ``expected``, and the
    rest ``beyond``.
    """

    kind: str
    of: str
    reports: str
    partner: str | None
    input: str
    quantity: int | None
    per_10000: int
    times: int
    granted: int
    expected: str
    beyond: str | None


@dataclass(frozen=True, slots=True)
class Script:
    """A program that reports ``times`` acts of a behaviour a day, every ``every_s`` seconds, all alike."""

    of: str
    input: str
    quantity: int
    takes_s: int
    times: int
    every_s: int
    per_10000: int


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices and pictures: shares of platform accounts in ten-thousandths.

    ``home_per_10000`` use one of the devices of homes, of which there are ``homes_per_account`` times as many as such
    accounts; behaviours in ``pictures`` are proved by a picture. Farms have ``farm_accounts`` accounts a device;
    accounts that cheat with pictures have ``picture_pool`` of them together.
    """

    home_per_10000: int
    homes_per_account: int
    pictures: tuple[str, ...]
    farm_per_10000: int
    farm_accounts: int
    picture_per_10000: int
    picture_pool: int
    script: Script


@dataclass(frozen=True, slots=True)
class Scenario:
    """A season as data. ``prefixes`` are the two letters that a partner's references begin with."""

    id: str
    programme: str
    first_day: date
    days: int
    people: int
    actions: int
    activity: Quantiles
    weekdays: tuple[int, ...]
    hours: Mapping[str, Hours]
    districts: tuple[tuple[str, int], ...]
    at_home_per_10000: int
    behaviours: tuple[Activity, ...]
    fallback: str
    prefixes: Mapping[str, str]
    linked_per_10000: int
    map_app: str
    rates: Mapping[str, int]
    cheats: tuple[Cheat, ...]
    devices: Devices | None = None

    @property
    def partners(self) -> tuple[str, ...]:
        """Every partner that reports anything, in the order of their ids."""
        named = {channel.partner for each in self.behaviours for channel in each.channels}
        named |= {witness.partner for each in self.behaviours for witness in each.witnesses}
        named |= {cheat.partner for cheat in self.cheats if cheat.partner is not None}
        return tuple(sorted(named | {self.map_app}))

    def day(self, number: int) -> date:
        """The local day of a day's number."""
        return self.first_day + timedelta(days=number)


@dataclass(frozen=True, slots=True)
class Setting:
    """What the generator has to know of the programme: its time zone, windows in days and agreements.

    ``windows`` is by (behaviour, whether the act carries an issuer's number); ``agreements`` None where a partner may
    report everything.
    """

    time_zone: str
    windows: Mapping[tuple[str, bool], int]
    agreements: Mapping[str, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a scenario to simulate; ``text`` also plants what only a text format can get wrong."""

    people: int
    actions: int
    days: int
    seed: int
    text: bool
