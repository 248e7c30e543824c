"""The catalogue as its readers and authors see it: check every file, list it, show one entry, resolve it for a day.

:func:`check_catalogue` finds every mistake of every file at once. :func:`snapshot` writes every number the catalogue
resolves to, one a line, so that the review of a changed factor shows each number it moves.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from tanzhang.core.action import DEFAULT_EVIDENCE, ELAPSED
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.factors import Factor, Period
from tanzhang.core.formula import decimal_text
from tanzhang.core.methodology import ROUNDING, Choice, Methodology, ParameterRule, Plan
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.core.region import ancestors, check_region, contains
from tanzhang.engine.reference import quantify_act
from tanzhang.engine.sql import compile_condition, compile_mg
from tanzhang.service.quantify import describe_plan, refusal
from tanzhang.stores.catalogue import Catalogue, Survey, kind_of, survey
from tanzhang.stores.yaml_text import Document

SNAPSHOT = "snapshot.txt"
SLOTS = 40  # T/ACEF 031-2022 recommends 40 behaviours

# Inputs at which a snapshot shows a result, beside the smallest allowed; moved into the methodology's range.
_REFERENCE = {
    "distance_m": 10_000,
    "energy_wh": 1_000,
    "mass_g": 1_000,
    "volume_ml": 1_000,
    "duration_s": 3_600,
    "steps": 1_000,
    "count": 1,
    "amount_fen": 10_000,
    "occupants": 3,
}
_ELAPSED_RANGE = (0, 400 * 86_400)  # seconds; the longest act that screening lets through, and more
_RULE = "rule of the scheme"  # how the reason of an input begins that only limits which acts count


# -- the check -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CatalogueReport:
    """What was looked at, and every mistake found, in order of file and line."""

    counts: Mapping[str, int]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_catalogue(catalogue: Catalogue) -> CatalogueReport:
    """Check every file of every folder of a catalogue and everything that follows from them; raises nothing.

    A file that cannot be read is reported and left out; what rests on it is not reported a second time.
    """
    return _Check(survey(catalogue)).run()


class _Check:
    """One run. Each method looks at one kind of thing and notes what is wrong with it."""

    def __init__(self, found: Survey) -> None:
        self.found = found
        self.known = found.catalogue
        self.problems: list[Problem] = list(found.problems)
        self.counts: dict[str, int] = {f"{kind}_files": number for kind, number in found.counts.items()}
        self.counts |= dict.fromkeys(("factor_values", "variants", "plans", "cases", "partners"), 0)
        self.factor_ids = set(self.known.factor_ids())
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

    def run(self) -> CatalogueReport:
        """Everything, in the order in which a mistake is best understood."""
        self._files()
        self._behaviours()
        self._sources()
        for relative, document in self.found.of_kind("factor"):
            self._factor(self.known.factor(_factor_id(relative)), _factor_id(relative), document)
        ceilings = list(self._ceilings())
        for relative, (methodology, document) in self.methodologies.items():
            self._methodology(relative, methodology, document, ceilings)
        self._versions()
        for relative, document in self.found.of_kind("cases"):
            self._cases(relative, document)
        for relative, document in self.found.of_kind("programme"):
            self._programme(relative, document)
        self._unused()
        if not self.problems and len(self.known.folders) == 1:
            self._snapshot()
        distinct = sorted(set(self.problems), key=_reading_order)
        return CatalogueReport(self.counts, tuple(distinct))

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
                f"{_or_near(source, self.known.sources)}",
            )

    def _behaviour(self, behaviour: str, where: str) -> None:
        if self.behaviours_known and "name" not in self.known.behaviour_names.get(behaviour, {}):
            self._unknown_behaviour(behaviour, where)

    def _unknown_behaviour(self, behaviour: str, where: str) -> None:
        named = [entry for entry, data in self.known.behaviour_names.items() if "name" in data]
        remedy = f"add it to behaviours.yaml{_or_near(behaviour, named)}"
        self._note("unknown-behaviour", f"{behaviour} is not a behaviour of the catalogue", where, remedy)

    def _path(self, document: Document, key: str, written: object, expected: object) -> None:
        if written != expected:
            self._note(
                "path-differs",
                f"{key} is {written}, but the file lies where {expected} belongs",
                document.where(key),
                f"write {key}: {expected}, or move the file",
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
                elif before.end and before.end < after.start and not _explained(before.end, series.gaps):
                    self._note(
                        "factor-hole",
                        f"{series.id} has no value for {region} on [{before.end}, {after.start})",
                        where,
                        f"add the value of these days with its source, or say under gaps why there is none from "
                        f"{before.end}",
                    )

    def _ceilings(self) -> Iterator[_Ceiling]:
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
            yield _Ceiling(entry["id"], frozenset(entry["behaviours"]), entry["input"], limit, series.id)

    def _series(self, factor_id: str, where: str) -> Factor | None:
        """The series by id; None, and noted, where there is none, and None where its file is reported already."""
        self.used_factors.add(factor_id)
        if factor_id not in self.factor_ids:
            remedy = f"add the file at factors/{factor_id.replace('.', '/')}.yaml{_or_near(factor_id, self.factor_ids)}"
            self._note("unknown-factor", f"no factor series {factor_id}", where, remedy)
            return None
        relative = f"factors/{factor_id.replace('.', '/')}.yaml"
        return self.known.factor(factor_id) if relative in self.found.documents else None

    # -- methodologies

    def _methodology(
        self, relative: str, methodology: Methodology, document: Document, ceilings: Sequence[_Ceiling]
    ) -> None:
        _, publisher, behaviour, name = relative.split("/")
        self._path(document, "id", methodology.id, f"{publisher}.{behaviour}")
        self._path(document, "behaviour", methodology.behaviour, behaviour)
        self._path(document, "version", methodology.version, int(name[1:-5]))
        self._behaviour(methodology.behaviour, document.where("behaviour"))
        self._source(methodology.source, document.where("source"), methodology.key)
        if relative.replace(".yaml", ".cases.yaml") not in self.known.find("methodologies/*/*/*.cases.yaml"):
            where = document.where()
            remedy = f"add {name[:-5]}.cases.yaml beside it: inputs, day, region, and what a person computed by hand"
            self._note("cases-missing", f"{methodology.key} has no worked cases", where, remedy)
        self._words(methodology, document)
        self._ranges(methodology, document)
        if self._parameters(methodology, document):
            self._plans(methodology, document, ceilings)

    def _words(self, methodology: Methodology, document: Document) -> None:
        """What can be wrong with one word of a version: its rounding, shares, caps."""
        wanted = ROUNDING[methodology.kind]
        if methodology.rounding != wanted:
            self._note(
                "rounding-direction",
                f"{_a(methodology.kind)} is rounded {methodology.rounding}",
                document.where("rounding"),
                f"write rounding: {wanted}, so that rounding never creates credit",
            )
        for name, share in methodology.evidence.items():
            if not 0 <= share <= 1:
                message = f"evidence class {name} counts with {decimal_text(share)}"
                where = document.where("evidence", name)
                self._note("evidence-share", message, where, "write a share from 0 to 1")
        self._unique(document, "caps", [cap.id.split(":")[1] for cap in methodology.caps])
        for index, cap in enumerate(methodology.caps):
            if cap.source is not None:
                self._source(cap.source, document.where("caps", index, "source"), f"cap {cap.id}")

    def _ranges(self, methodology: Methodology, document: Document) -> None:
        for name, rule in methodology.inputs.items():
            if rule.minimum > rule.maximum:
                self._note(
                    "range-empty",
                    f"{name} runs from {rule.minimum} down to {rule.maximum}",
                    document.where("inputs", name, "min"),
                    "min is the smallest accepted value, max the largest",
                )
            elif rule.default is not None and not rule.minimum <= rule.default <= rule.maximum:
                self._note(
                    "default-outside",
                    f"{name} is {rule.default} where it is not reported, outside {rule.minimum} to {rule.maximum}",
                    document.where("inputs", name, "default"),
                    "choose a default inside the range, or leave it out",
                )

    def _parameters(self, methodology: Methodology, document: Document) -> bool:
        """Names, units and factors of a version; whether its plans can be made."""
        before = len(self.problems)
        places = {name: ("parameters", name) for name in methodology.parameters}
        self._rules(methodology, methodology.parameters, document, ("parameters",))
        for variant in methodology.variants.values():
            self._rules(methodology, variant.parameters, document, ("variants", variant.id, "parameters"))
        self.counts["variants"] += len(methodology.variants)
        guards = [guard.formula for guard in methodology.guards]
        used = methodology.formula.names.union(*(guard.names for guard in guards))
        for variant_id in methodology.variants or (None,):
            rules = _rules_of(methodology, variant_id)
            names = {*methodology.inputs, *rules}
            inside = f" (variant {variant_id})" if variant_id else ""
            if {*methodology.inputs} & {*rules}:
                double = ", ".join(sorted({*methodology.inputs} & {*rules}))
                where = document.where("inputs")
                self._note("name-twice", f"{double} is both an input and a parameter", where, "rename the parameter")
            for name in sorted(methodology.formula.names - names):
                self._unknown_name(name, names, document.where("formula"), inside)
            for index, guard in enumerate(guards):
                for name in sorted(guard.names - names - {ELAPSED}):
                    where = document.where("guards", index, "holds")
                    self._unknown_name(name, names | {ELAPSED}, where, inside)
            for name in rules:
                if name not in used:
                    place = places.get(name, ("variants", variant_id or "", "parameters", name))
                    self._note(
                        "unused-parameter",
                        f"parameter {name} is in no formula",
                        document.where(*place),
                        "use it in the formula, or take it out",
                    )
        for name, rule in methodology.inputs.items():
            if name not in used and not rule.why.startswith(_RULE):
                self._note(
                    "unused-input",
                    f"input {name} is in no formula",
                    document.where("inputs", name),
                    f"use it in the formula or a guard, or take it out; an input that only limits which acts count "
                    f"says so: why: '{_RULE}: ...'",
                )
        if len(self.problems) == before and self.units_known:
            self._units(methodology, document)
        return len(self.problems) == before and self.units_known and self._readable(methodology)

    def _rules(
        self, methodology: Methodology, rules: Mapping[str, ParameterRule], document: Document, place: tuple[str, ...]
    ) -> None:
        for name, rule in rules.items():
            if rule.factor is None:
                self._source(rule.source, document.where(*place, name, "source"), f"parameter {name}")
                continue
            series = self._series(rule.factor, document.where(*place, name, "factor"))
            if series is None or not self.units_known or series.id in self.unitless:
                continue
            try:
                self.known.units.to_base(
                    Fraction(1), series.unit, rule.unit, where=document.where(*place, name, "unit")
                )
            except TanzhangError as error:
                self.problems += error.problems

    def _unknown_name(self, name: str, names: Iterable[str], where: str, inside: str) -> None:
        message = f"{name} is neither an input nor a parameter{inside}"
        if name == ELAPSED:
            remedy = "the time an act took may stand in guards only: a partner need not report when it began"
        else:
            remedy = f"declare it under inputs or parameters; known here are {', '.join(sorted(names))}"
        self._note("unknown-name", message, where, remedy + _or_near(name, names))

    def _units(self, methodology: Methodology, document: Document) -> None:
        for variant_id in methodology.variants or (None,):
            units = {name: rule.unit for name, rule in _rules_of(methodology, variant_id).items()}
            try:
                self.known.units.check(
                    methodology.formula, units, f"mg_{methodology.gases}", where=document.where("formula")
                )
            except TanzhangError as error:
                self.problems += error.problems

    def _readable(self, methodology: Methodology) -> bool:
        ids = {rule.factor for rule in _all_rules(methodology) if rule.factor is not None}
        return not ids & self.unitless and all(
            f"factors/{factor_id.replace('.', '/')}.yaml" in self.found.documents for factor_id in ids
        )

    def _plans(self, methodology: Methodology, document: Document, ceilings: Sequence[_Ceiling]) -> None:
        noted: set[str] = set()
        resolved = 0
        for cell in _cells(self.known, methodology):
            if cell.plan is None:
                continue
            resolved += 1
            for problem in _bounds_problems(cell.plan, document):
                if problem.code not in noted:
                    noted.add(problem.code)
                    self.problems.append(replace(problem, message=f"{problem.message} ({cell.named})"))
            for ceiling in ceilings:
                if noted or methodology.kind != "reduction" or methodology.behaviour not in ceiling.behaviours:
                    continue
                most = _most_per_unit(cell.plan, ceiling.input)
                if most is not None and most > ceiling.limit:
                    noted.add("ceiling-exceeded")
                    self._note(
                        "ceiling-exceeded",
                        f"{methodology.key} saves {decimal_text(most)} mg for each {ceiling.input} ({cell.named}), "
                        f"more than {decimal_text(ceiling.limit)} mg, the highest value of {ceiling.factor}",
                        document.where("formula"),
                        f"check the value and its unit; ceiling {ceiling.id} of ceilings.yaml says why",
                    )
        self.counts["plans"] += resolved
        if not resolved and methodology.status != "draft":
            self._note(
                "never-computes",
                f"no act can be quantified by {methodology.key}: its factors have no value for its regions and days",
                document.where("status"),
                "correct regions or days, add the values, or call it draft until they are known",
            )
        for index, rule in enumerate(methodology.guards):
            ranges = {name: (entry.minimum, entry.maximum) for name, entry in methodology.inputs.items()}
            ranges[ELAPSED] = _ELAPSED_RANGE
            if rule.formula.names <= ranges.keys():
                where = document.where("guards", index, "holds")
                try:
                    compile_condition(rule.formula, {}, ranges, where=where)
                except TanzhangError as error:
                    self.problems += error.problems

    def _versions(self) -> None:
        versions: dict[str, list[tuple[Methodology, Document]]] = defaultdict(list)
        for methodology, document in self.methodologies.values():
            versions[methodology.id].append((methodology, document))
        self.counts["methodologies"] = len(versions)
        for entries in versions.values():
            entries.sort(key=lambda entry: entry[0].version)
            for (before, _), (after, document) in pairwise(entries):
                where = document.where("valid")
                if before.valid.overlaps(after.valid) or after.valid.start < before.valid.start:
                    self.uncomputable |= {before.where, after.where}
                    self._note(
                        "versions-overlap",
                        f"{before.key} is in force on {before.valid} and {after.key} on {after.valid}",
                        where,
                        f"a day has one version: end version {before.version} with until: {after.valid.start}, "
                        "or begin the new one later",
                    )
                elif (
                    before.valid.end
                    and before.valid.end < after.valid.start
                    and not _explained(before.valid.end, (after.since_last_version,))
                ):
                    self._note(
                        "versions-hole",
                        f"no version of {after.id} is in force on [{before.valid.end}, {after.valid.start})",
                        where,
                        f"let the new version begin on {before.valid.end}, or say in since_last_version why nothing "
                        f"counts from {before.valid.end}",
                    )

    # -- worked cases

    def _cases(self, relative: str, document: Document) -> None:
        self.counts["cases"] += len(document.data)
        version = relative.replace(".cases.yaml", ".yaml")
        if version not in self.known.find("methodologies/*/*/v*.yaml"):
            remedy = f"add {version}, or take the cases out"
            self._note("cases-orphaned", f"there is no {version} for these cases", document.where(), remedy)
            return
        if version not in self.methodologies:
            return  # its file is reported already
        methodology, own = self.methodologies[version]
        computable = (
            self.units_known
            and self._readable(methodology)
            and methodology.where not in self.uncomputable
            and not self._mentioned(own.name)
        )
        names = [entry["case"] for entry in document.data]
        for index, case in enumerate(document.data):
            if case["case"] in names[:index]:
                where = document.where(index, "case")
                self._note("duplicate-id", f"case {case['case']!r} stands twice", where, "rename one of the two")
            try:
                day = date.fromisoformat(case["on"])
            except ValueError:
                where = document.where(index, "on")
                self._note(
                    "day-malformed", f"{case['on']!r} is not a day", where, "write an existing day as YYYY-MM-DD"
                )
                continue
            if computable:
                self._case(methodology, case, day, document.where(index, "expect"))
        if methodology.status != "draft" and not any("mg" in case["expect"] for case in document.data):
            self._note(
                "cases-without-value",
                f"every case of {methodology.key} is a refusal",
                document.where(),
                "add one act with the milligrams that a person computed by hand",
            )

    def _mentioned(self, name: str) -> bool:
        return any(problem.where.split(":")[0] == name and problem.code in _UNCOMPUTABLE for problem in self.problems)

    def _case(self, methodology: Methodology, case: Mapping[str, Any], day: date, where: str) -> None:
        expected = f"{case['expect']['mg']} mg" if "mg" in case["expect"] else f"refused {case['expect']['refused']}"
        steps: tuple[str, ...] = ()
        try:
            choice = self.known.choose(methodology.behaviour, case["region"], day, [methodology.id])
            if choice.methodology.key != methodology.key:
                computed = "refused methodology-not-in-force"  # another version serves that day
            else:
                evidence = case.get("evidence", DEFAULT_EVIDENCE)
                plan = self.known.plan(methodology, case["region"], day, case.get("variant"), evidence)
                result = quantify_act(plan, case["inputs"], case.get("elapsed_s"), explain=True)
                computed, steps = f"{result.mg} mg", result.steps
        except TanzhangError as error:
            computed, steps = f"refused {error.code}", (error.problems[0].message,)
        if computed != expected:
            way = f" ({'; '.join(steps)})" if steps else ""
            self._note(
                "case-differs",
                f"case {case['case']!r} expects {expected}, the catalogue gives {computed}{way}",
                where,
                "find out which of the two is right: correct the case, or the formula, the factor or the day behind it",
            )

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
                    f"take the line out{_or_near(family, families)}",
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

    # -- the whole

    def _broken(self, kind: str) -> bool:
        return any(kind_of(relative) == kind for relative in self.found.texts)

    def _unused(self) -> None:
        """What nothing refers to; a mention in a file that cannot be read counts as a use."""
        elsewhere = list(self.found.texts.values())
        for relative, document in self.found.of_kind("factor"):
            factor_id = _factor_id(relative)
            if factor_id not in self.used_factors and not any(factor_id in text for text in elsewhere):
                where = document.where("id")
                remedy = "use it in a methodology, or take the file out"
                self._note("unused-factor", f"nothing uses factor {factor_id}", where, remedy)
        for source, where in self.registered.items():
            if source not in self.used_sources and not any(source in text for text in elsewhere):
                remedy = "cite it where its numbers stand, or take it out of the register"
                self._note("unused-source", f"nothing cites source {source}", where, remedy)

    def _snapshot(self) -> None:
        path = self.known.folders[0] / SNAPSHOT
        written = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        now = snapshot(self.known).splitlines()
        if now == written:
            return
        gone, new = (
            [line for line in written if line not in set(now)],
            [line for line in now if line not in set(written)],
        )
        first = next((n for n, (a, b) in enumerate(zip(written, now, strict=False), 1) if a != b), len(written) + 1)
        shown = "".join(
            f"\n  {sign} {line}" for sign, line in [("-", x) for x in gone[:5]] + [("+", x) for x in new[:5]]
        )
        self._note(
            "snapshot-stale",
            f"the catalogue resolves to other numbers than {SNAPSHOT}: {len(gone)} lines gone, {len(new)} new{shown}",
            f"{SNAPSHOT}:{first}",
            "look at each number that moved; if all are meant, write it again with 'tanzhang catalogue snapshot'",
        )


_UNPARSED = ("yaml-malformed", "not-utf-8")
_UNCOMPUTABLE = (
    "path-differs",
    "unknown-name",
    "unit-error",
    "unknown-factor",
    "name-twice",
    "range-empty",
    "formula-divisor",
    "formula-overflow",
)


@dataclass(frozen=True, slots=True)
class _Ceiling:
    """The most milligrams that a saving may come to for each whole number of an input."""

    id: str
    behaviours: frozenset[str]
    input: str
    limit: Fraction
    factor: str


def _belongs(relative: str, *, shipped: bool) -> bool:
    if kind_of(relative) or relative.endswith(".md") or relative == SNAPSHOT:
        return True
    return shipped and relative.startswith("schemas/") and relative.endswith(".schema.json")


def _factor_id(relative: str) -> str:
    return relative[8:-5].replace("/", ".")


def _reading_order(problem: Problem) -> tuple[str, int, str, str]:
    file, _, line = problem.where.rpartition(":")
    return (
        (file, int(line), problem.code, problem.message) if line.isdecimal() else (problem.where, 0, problem.code, "")
    )


def _or_near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind.startswith("e") else f"a {kind}"


def _explained(first_day: date, texts: Iterable[str]) -> bool:
    """Whether a declared gap names the first day that is missing."""
    return any(first_day.isoformat() in text for text in texts)


def _rules_of(methodology: Methodology, variant: str | None) -> dict[str, ParameterRule]:
    own = methodology.variants[variant].parameters if variant is not None else {}
    return {**methodology.parameters, **own}


def _all_rules(methodology: Methodology) -> list[ParameterRule]:
    return [rule for variant in methodology.variants or (None,) for rule in _rules_of(methodology, variant).values()]


def _bounds_problems(plan: Plan, document: Document) -> list[Problem]:
    try:
        compile_mg(read_recipe(plan.document))
    except TanzhangError as error:
        return [replace(problem, where=document.where("formula")) for problem in error.problems]
    return []


def _most_per_unit(plan: Plan, name: str) -> Fraction | None:
    """The largest saving for each unit of an input, over the corners of all ranges; None where it does not enter."""
    recipe = read_recipe(plan.document)
    if name not in recipe.input_names:
        return None
    ends = [(max(low, 1) if n == name else low, high) for n in recipe.input_names for low, high in [recipe.ranges[n]]]
    corners = [dict(zip(recipe.input_names, corner, strict=True)) for corner in product(*ends)]
    return max(compute(recipe, corner).exact / corner[name] for corner in corners)


# -- every number -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    """A methodology in one region, variant and evidence class over days in which nothing changes."""

    methodology: Methodology
    region: str
    variant: str | None
    evidence: str
    period: Period
    plan: Plan | None
    refused: str | None

    @property
    def named(self) -> str:
        """Where in the methodology this is, in words."""
        words = [self.region, *([self.variant] if self.variant else []), self.evidence, f"from {self.period.start}"]
        return ", ".join(words)


def _cells(catalogue: Catalogue, methodology: Methodology) -> Iterator[_Cell]:
    for variant in sorted(methodology.variants) or (None,):
        rules = _rules_of(methodology, variant).values()
        series = [catalogue.factor(rule.factor) for rule in rules if rule.factor is not None]
        for region in _regions(methodology, series):
            for evidence in methodology.evidence:
                before: _Cell | None = None
                for period in _periods(methodology, series, region):
                    plan, refused = None, None
                    try:
                        plan = catalogue.plan(methodology, region, period.start, variant, evidence)
                    except TanzhangError as error:
                        refused = error.code
                    same = (
                        before
                        and before.refused == refused
                        and (before.plan and before.plan.digest) == (plan and plan.digest)
                    )
                    if before and same:
                        before = replace(before, period=Period(before.period.start, period.end))
                        continue
                    if before:
                        yield before
                    before = _Cell(methodology, region, variant, evidence, period, plan, refused)
                if before:
                    yield before


def _regions(methodology: Methodology, series: Sequence[Factor]) -> list[str]:
    """The methodology's own regions, and those inside them for which some factor has a value of its own."""
    inside = {row.region for factor in series for row in factor.values if methodology.region_for(row.region)}
    return sorted({*methodology.regions, *inside})


