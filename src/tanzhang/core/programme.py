"""Programmes (碳普惠项目): region, time zone, serving methodologies, windows, caps and partners, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tanzhang.core.errors import Problem, refuse
from tanzhang.core.methodology import Cap, Methodology


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a partner may send; None where nothing is limited.

    ``requests_per_s`` and ``rows_per_s`` hold in each process that serves, ``rows_per_day`` (rows of reports, local
    day of receipt) for all of them together.
    """

    requests_per_s: int | None = None
    rows_per_s: int | None = None
    rows_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Partner:
    """An enterprise that reports; ``behaviours`` None where it may report all of the programme's.

    ``evidence`` is the best class that it may claim, None where that is any. ``suspended``: what it reported stands, it
    reports nothing more. ``signed``: each request bears a signature. ``certificate`` is the SHA-256 (hex) of the client
    certificate it connects with.
    """

    id: str
    name: str
    name_zh: str
    behaviours: frozenset[str] | None
    evidence: str | None = None
    suspended: bool = False
    limits: Limits = Limits()
    signed: bool = False
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class ProgrammeCap:
    """A cap of the programme over some behaviours, on top of those of the methodologies."""

    cap: Cap
    behaviours: frozenset[str]


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What a programme shows of few persons: nothing that names fewer than this.

    ``least_accounts_in_tree``: in a smaller sum tree nobody gets a proof, whose path would show others' amounts. Public
    advice on proofs of liabilities says "a few hundred". ``least_accounts_in_cell``: a smaller cell of a total is
    hidden; the default is ours.
    """

    least_accounts_in_tree: int = 300
    least_accounts_in_cell: int = 10


@dataclass(frozen=True, slots=True)
class Friends:
    """How large groups of friends are, in how many one person may be, how long a code invites; the defaults are ours.

    A group is meant for people who know each other, and its ranking reads each member's own records.
    """

    most_members: int = 50
    most_groups: int = 10
    invitation_days: int = 7


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days an operator keeps what only serves checking; None for ever, which is the default.

    ``report_files`` counts from the day on which the last report of a file was settled, the others from coming in:
    ``verdict_files`` (what was refused, with partners' references), ``answers`` to requests, and ``requests``, that
    there were any (partner, key, digest).
    """

    report_files: int | None = None
    verdict_files: int | None = None
    answers: int | None = None
    requests: int | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Programme:
    """One scheme's rules. ``methodologies`` is in order of preference among equals; ``windows`` in days by family.

    ``at_once`` are the families whose acts with an issuer's identifier are settled as soon as they come.
    ``grading`` names the grading schemes that it uses, ``badges`` the badges that it gives, ``points`` its points
    programmes, ``guard`` its guard (风控); None where nothing is held; ``market`` its market rules,
    None where nothing is sold.
    ``rehearsal`` marks a programme whose bookings are no claims: only it takes mappings that shift days.
    """

    id: str
    title: str
    title_zh: str
    region: str
    time_zone: str
    methodologies: tuple[str, ...]
    windows: Mapping[str, int]
    overlap_threshold: Fraction
    report_within_days: int | None
    rehearsal: bool
    caps: tuple[ProgrammeCap, ...]
    partners: Mapping[str, Partner]
    where: str
    disclosure: Disclosure = Disclosure()
    grading: tuple[str, ...] = ()
    retention: Retention = Retention()
    at_once: frozenset[str] = frozenset()
    badges: tuple[str, ...] = ()
    friends: Friends = Friends()
    points: tuple[str, ...] = ()
    guard: str | None = None
    market: str | None = None

    def window_days(self, family: str, published: int) -> int:
        """The window of an activity family here: the programme's own, else the methodology's."""
        return self.windows.get(family, published)

    def claimed_window_days(self, methodology: Methodology) -> int:
        """The window of an act that an issuer's identifier makes unique; acts that may overlap keep their family's.

        :data:`AT_ONCE` where it is settled as soon as it comes: the day before its own is over whenever that is.
        """
        if methodology.claim.overlap:
            return self.window_days(methodology.activity_family, methodology.window_days)
        return AT_ONCE if methodology.activity_family in self.at_once else 0

    def check_partner(self, partner: str, where: str = "partner") -> None:
        """Refuse who is no partner here; ``unknown-partner``."""
        if partner not in self.partners:
            raise refuse(
                "unknown-partner",
                f"{partner} is not a partner of programme {self.id}",
                where=where,
                remedy=f"use one of {', '.join(sorted(self.partners))}, or have the operator register it",
            )


AT_ONCE = -1
"""The window, in days, of what waits for nothing: it closes before the act's own day."""


def at_once_problems(programme: Programme, methodologies: Iterable[Methodology], where: str) -> list[Problem]:
    """Why families of ``at_once`` cannot be: ``at-once-unsafe``.

    ``methodologies`` are all versions of those that the programme lists. An act settled before its day is over must not
    depend on other acts of that day: nothing may overlap with it, and no limit may count it.
    """
    problems = []
    named = set()
    for each in methodologies:
        if each.activity_family not in programme.at_once or "identifier" not in each.claim.fields:
            continue
        named.add(each.activity_family)
        binding = [cap.id for cap in each.caps]
        binding += [own.cap.id for own in programme.caps if each.behaviour in own.behaviours]
        reasons = ["its acts may overlap"] if each.claim.overlap else []
        reasons += [f"cap {name} counts its acts" for name in binding]
        problems += [_unsafe(f"{each.key} is of family {each.activity_family}, and {why}", where) for why in reasons]
    problems += [
        _unsafe(f"no act of family {family} carries an issuer's identifier", where)
        for family in sorted(programme.at_once - named)
    ]
    return problems


def _unsafe(message: str, where: str) -> Problem:
    return Problem("at-once-unsafe", message, where, "take the family out of at_once; its acts are settled by the day")
