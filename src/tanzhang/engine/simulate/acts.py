"""The acts that happened: who, when, where, what, and which partner knows of it.

A person's day is cut into as many parts as they do acts, and every act lies within one part, so that honest acts of
one person never overlap, whichever platforms report them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from tanzhang.engine.simulate.draws import I64, U8, U64, Flags, bits, mix, salt_of
from tanzhang.engine.simulate.model import TEN_THOUSAND, Setting, Size
from tanzhang.engine.simulate.tables import CHANNEL_CHOICES, CHOICES, FINE, LATEST_S, MOST_ACTS, Tables

SHORTEST_TRIP_S = 120
MARGIN_S = 120  # free after every trip, beside an eighth of its length
US = 1_000_000
SLICE_ACTS = 196_608  # on the busiest day; more would not fit into caches, fewer would not pay for the calls
NEVER = -1  # a time or a quantity that is not given
# A number names one thing of the simulation: bits 0-6 the act of the day, 7-36 the person, 37-44 the day, 55 is
# always set, so that no number is 0, 56-61 the purpose of a further report; the highest two make a claim or a group.
_ACT_BITS, _PERSON_BITS = 7, 30
MOST_PEOPLE, MOST_DAYS = 1 << _PERSON_BITS, 1 << 8
CLAIM_BIT, GROUP_BIT = np.uint64(1 << 63), np.uint64(1 << 62)
GHOST_BIT = np.uint64(1 << 46)
_ODD = np.array([(2 * number + 1) * 0x9E3779B97F4A7C15 % (1 << 64) for number in range(64)], np.uint64) | np.uint64(1)

Chosen = npt.NDArray[np.int64] | Flags


@dataclass(frozen=True, slots=True)
class Rows:
    """Reports in columns of one length; codes are positions in :class:`~tanzhang.engine.simulate.tables.Tables`.

    ``number`` becomes the reference, ``person`` with the partner the subject, ``claim``, ``group`` and ``withdraws``
    are numbers of other things, 0 for none. Times are UTC microseconds, -1 for none, as is ``quantity``.
    ``nameless`` rows have no subject; ``garbled`` ones (1: time, 2: quantity) are spoilt by the writer of a text.
    """

    partner: U8
    behaviour: U8
    evidence: U8
    issuer: U8
    region: U8
    person: U64
    number: U64
    claim: U64
    started: I64
    ended: I64
    quantity: I64
    group: U64 | None = None
    withdraws: U64 | None = None
    nameless: Flags | None = None
    garbled: U8 | None = None

    def __len__(self) -> int:
        return len(self.number)

    def take(self, chosen: Chosen) -> Rows:
        """Some rows, in the order given."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {name: None if each is None else each[chosen] for name, each in columns.items()}
        return Rows(**taken)

    def changed(self, **columns: npt.NDArray[Any]) -> Rows:
        """The same rows with other values in some columns."""
        changed: dict[str, Any] = columns
        return replace(self, **changed)


def joined(parts: list[Rows]) -> Rows:
    """Rows of several parts, in order; what one part has and another lacks is filled with nothing."""
    columns: dict[str, Any] = {}
    for field in fields(Rows):
        found = [getattr(part, field.name) for part in parts]
        known = next((column for column in found if column is not None), None)
        if known is None:
            columns[field.name] = None
            continue
        filled = [
            np.zeros(len(part), known.dtype) if column is None else column
            for part, column in zip(parts, found, strict=True)
        ]
        columns[field.name] = np.concatenate(filled)
    return Rows(**columns)


@dataclass(frozen=True, slots=True)
class People:
    """A slice of people: numbers ``first`` up to ``first + len(draw)``, and where their weights begin."""

    first: int
    draw: U64
    weight: I64
    weight_before: int

    @property
    def number(self) -> U64:
        """Each person's number."""
        return np.arange(self.first, self.first + len(self.draw), dtype=np.uint64)