def _periods(methodology: Methodology, series: Sequence[Factor], region: str) -> Iterator[Period]:
    chain = ancestors(region)
    rows = [row.period for factor in series for row in factor.values if row.region in chain]
    days = {day for row in rows for day in (row.start, row.end) if day and methodology.valid.covers(day)}
    starts = sorted({methodology.valid.start, *days})
    for start, end in zip(starts, [*starts[1:], methodology.valid.end], strict=True):
        yield Period(start, end)


def snapshot(catalogue: Catalogue) -> str:
    """Every number the catalogue resolves to, one a line, in stable order.

    Methodology, region, variant, evidence class, days, parameters in base units, and milligrams at the smallest
    inputs above zero and at round ones; or the code with which acts of these days are refused.
    """
    lines = [
        "# Every number that the catalogue resolves to. Written by a program; the check compares it with the files.",
        "# methodology | region | variant | evidence | days | parameters | milligrams at smallest and at round inputs",
    ]
    for methodology in sorted(catalogue.all_methodologies(), key=lambda m: (m.id, m.version)):
        lines += [_line(cell) for cell in _cells(catalogue, methodology)]
    return "\n".join(lines) + "\n"


def write_snapshot(catalogue: Catalogue, path: Path) -> None:
    """Write :func:`snapshot` to a file."""
    path.write_text(snapshot(catalogue), encoding="utf-8")


