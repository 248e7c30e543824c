"""The checks of the catalogue's registers: files, behaviours, sources, factors, ceilings and programmes.

:class:`Registers` also holds what every check shares: where problems are noted, and how a reference is followed.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.factors import Factor, Period
from tanzhang.core.formula import decimal_text
from tanzhang.core.grade import band_mistakes
from tanzhang.core.methodology import Methodology
from tanzhang.core.programme import at_once_problems
from tanzhang.core.region import contains
from tanzhang.service.catalogue_numbers import SNAPSHOT
from tanzhang.stores.catalogue import Survey, kind_of
from tanzhang.stores.grading import read_grading
from tanzhang.stores.guard import read_guard
from tanzhang.stores.scenario import read_scenario
from tanzhang.stores.yaml_text import Document

SLOTS = 40  # T/ACEF 031-2022 recommends 40 behaviours
_UNPARSED = ("yaml-malformed", "not-utf-8")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most milligrams that a saving may come to for each whole number of an input."""

    id: str
    behaviours: frozenset[str]
    input: str
    limit: Fraction
    factor: str


class Dated(Protocol):
    """A version of something that has one file a version."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def valid(self) -> Period: ...


class Registers:
    """What is known of a catalogue under check, the problems noted so far, and the checks of its registers."""

    def __init__(self, found: Survey) -> None:
        self.found = found
        self.known = found.catalogue
        self.problems: list[Problem] = list(found.problems)
        self.counts: dict[str, int] = {f"{kind}_files": number for kind, number in found.counts.items()}
        self.counts |= dict.fromkeys(("factor_values", "variants", "plans", "cases", "partners"), 0)
        self.files = set(self.known.find("**/*.yaml"))
        self.factor_ids = {factor_id_of(relative) for relative in self.files if kind_of(relative) == "factor"}
        self.used_factors: set[str] = set()
        self.unitless: set[str] = set()  # factors whose unit is none; noted where it is written
        self.uncomputable: set[str] = set()  # versions whose cases would only repeat a mistake found before
        self.used_sources: set[str] = set()
        # A register that cannot even be parsed would make every reference to it look wrong.
        unparsed = {problem.where.split(":")[0] for problem in found.problems if problem.code in _UNPARSED}
        self.sources_known = not any(kind_of(relative) == "sources" for relative in unparsed)
        self.behaviours_known = "behaviours.yaml" not in unparsed
        self.units_known = "units.yaml" in found.documents
        self.methodologies: dict[str, tuple[Methodology, Document]] = {}
        for relative, document in found.of_kind("methodology"):
            version = next(m for m in self.known.methodologies(relative.split("/")[2]) if m.where == document.where())
            self.methodologies[relative] = version, document

    def _note(self, code: str, message: str, where: str, remedy: str) -> None:
        self.problems.append(Problem(code, message, where, remedy))

    # -- files and registers

    def _files(self) -> None:
        for folder in self.known.folders:
            for path in sorted(folder.rglob("*")):
                relative = path.relative_to(folder)
                if not path.is_file() or any(part.startswith(".") for part in relative.parts):
                    continue
                if not _belongs(relative.as_posix(), shipped=folder == self.known.folders[0]):
                    self._note(
                        "unknown-file",
                        "no kind of catalogue file lives at this path, so nothing reads it",
                        relative.as_posix(),
                        "move it where README.md says (methodologies/<publisher>/<behaviour>/v<N>.yaml, "
                        "factors/<group>/<name>.yaml ...), or take it out of the folder",
                    )

    def _behaviours(self) -> None:
        document = self.found.documents.get("behaviours.yaml")
        if document is None:
            return
        data = document.data
        self.counts |= {"behaviours": len(data["behaviours"]), "slots": len(data["slots"])}
        for index, slot in enumerate(data["slots"]):
            if slot["slot"] != index + 1:
                self._note(
                    "slot-number",
                    f"slot {slot['slot']} stands where slot {index + 1} belongs",
                    document.where("slots", index, "slot"),
                    f"number the slots from 1 to {SLOTS}, in order, each once",
                )
        for part in ("categories", "behaviours"):
            self._unique(document, part, [entry["id"] for entry in data[part]])
        confirmation = {entry["id"]: entry["confirmation"] for entry in data["behaviours"]}
        categories = {entry["id"] for entry in data["categories"]}
        for index, behaviour in enumerate(confirmation):
            if behaviour.split(".")[0] not in categories:
                where = document.where("behaviours", index, "id")
                self._note(
                    "unknown-category", f"{behaviour} is in no category", where, "add the category, or rename it"
                )
        taken: dict[str, int] = {}
        for index, slot in enumerate(data["slots"]):
            behaviour = slot["behaviour"]
            where = document.where("slots", index, "behaviour")
            if behaviour is None:
                continue
            if behaviour not in confirmation:
                self._unknown_behaviour(behaviour, where)
            elif confirmation[behaviour] != slot["confirmation"]:
                self._note(
                    "confirmation-differs",
                    f"slot {slot['slot']} says {slot['confirmation']}, the behaviour {confirmation[behaviour]}",
                    document.where("slots", index, "confirmation"),
                    "write the weaker of the two in both places unless a text about the standard says more",
                )
            if behaviour in taken:
                message = f"{behaviour} already has slot {taken[behaviour]}"
                self._note("slot-taken", message, where, "a behaviour of the standard has one slot")
            taken.setdefault(behaviour, slot["slot"])
            self._source(slot.get("source"), document.where("slots", index), f"slot {slot['slot']}")
        for index, (behaviour, claimed) in enumerate(confirmation.items()):
            if claimed in ("confirmed", "named") and behaviour not in taken:
                self._note(
                    "slot-missing",
                    f"{behaviour} is called {claimed}, but has no slot of the standard",
                    document.where("behaviours", index, "id"),
                    "give it a slot with its evidence, or call it candidate or outside",
                )

    def _sources(self) -> None:
        self.registered: dict[str, str] = {}
        for _, document in self.found.of_kind("sources"):
            for index, entry in enumerate(document.data):
                where = document.where(index, "id")
                if entry["id"] in self.registered:
                    message = f"source {entry['id']} is registered already at {self.registered[entry['id']]}"
                    self._note("duplicate-id", message, where, "keep one of the two")
                self.registered.setdefault(entry["id"], where)
        self.counts["sources"] = len(self.registered)

    def _unique(self, document: Document, part: str, ids: Sequence[str]) -> None:
        for index, identifier in enumerate(ids):
            if identifier in ids[:index]:
                where = document.where(part, index, "id")
                self._note("duplicate-id", f"{identifier} stands twice under {part}", where, "keep one of the two")

    def _source(self, source: str | None, where: str, user: str) -> None:
        if source is None:
            self._note("source-missing", f"{user} names no source", where, "add source, with an id of sources/")
            return
        self.used_sources.add(source)
        if self.sources_known and source not in self.known.sources:
            self._note(
                "unregistered-source",
                f"{user} cites {source}, which is not registered",
                where,
                f"register the document in sources/ (who issued it, its date, what of it was seen)"
                f"{or_near(source, self.known.sources)}",
            )

    def _behaviour(self, behaviour: str, where: str) -> None:
        if self.behaviours_known and "name" not in self.known.behaviour_names.get(behaviour, {}):
            self._unknown_behaviour(behaviour, where)

    def _unknown_behaviour(self, behaviour: str, where: str) -> None:
        named = [entry for entry, data in self.known.behaviour_names.items() if "name" in data]
        remedy = f"add it to behaviours.yaml{or_near(behaviour, named)}"
        self._note("unknown-behaviour", f"{behaviour} is not a behaviour of the catalogue", where, remedy)

    def _path(self, document: Document, key: str, written: object, expected: object) -> None:
        if written != expected:
            self._note(
                "path-differs",
                f"{key} is {written}, but the file lies where {expected} belongs",
                document.where(key),
                f"write {key}: {expected}, or move the file",
            )

    def _succession(self, found: Mapping[str, Dated], done: str) -> None:
        """What versions of one id say of each other; in a hole between two nothing ``done``."""
        ordered = sorted(found.items(), key=lambda item: (item[1].id, item[1].version))
        for (_, before), (relative, after) in pairwise(ordered):
            if before.id != after.id:
                continue
            document = self.found.documents[relative]
            since = document.data["since_last_version"]
            if before.valid.overlaps(after.valid) or after.valid.start < before.valid.start:
                self._note(
                    "versions-overlap",
                    f"{before.key} is in force on {before.valid} and {after.key} on {after.valid}",
                    document.where("valid"),
                    f"a day has one version: end version {before.version} with until: {after.valid.start}",
                )
            elif (
                before.valid.end and before.valid.end < after.valid.start and not explained(before.valid.end, (since,))
            ):
                self._note(
                    "versions-hole",
                    f"no version of {after.id} is in force on [{before.valid.end}, {after.valid.start})",
                    document.where("valid"),
                    f"let the new version begin on {before.valid.end}, or say in since_last_version why nothing {done} "
                    f"from {before.valid.end}",
                )

    # -- factors

    def _factor(self, series: Factor, expected: str, document: Document) -> None:
        self._path(document, "id", series.id, expected)
        self.counts["factor_values"] += len(series.values)
        if self.units_known:
            try:
                self.known.units.in_base(Fraction(1), series.unit, where=document.where("unit"))
            except TanzhangError as error:
                self.unitless.add(series.id)
                self.problems += error.problems
        low, high = series.plausible
        if low > high:
            message = f"the plausible band runs from {decimal_text(low)} down to {decimal_text(high)}"
            self._note("range-empty", message, document.where("plausible"), "write the smaller number first")
        by_region: dict[str, list[tuple[Period, int]]] = defaultdict(list)
        for index, row in enumerate(series.values):
            by_region[row.region].append((row.period, index))
            self._source(row.source, document.where("values", index, "source"), f"value {row.text}")
            if low <= high and not low <= row.value <= high:
                self._note(
                    "factor-implausible",
                    f"{row.text} {series.unit} lies outside the plausible band "
                    f"{decimal_text(low)} to {decimal_text(high)}",
                    document.where("values", index, "value"),
                    "compare it with the source and its unit once more; if it is right, widen the band",
                )
        if not series.values and not series.gaps:
            where = document.where("values")
            self._note("gap-undeclared", f"{series.id} has no value", where, "say under gaps what was not seen")
        for region, rows in by_region.items():
            rows.sort(key=lambda pair: (pair[0].start, pair[1]))
            for (before, _), (after, index) in pairwise(rows):
                where = document.where("values", index, "applies")
                if before.overlaps(after):
                    self._note(
                        "factor-overlap",
                        f"{series.id} has two values for {region} from {after.start}: {before} and {after}",
                        where,
                        f"close the earlier row with until: {after.start}, or correct the days",
                    )
                elif before.end and before.end < after.start and not explained(before.end, series.gaps):
                    self._note(
                        "factor-hole",
                        f"{series.id} has no value for {region} on [{before.end}, {after.start})",
                        where,
                        f"add the value of these days with its source, or say under gaps why there is none from "
                        f"{before.end}",
                    )

    def _ceilings(self) -> Iterator[Ceiling]:
        document = self.found.documents.get("ceilings.yaml")
        if document is None:
            return
        entries = document.data
        self.counts["ceilings"] = len(entries)
        for index, entry in enumerate(entries):
            if entry["id"] in [other["id"] for other in entries[:index]]:
                where = document.where(index, "id")
                self._note("duplicate-id", f"ceiling {entry['id']} stands twice", where, "keep one of the two")
            for place, behaviour in enumerate(entry["behaviours"]):
                self._behaviour(behaviour, document.where(index, "behaviours", place))
            series = self._series(entry["ceiling_factor"], document.where(index, "ceiling_factor"))
            if series is None or not series.values or not self.units_known or series.id in self.unitless:
                continue
            highest = max(row.value for row in series.values)
            where = document.where(index, "ceiling_unit")
            try:
                limit = self.known.units.to_base(highest, series.unit, entry["ceiling_unit"], where=where)
            except TanzhangError as error:
                self.problems += error.problems
                continue
            yield Ceiling(entry["id"], frozenset(entry["behaviours"]), entry["input"], limit, series.id)

    def _series(self, factor_id: str, where: str) -> Factor | None:
        """The series by id; None, and noted, where there is none, and None where its file is reported already."""
        self.used_factors.add(factor_id)
        if factor_id not in self.factor_ids:
            remedy = f"add the file at factors/{factor_id.replace('.', '/')}.yaml{or_near(factor_id, self.factor_ids)}"
            self._note("unknown-factor", f"no factor series {factor_id}", where, remedy)
            return None
        relative = f"factors/{factor_id.replace('.', '/')}.yaml"
        return self.known.factor(factor_id) if relative in self.found.documents else None

    # -- programmes

    def _programme(self, relative: str, document: Document) -> None:
        programme = self.known.programme(Path(relative).stem)
        self._path(document, "id", programme.id, Path(relative).stem)
        self.counts["partners"] += len(programme.partners)
        for index, partner in enumerate(document.data["partners"]):
            for place, behaviour in enumerate(partner.get("behaviours", ())):
                self._behaviour(behaviour, document.where("partners", index, "behaviours", place))
        caps = document.data.get("caps", [])
        self._unique(document, "caps", [cap["id"] for cap in caps])
        for index, cap in enumerate(caps):
            for place, behaviour in enumerate(cap["behaviours"]):
                self._behaviour(behaviour, document.where("caps", index, "behaviours", place))
        families = {methodology.activity_family for methodology, _ in self.methodologies.values()}
        for family in programme.windows:
            if family not in families and not self._broken("methodology"):
                self._note(
                    "unknown-family",
                    f"no methodology has the activity family {family}",
                    document.where("windows", family),
                    f"take the line out{or_near(family, families)}",
                )
        if not self._broken("methodology"):
            listed = (each for each, _ in self.methodologies.values() if each.id in programme.methodologies)
            for problem in at_once_problems(programme, listed, document.where("at_once") if programme.at_once else ""):
                self._note(problem.code, problem.message, problem.where, problem.remedy)
        kept = programme.retention
        if kept.requests is not None and (kept.answers is None or kept.answers > kept.requests):
            self._note(
                "retention-order",
                "answers are kept for longer than the requests that they answer",
                document.where("retention", "requests"),
                "keep requests at least as long as answers; without the request nobody can ask for its answer",
            )
        for index, entry in enumerate(document.data["methodologies"]):
            if entry.endswith(".*"):
                continue
            regions = {region for m, _ in self.methodologies.values() if m.id == entry for region in m.regions}
            if regions and not any(contains(a, programme.region) or contains(programme.region, a) for a in regions):
                self._note(
                    "methodology-elsewhere",
                    f"{entry} is for {', '.join(sorted(regions))}, never for {programme.region}",
                    document.where("methodologies", index),
                    "take it out of the list, or correct the region",
                )

        for index, scheme in enumerate(document.data.get("grading", [])):
            if f"grades/{scheme}.yaml" not in self.files:
                known = [Path(each).stem for each in self.files if kind_of(each) == "grading"]
                remedy = f"add the file at grades/{scheme}.yaml{or_near(scheme, known)}"
                self._note("unknown-grading", f"no grading scheme {scheme}", document.where("grading", index), remedy)
        for index, badge in enumerate(document.data.get("badges", [])):
            if f"badges/{badge}.yaml" not in self.files:
                known = [Path(each).stem for each in self.files if kind_of(each) == "badge"]
                remedy = f"add the file at badges/{badge}.yaml{or_near(badge, known)}"
                self._note("unknown-badge", f"no badge {badge}", document.where("badges", index), remedy)
        known = sorted({each.split("/")[1] for each in self.files if kind_of(each) == "points"})
        for index, points in enumerate(programme.points):
            if points not in known:
                remedy = f"add the file at points/{points}/v1.yaml{or_near(points, known)}"
                where = document.where("points", index)
                self._note("unknown-points-programme", f"no points programme {points}", where, remedy)
        guard = document.data.get("guard")
        if guard is not None and f"guard/{guard}.yaml" not in self.files:
            known = [Path(each).stem for each in self.files if kind_of(each) == "guard"]
            remedy = f"add the file at guard/{guard}.yaml{or_near(guard, known)}"
            self._note("unknown-guard", f"there is no guard {guard}", document.where("guard"), remedy)
        market = programme.market
        known = sorted({each.split("/")[1] for each in self.files if kind_of(each) == "market"})
        if market is not None and market not in known:
            remedy = f"add the file at market/{market}/v1.yaml{or_near(market, known)}"
            self._note("unknown-market", f"there are no market rules {market}", document.where("market"), remedy)

    # -- badges

    def _badge(self, relative: str, document: Document) -> None:
        """What a badge refers to: behaviours, and a source unless it is an example."""
        data = document.data
        self._path(document, "id", data["id"], Path(relative).stem)
        if "source" in data:
            self._source(data["source"], document.where("source"), f"badge {data['id']}")
        if "behaviour" in data["rule"]:
            self._behaviour(data["rule"]["behaviour"], document.where("rule", "behaviour"))
        for index, behaviour in enumerate(data["rule"].get("among", ())):
            self._behaviour(behaviour, document.where("rule", "among", index))

    # -- guards

    def _guard(self, relative: str, document: Document) -> None:
        """That every rule can be read, and names behaviours there are."""
        self._path(document, "id", document.data["id"], Path(relative).stem)
        try:
            guard = read_guard(document)
        except TanzhangError as error:
            self.problems += error.problems
            return
        for number, rule in enumerate(guard.rules):
            named = {*(rule.behaviours or ()), *getattr(rule.test, "most_dm_per_s", {})}
            for name in sorted(named - self.known.behaviour_names.keys()):
                where = document.where("rules", number)
                self._note("unknown-behaviour", f"{name} is not a behaviour of the catalogue", where, "correct the id")

    # -- grading schemes

    def _grading(self, relative: str, document: Document) -> None:
        """Both edges of every band, and that nothing between two bands is left unsaid."""
        data = document.data
        self._path(document, "id", data["id"], Path(relative).stem)
        self._source(data["source"], document.where("source"), f"grading {data['id']}")
        self._unique(document, "bands", [band["id"] for band in data["bands"]])
        try:
            scheme = read_grading(document)
        except TanzhangError as error:
            self.problems += error.problems
            return
        for code, message, number in band_mistakes(scheme.bands, scheme.gaps):
            remedy = "state both edges of each band; what the source leaves open is a gap, with why"
            self._note(code, message, document.where("bands", number, "from"), remedy)
        if bool(scheme.bands) != (scheme.measure is not None):
            remedy = "a scheme whose thresholds are not known has measure null and no bands"
            self._note(
                "grade-measure", f"{scheme.id} has bands, or a measure, alone", document.where("measure"), remedy
            )
        unsaid = not scheme.bands or scheme.measure is None or scheme.period is None
        if unsaid and not scheme.unknown:
            remedy = "say under unknown what was not seen"
            self._note("gap-undeclared", f"{scheme.id} leaves something open", document.where("unknown"), remedy)

    # -- scenarios

    def _scenario(self, relative: str, document: Document) -> None:
        """What a scenario refers to; whether its acts can be quantified is found when it is simulated."""
        self._path(document, "id", document.data["id"], Path(relative).stem)
        try:
            read_scenario(document)
        except TanzhangError as error:
            self.problems += error.problems
        for place, behaviour in enumerate(document.data["mix"]["behaviours"]):
            self._behaviour(behaviour["id"], document.where("mix", "behaviours", place, "id"))
        for key, part in document.data.items():
            if isinstance(part, dict) and part.get("basis") == "published":
                self._source(part["source"], document.where(key, "source"), f"{key} of {document.data['id']}")
        programme = document.data["programme"]
        if f"programmes/{programme}.yaml" not in self.files:
            near = or_near(programme, self.known.programme_ids())
            where = document.where("programme")
            self._note("unknown-programme", f"no programme {programme}", where, f"correct the id{near}")

    # -- the whole

    def _broken(self, kind: str) -> bool:
        return any(kind_of(relative) == kind for relative in self.found.texts)

    def _unused(self) -> None:
        """What nothing refers to; a mention in a file that cannot be read counts as a use."""
        elsewhere = list(self.found.texts.values())
        for relative, document in self.found.of_kind("factor"):
            factor_id = factor_id_of(relative)
            if factor_id not in self.used_factors and not any(factor_id in text for text in elsewhere):
                where = document.where("id")
                remedy = "use it in a methodology, or take the file out"
                self._note("unused-factor", f"nothing uses factor {factor_id}", where, remedy)
        for source, where in self.registered.items():
            if source not in self.used_sources and not any(source in text for text in elsewhere):
                remedy = "cite it where its numbers stand, or take it out of the register"
                self._note("unused-source", f"nothing cites source {source}", where, remedy)


def _belongs(relative: str, *, shipped: bool) -> bool:
    if kind_of(relative) or relative.endswith(".md") or relative == SNAPSHOT:
        return True
    return shipped and relative.startswith("schemas/") and relative.endswith(".schema.json")


def factor_id_of(relative: str) -> str:
    """The id that a factor's path gives it."""
    return relative[8:-5].replace("/", ".")


def or_near(word: str, known: Iterable[str]) -> str:
    """The end of a remedy that names the closest known word, if one is close."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def explained(first_day: date, texts: Iterable[str]) -> bool:
    """Whether a declared gap names the first day that is missing."""
    return any(first_day.isoformat() in text for text in texts)