class Season:
    """One size of one scenario, with everything that does not change from slice to slice."""

    def __init__(self, tables: Tables, setting: Setting, size: Size) -> None:
        self.tables, self.setting, self.size = tables, setting, size
        self.zone = ZoneInfo(setting.time_zone)
        self.salt = {
            purpose: salt_of(size.seed, purpose)
            for purpose in ("person", "act", "detail", "special", "plant", "reference", "claim", "group")
        }
        self.subject_salt = np.array([salt_of(size.seed, f"subject|{partner}") for partner in tables.partners])
        self.windows = np.array(
            [[setting.windows[each.id, claimed] for claimed in (False, True)] for each in tables.scenario.behaviours]
        )
        self.days = [tables.scenario.day(number) for number in range(size.days)]
        self.actions = _apportioned(size.actions, [tables.scenario.weekdays[day.weekday()] for day in self.days])
        self.slice_people = max(256, min(131_072, SLICE_ACTS * size.people // max(self.actions)))
        self.slices = range(0, size.people, self.slice_people)
        self.weight_before = [0]
        for first in self.slices:
            self.weight_before.append(self.weight_before[-1] + int(self._weights(self._draw(first)).sum()))
        self.busiest = math.ceil(max(self.actions) * int(tables.weights.max()) / self.weight_before[-1])

    @property
    def fits(self) -> bool:
        """Whether the busiest person's day has room for as many trips as they do acts, at every hour."""
        if self.busiest > MOST_ACTS:
            return False
        needed = SHORTEST_TRIP_S + SHORTEST_TRIP_S // 8 + MARGIN_S
        cuts = [day.edges.reshape(MOST_ACTS + 1, -1)[self.busiest, : self.busiest + 1] for day in self.tables.days]
        return all(int(np.diff(each).min()) >= needed for each in cuts)

    def people(self, position: int) -> People:
        """The people of one slice."""
        first = self.slices[position]
        draw = self._draw(first)
        return People(first, draw, self._weights(draw), self.weight_before[position])

    def midnight_us(self, day: date) -> int:
        """The first moment of a local day, in UTC microseconds."""
        return round(datetime.combine(day, time(0), self.zone).timestamp()) * US

    def honest(self, people: People, day: int) -> Rows:
        """Every act of some people on one day, person by person, each in the order of the day."""
        tables, now = self.tables, self.tables.days[self.days[day].weekday() >= 5]
        acts = self._acts_each(people, day)
        who = np.repeat(np.arange(len(acts)), acts)
        place = np.arange(len(who)) - np.repeat(np.cumsum(acts) - acts, acts)
        person = people.first + who
        number = np.uint64(1 << 55 | day << (_ACT_BITS + _PERSON_BITS)) | (
            (person.astype(np.uint64) << np.uint64(_ACT_BITS)) | place.astype(np.uint64)
        )
        draw = mix(number, self.salt["act"])
        detail = mix(number, self.salt["detail"])
        of_day = acts[who]
        # Where in the person's part of the day the act lies, as a share of all acts of the day.
        at = (place + bits(draw, 0, 16) * (1 / 65_536)) * (FINE / of_day)
        step = at.astype(np.int64)
        second = now.second[step] + ((now.second[step + 1] - now.second[step]) * (at - step)).astype(np.int64)
        hour = np.minimum(second * 24 // LATEST_S, 23)
        behaviour = now.behaviour[hour * CHOICES + bits(draw, 16, 14)]
        behaviour = self._allowed(behaviour, place, who, people, day)
        quantity = tables.quantity[behaviour.astype(np.int64) * FINE + bits(draw, 30, 12)]
        trip = tables.trips[behaviour]
        edge = of_day * (MOST_ACTS + 2) + place
        earliest, latest = now.edges[edge], now.edges[edge + 1]
        speed = tables.slowest_dm_per_s[behaviour] + (
            (bits(draw, 42, 10) * (tables.faster_dm_per_s[behaviour] + 1)) >> 10
        )
        room = np.maximum(((latest - earliest - MARGIN_S) * 8) // 9, SHORTEST_TRIP_S)
        wanted = np.maximum(quantity * 10 // speed, SHORTEST_TRIP_S)
        length = np.minimum(wanted, room)
        cut = trip & (wanted > length)
        quantity = np.where(cut, length * speed // 10, quantity)
        start = np.clip(second - length // 2, earliest, np.maximum(latest - length - length // 8 - MARGIN_S, earliest))
        midnight = self.midnight_us(self.days[day])
        ended = midnight + np.where(trip, start + length, second) * US
        draw_of_person = people.draw[who]
        home = tables.district[bits(draw_of_person, 48, 12)]
        elsewhere = tables.district[bits(detail, 0, 12)]
        at_home = bits(detail, 12, 16) * TEN_THOUSAND < self.tables.scenario.at_home_per_10000 << 16
        channel = self.channel_of(draw_of_person, behaviour)
        issuer = tables.channel_issuer[channel]
        return Rows(
            partner=tables.channel_partner[channel],
            behaviour=behaviour,
            evidence=tables.channel_evidence[channel],
            issuer=issuer,
            region=np.where(at_home, home, elsewhere),
            person=person.astype(np.uint64),
            number=number,
            claim=np.where(issuer > 0, number | CLAIM_BIT, np.uint64(0)),
            started=np.where(trip, midnight + start * US, NEVER),
            ended=ended,
            quantity=quantity,
        )

    def channel_of(self, draw: U64, behaviour: U8) -> U8:
        """Through which channel a person's acts of a behaviour are reported: always the same one."""
        choice = ((draw * _ODD[behaviour]) >> np.uint64(54)).astype(np.int64)
        channel: U8 = self.tables.channel[behaviour.astype(np.int64) * CHANNEL_CHOICES + choice]
        return channel

    def linked(self, draw: U64) -> Flags:
        """Which people have linked their accounts with the platforms that they travel with."""
        flags: Flags = bits(draw, 32, 16) * TEN_THOUSAND < self.tables.scenario.linked_per_10000 << 16
        return flags

    def _draw(self, first: int) -> U64:
        last = min(first + self.slice_people, self.size.people)
        return mix(np.arange(first, last, dtype=np.uint64), self.salt["person"])

    def _weights(self, draw: U64) -> I64:
        weights: I64 = self.tables.weights[bits(draw, 20, 12)]
        return weights

    def _acts_each(self, people: People, day: int) -> I64:
        """How many acts each person does: the day's acts at equal distances along the weights of all people.

        So the sum over all slices is the day's acts exactly, and a person does more or less in proportion to weight.
        """
        whole = self.weight_before[-1]
        before = people.weight_before + np.concatenate([[0], np.cumsum(people.weight)])
        offset = bits(mix(np.array([day], np.uint64), self.salt["person"]), 0, 16)[0] / 65_536
        reached = np.floor(before * (self.actions[day] / whole) + offset).astype(np.int64)
        reached[before == whole] = self.actions[day]
        acts: I64 = np.diff(reached)
        return acts

    def _allowed(self, behaviour: U8, place: I64, who: I64, people: People, day: int) -> U8:
        """Keep clear of caps: what a person may not do so often becomes the scenario's fallback."""
        tables = self.tables
        limited = (tables.at_most < MOST_ACTS) | (tables.every > 1)
        rare = np.flatnonzero(limited[behaviour])
        if not len(rare):
            return behaviour
        what = behaviour[rare]
        turn = (day + (people.draw[who[rare]] >> np.uint64(58)).astype(np.int64)) % tables.every[what]
        excess = rare[(place[rare] >= tables.at_most[what]) | (turn > 0)]
        behaviour[excess] = tables.behaviour_code(tables.scenario.fallback)
        return behaviour


def _apportioned(total: int, weights: list[int]) -> list[int]:
    """``total`` cut in proportion to the weights, so that the parts add up to it."""
    whole, reached, parts = sum(weights), 0, []
    for weight in weights:
        before = reached
        reached += weight
        parts.append(total * reached // whole - total * before // whole)
    return parts