def _line(cell: _Cell) -> str:
    start = [cell.methodology.key, cell.region, cell.variant or "-", cell.evidence, str(cell.period)]
    if cell.plan is None:
        return " | ".join([*start, f"refused {cell.refused}"])
    values = ", ".join(f"{n}={decimal_text(p.value)} {p.unit}" for n, p in sorted(cell.plan.parameters.items()))
    results = []
    for inputs in _reference_inputs(cell.plan):
        given = ", ".join(f"{name}={value}" for name, value in inputs.items())
        try:
            result = f"{quantify_act(cell.plan, inputs, None).mg} mg"
        except TanzhangError as error:
            result = f"refused {error.code}"
        results.append(f"{given}: {result}")
    return " | ".join([*start, values, "; ".join(results)])


def _reference_inputs(plan: Plan) -> list[dict[str, int]]:
    rules = sorted(plan.methodology.inputs.items())
    smallest = {name: max(rule.minimum, 1) for name, rule in rules}
    rounded = {name: min(max(_REFERENCE[name], smallest[name]), rule.maximum) for name, rule in rules}
    return [smallest] if smallest == rounded else [smallest, rounded]


# -- answers ------------------------------------------------------------------------------------------------------


def resolve(
    catalogue: Catalogue,
    identifier: str,
    *,
    on: date,
    region: str,
    variant: str | None = None,
    evidence: str = DEFAULT_EVIDENCE,
) -> dict[str, Any]:
    """A factor's value, or a methodology's parameters, for a local day and a region, as JSON members.

    A methodology may be named with its version (``id@2``). One with variants shows every variant unless one is named.
    Raises ``unknown-id``, and each refusal that an act there would meet (``no-factor``, ``factor-gap``,
    ``no-methodology``, ``methodology-not-in-force`` ...).
    """
    check_region(region, where="--region")
    methodology_id, _, version = identifier.partition("@")
    if identifier in catalogue.factor_ids():
        return _resolve_factor(catalogue, catalogue.factor(identifier), on, region)
    if methodology_id not in catalogue.methodology_ids():
        raise _unknown_id(identifier, [*catalogue.factor_ids(), *catalogue.methodology_ids()])
    behaviour = methodology_id.split(".", 1)[1]
    choice = catalogue.choose(behaviour, region, on, [methodology_id])
    if version and version != str(choice.methodology.version):
        raise refuse(
            "methodology-not-in-force",
            f"{identifier} is not in force on {on}; {choice.methodology.key} is",
            where=f"day {on}",
            remedy="name a day of that version, or leave the version out",
        )
    answer = _methodology_entry(choice.methodology) | {"region": choice.region, "on": on.isoformat()}
    if not choice.methodology.variants or variant is not None:
        return answer | _resolve_plan(catalogue, choice, region, on, variant, evidence)
    variants: dict[str, Any] = {}
    for name in choice.methodology.variants:
        try:
            variants[name] = _resolve_plan(catalogue, choice, region, on, name, evidence)
        except TanzhangError as error:
            variants[name] = refusal(error)
    return answer | {"variants": variants}


