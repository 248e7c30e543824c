"""Shares, hours and quantiles as look-up tables, so that a draw costs one index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tanzhang.engine.simulate.draws import I64, U8, prefix_number
from tanzhang.engine.simulate.model import TEN_THOUSAND, Activity, Channel, Quantiles, Scenario

MOST_ACTS = 96  # of one person on one day; more would leave a trip no time
FINE = 4096  # steps of a quantile table
CHOICES = 16_384  # steps of the choice of a behaviour
CHANNEL_CHOICES = 1024
DAY_S = 86_400
# The last minutes of a day stay free, so that what is planted a little later than an act is still on its day.
LATEST_S = DAY_S - 1_200
UNKNOWN_BEHAVIOUR = "travel.teleport"
BAD_REGION = "Beijing-Chaoyang"
UNKNOWN_EVIDENCE = "photo"


@dataclass(frozen=True, slots=True)
class DayTables:
    """How a working day or a day at the weekend runs.

    ``second`` is the time of day at each of 4,096 steps of the day's acts (and its end); ``edges`` (acts, position)
    where the day of a person with so many acts is cut; ``behaviour`` (hour, choice) which behaviour happens then.
    """

    second: I64
    edges: I64
    behaviour: U8


@dataclass(frozen=True, slots=True)
class Tables:
    """A scenario in numbers: codes are positions in ``partners``, ``behaviours``, ``regions``, ``evidences``, ...

    ``behaviours`` are the scenario's, those that cheats report, and one that does not exist; ``inputs`` gives the
    position of each one's input in ``input_names``; ``issuers`` begins with none. ``channel`` (behaviour, choice) is
    a place in ``channels``, of which ``channel_partner`` and the like are columns.
    """

    scenario: Scenario
    partners: tuple[str, ...]
    prefixes: npt.NDArray[np.uint16]
    behaviours: tuple[str, ...]
    trips: npt.NDArray[np.bool_]
    input_names: tuple[str, ...]
    inputs: U8
    regions: tuple[str, ...]
    evidences: tuple[str, ...]
    issuers: tuple[str, ...]
    weights: I64
    days: tuple[DayTables, DayTables]
    district: U8
    quantity: I64
    slowest_dm_per_s: I64
    faster_dm_per_s: I64
    at_most: I64
    every: I64
    channel: U8
    channel_partner: U8
    channel_evidence: U8
    channel_issuer: U8

    def partner_code(self, partner: str) -> int:
        """The code of a partner."""
        return self.partners.index(partner)

    def behaviour_code(self, behaviour: str) -> int:
        """The code of a behaviour."""
        return self.behaviours.index(behaviour)

    def evidence_code(self, evidence: str) -> int:
        """The code of a class of evidence."""
        return self.evidences.index(evidence)


def make_tables(scenario: Scenario) -> Tables:
    """Every table of a scenario."""
    own = scenario.behaviours
    foreign = sorted({cheat.reports for cheat in scenario.cheats} - {each.id for each in own})
    input_of = {each.id: each.input for each in own} | {cheat.reports: cheat.input for cheat in scenario.cheats}
    behaviours = (*(each.id for each in own), *foreign, UNKNOWN_BEHAVIOUR)
    input_names = tuple(sorted({"count", *input_of.values()}))
    channels = [channel for each in own for channel in each.channels]
    evidences = sorted({c.evidence for c in channels} | {w.evidence for each in own for w in each.witnesses})
    evidences += [UNKNOWN_EVIDENCE]
    issuers = ("", *sorted({channel.issuer for channel in channels if channel.issuer is not None}))
    partners = scenario.partners
    speeds = [each.speed_dm_per_s or (1, 1) for each in own]
    return Tables(
        scenario=scenario,
        partners=partners,
        prefixes=np.array([prefix_number(scenario.prefixes[partner]) for partner in partners], np.uint16),
        behaviours=behaviours,
        trips=np.array([*(each.trip for each in own), *[False] * (len(foreign) + 1)]),
        input_names=input_names,
        inputs=np.array([input_names.index(input_of.get(name, "count")) for name in behaviours], np.uint8),
        regions=(*(region for region, _ in scenario.districts), BAD_REGION),
        evidences=tuple(evidences),
        issuers=issuers,
        weights=quantile_table(scenario.activity),
        days=(_day_tables(scenario, weekend=False), _day_tables(scenario, weekend=True)),
        district=choice_table([share for _, share in scenario.districts], FINE),
        quantity=np.concatenate([quantile_table(each.quantity) for each in own]),
        slowest_dm_per_s=np.array([slowest for slowest, _ in speeds], np.int64),
        faster_dm_per_s=np.array([fastest - slowest for slowest, fastest in speeds], np.int64),
        at_most=np.array([each.at_most_per_day or MOST_ACTS for each in own], np.int64),
        every=np.array([each.every_days or 1 for each in own], np.int64),
        channel=_channel_table(own, channels),
        channel_partner=np.array([partners.index(channel.partner) for channel in channels], np.uint8),
        channel_evidence=np.array([evidences.index(channel.evidence) for channel in channels], np.uint8),
        channel_issuer=np.array([issuers.index(channel.issuer or "") for channel in channels], np.uint8),
    )


def quantile_table(quantiles: Quantiles | None) -> I64:
    """The value in the middle of each of 4,096 equal parts; -1 throughout where there is no distribution."""
    if quantiles is None:
        return np.full(FINE, -1, np.int64)
    places, values = (np.array(each, np.float64) for each in zip(*quantiles.points, strict=True))
    middle = (np.arange(FINE) + 0.5) * (TEN_THOUSAND / FINE)
    found: I64 = np.rint(np.interp(middle, places, values)).astype(np.int64)
    return found


def choice_table(shares: Sequence[float], size: int) -> U8:
    """``size`` choices, each position as often as its share: an evenly drawn place picks a position."""
    ends = np.rint(np.cumsum(np.array(shares, np.float64)) / sum(shares) * size).astype(np.int64)
    return np.repeat(np.arange(len(shares), dtype=np.uint8), np.diff(ends, prepend=0))


def _channel_table(own: Sequence[Activity], channels: Sequence[Channel]) -> U8:
    tables, before = [], 0
    for each in own:
        tables.append(choice_table([channel.share for channel in each.channels], CHANNEL_CHOICES) + np.uint8(before))
        before += len(each.channels)
    if before != len(channels):
        raise AssertionError(f"{before} channels numbered of {len(channels)}")
    together: U8 = np.concatenate(tables)
    return together


def _day_tables(scenario: Scenario, *, weekend: bool) -> DayTables:
    """Times follow the hours of all behaviours together, then the behaviour follows from the hour.

    So each behaviour keeps both its share and its own hours.
    """
    by_hour = np.zeros((24, len(scenario.behaviours)))
    for position, each in enumerate(scenario.behaviours):
        hours = scenario.hours[each.hours]
        shape = np.array(hours.weekend if weekend else hours.weekday, np.float64)
        by_hour[:, position] = each.share * shape / shape.sum()
    mass = np.concatenate([[0.0], np.cumsum(by_hour.sum(axis=1))])
    # Hours without any act would make the inverse jump; a trace of mass keeps it one-to-one.
    mass = mass / mass[-1] + np.linspace(0, 1e-6, 25)
    steps = np.linspace(0, mass[-1], FINE + 1)
    second = np.rint(np.interp(steps, mass, np.linspace(0, LATEST_S, 25))).astype(np.int64)
    acts, cut = np.meshgrid(np.arange(MOST_ACTS + 1), np.arange(MOST_ACTS + 2), indexing="ij")
    places = np.minimum(cut / np.maximum(acts, 1), 1) * FINE
    edges = np.rint(np.interp(places, np.arange(FINE + 1), second)).astype(np.int64)
    choices = [choice_table(list(row) if row.sum() else [1.0] * len(row), CHOICES) for row in by_hour]
    return DayTables(second=second, edges=edges.reshape(-1), behaviour=np.concatenate(choices))
