"""Rows as Arrow columns: each partner's reports in the platform's own schema, and the truth beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tanzhang.engine.simulate.acts import NEVER, Rows, Season
from tanzhang.engine.simulate.draws import I64, U8, U64, Flags, mix, texts, validity
from tanzhang.engine.simulate.plant import Planter, Truth

MOMENT = pa.timestamp("us", "UTC")
_CODED = pa.dictionary(pa.int8(), pa.string())
NOBODY = np.uint8(255)  # partner of a row that stands in no file of this day
GARBLED = "garbled"  # column for writers of texts; never part of a file


def report_schema(season: Season, partner: str) -> pa.Schema:
    """The columns of one partner's files: those that its behaviours, or what is planted on them, ever fill."""
    tables = season.tables
    trips = any(
        each.trip and partner in {*(c.partner for c in each.channels), *(w.partner for w in each.witnesses)}
        for each in tables.scenario.behaviours
    )
    names = ["id", "type", "subject", "time", "region", "evidence", "claim_issuer", "claim_identifier", "withdraws"]
    names += ["started_at", "group"] if trips else []
    kinds = {"time": MOMENT, "started_at": MOMENT}
    coded = {"type", "region", "evidence", "claim_issuer"}
    fields = [pa.field(name, kinds.get(name, _CODED if name in coded else pa.string())) for name in names]
    fields += [pa.field(name, pa.int64()) for name in _inputs_of(season, partner)]
    if season.size.text:
        fields.append(pa.field(GARBLED, pa.uint8()))
    return pa.schema(fields)


def _inputs_of(season: Season, partner: str) -> list[str]:
    tables, names = season.tables, set()
    for each in tables.scenario.behaviours:
        if partner in {*(c.partner for c in each.channels), *(w.partner for w in each.witnesses)}:
            names.add(each.input)
    for cheat in tables.scenario.cheats:
        imitated = next(each for each in tables.scenario.behaviours if each.id == cheat.of)
        if partner in ({cheat.partner} if cheat.partner else {c.partner for c in imitated.channels}):
            names.add(cheat.input)
    return sorted(names | ({"count"} if names == set() else set()))


class Renderer:
    """Turns rows into record batches, a batch per partner."""

    def __init__(self, season: Season) -> None:
        self.season = season
        tables = season.tables
        self.schemas = {partner: report_schema(season, partner) for partner in tables.partners}
        self.partners = pa.array(tables.partners)
        self.behaviours = pa.array(tables.behaviours)
        self.regions = pa.array(tables.regions)
        self.evidences = pa.array(tables.evidences)
        self.issuers = pa.array(tables.issuers)

    def by_partner(self, rows: Rows, moved: Flags | None = None) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of each partner in the order given; rows that ``moved`` elsewhere are left out."""
        partner = rows.partner if moved is None else np.where(moved, NOBODY, rows.partner)
        order = np.argsort(partner, kind="stable")
        codes = np.arange(len(self.schemas) + 1, dtype=np.int64)
        ends = np.searchsorted(partner[order], codes)
        rows = rows.take(order[: ends[-1]])
        columns = self._columns(rows)
        for code, (name, schema) in enumerate(self.schemas.items()):
            start, end = int(ends[code]), int(ends[code + 1])
            if start == end:
                continue
            own = {field: column.slice(start, end - start) for field, column in columns.items()}
            quantity, behaviour = rows.quantity[start:end], rows.behaviour[start:end]
            for field in schema.names:
                if field not in own:
                    own[field] = self._input(field, quantity, behaviour)
            yield name, pa.RecordBatch.from_arrays([own[field] for field in schema.names], schema=schema)

    def _columns(self, rows: Rows) -> dict[str, pa.Array]:
        """Every column but the inputs."""
        season = self.season
        columns = {
            "id": self.references(rows.partner, rows.number),
            "type": coded(rows.behaviour, self.behaviours),
            "subject": texts(
                self.subjects(rows.partner, rows.person), known=None if rows.nameless is None else ~rows.nameless
            ),
            "time": moments(rows.ended),
            "region": coded(rows.region, self.regions),
            "evidence": coded(rows.evidence, self.evidences),
            "claim_issuer": coded(rows.issuer, self.issuers, rows.issuer > 0),
            "claim_identifier": _some(rows.claim, season.salt["claim"]),
            "withdraws": self._withdrawn(rows),
            "started_at": moments(rows.started),
            "group": _some(rows.group, season.salt["group"], len(rows)),
        }
        if season.size.text:
            garbled = np.zeros(len(rows), np.uint8) if rows.garbled is None else rows.garbled
            columns[GARBLED] = whole(garbled, pa.uint8())
        return columns

    def references(self, partner: U8, number: U64, known: Flags | None = None) -> pa.Array:
        """The partner's reference of each number."""
        lead = self.season.tables.prefixes[partner]
        return texts(mix(number, self.season.salt["reference"]), known=known, prefixes=lead)

    def subjects(self, partner: U8, person: U64) -> U64:
        """The number of each person's account with a partner, another one with each partner."""
        salts = self.season.subject_salt[partner]
        return mix(person ^ salts, np.uint64(0))

    def _withdrawn(self, rows: Rows) -> pa.Array:
        if rows.withdraws is None:
            return pa.nulls(len(rows), pa.string())
        return self.references(rows.partner, rows.withdraws, rows.withdraws > 0)

    def _input(self, name: str, quantity: I64, behaviour: U8) -> pa.Array:
        tables = self.season.tables
        code = tables.input_names.index(name)
        known = (tables.inputs[behaviour] == code) & (quantity != NEVER)
        return whole(quantity, pa.int64(), known)