def _resolve_factor(catalogue: Catalogue, series: Factor, on: date, region: str) -> dict[str, Any]:
    row = series.value_for(region, on)
    base, base_unit = catalogue.units.in_base(row.value, series.unit, where=series.where)
    return {
        "type": "factor",
        "id": series.id,
        "title": {"en": series.title, "zh": series.title_zh},
        "on": on.isoformat(),
        "region": region,
        "value": row.text,
        "unit": series.unit,
        "base_value": decimal_text(base),
        "base_unit": base_unit,
        "value_of_region": row.region,
        "applies": str(row.period),
        "why_these_dates": row.why_these_dates.strip(),
        "measured_for": row.measured_for,
        "source": _source_entry(catalogue, row.source),
        "locator": row.locator,
        "status": row.status,
        "mark": row.mark,
        "file": series.where,
    }


def _resolve_plan(
    catalogue: Catalogue, choice: Choice, region: str, on: date, variant: str | None, evidence: str
) -> dict[str, Any]:
    plan = catalogue.plan(choice.methodology, region, on, variant, evidence)
    parameters = {
        name: {"value": decimal_text(resolved.value), "unit": resolved.unit}
        for name, resolved in plan.parameters.items()
    }
    return describe_plan(choice, plan) | {"parameters": parameters, "discount": decimal_text(plan.discount)}


def listing(catalogue: Catalogue) -> dict[str, Any]:
    """Behaviours by category with what is known of their place in the standard, their methodologies, and the gaps.

    Only ``confirmation`` *confirmed* is presented as the standard's (``of_the_standard``).
    """
    slots = {slot["behaviour"]: slot for slot in catalogue.behaviours["slots"] if slot["behaviour"]}
    categories = []
    for category in catalogue.behaviours["categories"]:
        own = [e for e in catalogue.behaviours["behaviours"] if e["id"].split(".")[0] == category["id"]]
        categories.append(category | {"behaviours": [_behaviour_entry(catalogue, entry, slots) for entry in own]})
    gaps = [
        {"factor": factor_id, "gap": gap.strip()}
        for factor_id in catalogue.factor_ids()
        for gap in catalogue.factor(factor_id).gaps
    ]
    return {
        "categories": categories,
        "slots": {
            "total": len(catalogue.behaviours["slots"]),
            "identified": len(slots),
            "confirmed": sum(slot["confirmation"] == "confirmed" for slot in slots.values()),
        },
        "gaps": {
            "behaviours": [b["id"] for c in categories for b in c["behaviours"] if b["gap"]],
            "factors": gaps,
        },
        "programmes": catalogue.programme_ids(),
    }


def show(catalogue: Catalogue, identifier: str) -> dict[str, Any]:
    """Everything the catalogue has under an id: ``behaviour``, ``factor``, ``methodology``, ``programme``, ``source``.

    A behaviour and a factor may share an id, so the answer has one member for each. Raises ``unknown-id`` with close
    matches.
    """
    found: dict[str, Any] = {}
    if identifier in catalogue.behaviour_names:
        slots = {slot["behaviour"]: slot for slot in catalogue.behaviours["slots"] if slot["behaviour"]}
        found["behaviour"] = _behaviour_entry(catalogue, catalogue.behaviour_names[identifier], slots)
    if identifier in catalogue.factor_ids():
        found["factor"] = _factor_entry(catalogue, catalogue.factor(identifier))
    methodology_id, _, version = identifier.partition("@")
    if methodology_id in catalogue.methodology_ids():
        versions = [m for m in catalogue.methodologies(methodology_id.split(".", 1)[1]) if m.id == methodology_id]
        shown = [m for m in sorted(versions, key=lambda m: m.version) if version in ("", str(m.version))]
        if shown:
            found["methodology"] = [_methodology_detail(catalogue, methodology) for methodology in shown]
    if identifier in catalogue.programme_ids():
        found["programme"] = _programme_entry(catalogue, identifier)
    if identifier in catalogue.sources:
        found["source"] = _source_entry(catalogue, identifier) | {"cited_by": _citations(catalogue, identifier)}
    if not found:
        known = [
            *catalogue.behaviour_names,
            *catalogue.factor_ids(),
            *catalogue.methodology_ids(),
            *catalogue.programme_ids(),
            *catalogue.sources,
        ]
        raise _unknown_id(identifier, known)
    return {"id": identifier, **found}