def whole(numbers: npt.NDArray[np.integer], kind: pa.DataType, known: Flags | None = None) -> pa.Array:
    """Numbers as they lie in memory; NULL where not ``known``."""
    return pa.Array.from_buffers(kind, len(numbers), [validity(known), pa.py_buffer(np.ascontiguousarray(numbers))])


def coded(codes: U8, names: pa.Array, known: Flags | None = None) -> pa.DictionaryArray:
    """Codes as texts that are stored once; NULL where not ``known``."""
    return pa.DictionaryArray.from_arrays(whole(codes, pa.int8(), known), names)


def moments(us: I64) -> pa.Array:
    """Microseconds as moments; NULL where there is none."""
    known = us != NEVER
    return whole(us, MOMENT, None if known.all() else known)


def _some(numbers: U64 | None, salt: np.uint64, count: int = 0) -> pa.Array:
    """Texts of numbers of which many are none."""
    if numbers is None:
        return pa.nulls(count, pa.string())
    return texts(mix(numbers, salt), known=numbers > 0)


TRUTH_SCHEMA = pa.schema(
    [
        ("partner", _CODED),
        ("id", pa.string()),
        ("kind", _CODED),
        ("expected", _CODED),
        ("expected_at_once", _CODED),
        ("related_partner", _CODED),
        ("related_id", pa.string()),
    ]
)


def truth_batch(renderer: Renderer, planter: Planter, truth: Truth) -> pa.RecordBatch:
    """What is known of planted rows, in the columns of the truth file."""
    verdicts = pa.array(planter.verdicts)
    related = truth.related > 0
    columns = [
        coded(truth.partner, renderer.partners),
        renderer.references(truth.partner, truth.number),
        coded(truth.kind, pa.array(planter.kinds_written)),
        coded(truth.expected, verdicts),
        coded(truth.at_once, verdicts),
        coded(truth.related_partner, renderer.partners, related),
        renderer.references(truth.related_partner, truth.related, related),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=TRUTH_SCHEMA)


LINKS_SCHEMA = pa.schema(
    [
        ("partner", _CODED),
        ("subject", pa.string()),
        ("with_partner", _CODED),
        ("with_subject", pa.string()),
        ("valid_from", pa.date32()),
    ]
)


def links_batch(renderer: Renderer, position: int) -> pa.RecordBatch:
    """The links of one slice of people: each linked person's travel platforms, to the first of them."""
    season = renderer.season
    tables, people = season.tables, season.people(position)
    linked = np.flatnonzero(season.linked(people.draw))
    draw, person = people.draw[linked], people.number[linked]
    used: list[U8] = []
    for code, behaviour in enumerate(tables.scenario.behaviours):
        if behaviour.trip:
            channel = season.channel_of(draw, np.full(len(draw), code, np.uint8))
            used.append(tables.channel_partner[channel])
    main = used[0]
    used.append(np.full(len(draw), tables.partner_code(tables.scenario.map_app), np.uint8))
    parts: list[tuple[npt.NDArray[np.int64], U8]] = []
    taken = [main]
    for partner in used[1:]:
        new = np.flatnonzero(np.all([partner != before for before in taken], axis=0))
        parts.append((new, partner[new]))
        taken.append(partner)
    who = np.concatenate([place for place, _ in parts])
    child = np.concatenate([partner for _, partner in parts])
    order = np.argsort(who, kind="stable")
    who, child = who[order], child[order]
    first = np.datetime64(season.days[0], "D").astype(np.int32)
    columns = [
        coded(child, renderer.partners),
        texts(renderer.subjects(child, person[who])),
        coded(main[who], renderer.partners),
        texts(renderer.subjects(main[who], person[who])),
        whole(np.full(len(who), first, np.int32), pa.date32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LINKS_SCHEMA)