def _unknown_id(identifier: str, known: Sequence[str]) -> TanzhangError:
    near = difflib.get_close_matches(identifier, known, n=3, cutoff=0.5)
    near += [word for word in known if identifier in word and word not in near][: 6 - len(near)]
    return refuse(
        "unknown-id",
        f"the catalogue has nothing called {identifier}",
        where=identifier,
        remedy=f"did you mean {', '.join(near)}?" if near else "see 'tanzhang catalogue list'",
    )


def _behaviour_entry(catalogue: Catalogue, entry: Mapping[str, Any], slots: Mapping[str, Any]) -> dict[str, Any]:
    slot = slots.get(entry["id"])
    methodologies = [_methodology_entry(m) for m in catalogue.methodologies(entry["id"])]
    return {
        "id": entry["id"],
        "name": entry["name"],
        "confirmation": entry["confirmation"],
        "of_the_standard": entry["confirmation"] == "confirmed",
        "slot": slot["slot"] if slot else None,
        "evidence": slot["evidence"].strip() if slot else None,
        "note": entry.get("note"),
        "methodologies": methodologies,
        "gap": None if methodologies else "no sourced methodology is published: a declared gap",
    }


def _methodology_entry(methodology: Methodology) -> dict[str, Any]:
    return {
        "type": "methodology",
        "id": methodology.id,
        "version": methodology.version,
        "title": {"en": methodology.title, "zh": methodology.title_zh},
        "kind": methodology.kind,
        "gases": methodology.gases,
        "regions": list(methodology.regions),
        "scheme": methodology.scheme,
        "status": methodology.status,
        "valid": str(methodology.valid),
    }


def _methodology_detail(catalogue: Catalogue, methodology: Methodology) -> dict[str, Any]:
    def rules(parameters: Mapping[str, ParameterRule]) -> dict[str, Any]:
        return {
            name: {
                "unit": rule.unit,
                "factor": rule.factor,
                "constant": None if rule.constant is None else decimal_text(rule.constant),
            }
            for name, rule in parameters.items()
        }

    return _methodology_entry(methodology) | {
        "behaviour": methodology.behaviour,
        "why_these_dates": methodology.why_these_dates.strip(),
        "since_last_version": methodology.since_last_version.strip(),
        "source": _source_entry(catalogue, methodology.source),
        "locator": methodology.locator,
        "baseline_choice": methodology.baseline_choice,
        "chapters": {name: text.strip() for name, text in methodology.chapters.items()},
        "formula": methodology.formula.text,
        "rounding": methodology.rounding,
        "inputs": {
            name: {"min": str(rule.minimum), "max": str(rule.maximum), "default": rule.default, "why": rule.why.strip()}
            for name, rule in methodology.inputs.items()
        },
        "parameters": rules(methodology.parameters),
        "variants": {
            variant.id: {"name": variant.name, "parameters": rules(variant.parameters)}
            for variant in methodology.variants.values()
        },
        "evidence": {name: decimal_text(share) for name, share in methodology.evidence.items()},
        "guards": [
            {"holds": guard.formula.text, "code": guard.code, "says": guard.says} for guard in methodology.guards
        ],
        "caps": [
            {"id": cap.id, "period": cap.period, "limit_count": cap.limit_count, "limit_mg": cap.limit_mg}
            for cap in methodology.caps
        ],
        "window_days": methodology.window_days,
        "uncertainty": methodology.uncertainty,
        "file": methodology.where,
    }


def _factor_entry(catalogue: Catalogue, series: Factor) -> dict[str, Any]:
    return {
        "type": "factor",
        "id": series.id,
        "title": {"en": series.title, "zh": series.title_zh},
        "unit": series.unit,
        "kind": series.kind,
        "plausible": [decimal_text(bound) for bound in series.plausible],
        "values": [
            {
                "value": row.text,
                "region": row.region,
                "applies": str(row.period),
                "measured_for": row.measured_for,
                "source": row.source,
                "locator": row.locator,
                "status": row.status,
                "mark": row.mark,
            }
            for row in series.values
        ],
        "gaps": [gap.strip() for gap in series.gaps],
        "used_by": sorted(
            {m.key for m in catalogue.all_methodologies() if series.id in {rule.factor for rule in _all_rules(m)}}
        ),
        "file": series.where,
    }


def _programme_entry(catalogue: Catalogue, programme_id: str) -> dict[str, Any]:
    programme = catalogue.programme(programme_id)
    return {
        "type": "programme",
        "id": programme.id,
        "title": {"en": programme.title, "zh": programme.title_zh},
        "region": programme.region,
        "time_zone": programme.time_zone,
        "methodologies": list(programme.methodologies),
        "windows": dict(programme.windows),
        "overlap_threshold": decimal_text(programme.overlap_threshold),
        "report_within_days": programme.report_within_days,
        "caps": [
            {
                "id": entry.cap.id,
                "period": entry.cap.period,
                "limit_count": entry.cap.limit_count,
                "limit_mg": entry.cap.limit_mg,
                "behaviours": sorted(entry.behaviours),
            }
            for entry in programme.caps
        ],
        "partners": [
            {
                "id": partner.id,
                "name": {"en": partner.name, "zh": partner.name_zh},
                "behaviours": None if partner.behaviours is None else sorted(partner.behaviours),
            }
            for partner in programme.partners.values()
        ],
        "file": programme.where,
    }


def _source_entry(catalogue: Catalogue, source: str) -> dict[str, Any]:
    entry = catalogue.sources.get(source, {"id": source})
    return {key: value.strip() if isinstance(value, str) else value for key, value in entry.items()}


def _citations(catalogue: Catalogue, source: str) -> list[str]:
    methodologies = list(catalogue.all_methodologies())
    cited = {m.key for m in methodologies if m.source == source or source in {cap.source for cap in m.caps}}
    cited |= {m.key for m in methodologies if source in {rule.source for rule in _all_rules(m)}}
    cited |= {f for f in catalogue.factor_ids() if source in {row.source for row in catalogue.factor(f).values}}
    cited |= {f"slot {s['slot']}" for s in catalogue.behaviours["slots"] if s.get("source") == source}
    return sorted(cited)
