"""The check of a catalogue: every mistake of every file at once, each with file and line, reason and remedy.

Registers (behaviours, sources, factors, ceilings, programmes, grading schemes, badges) are checked in
``catalogue_registers``; here are the methodologies, their versions, their worked cases, and the whole. It refuses
nothing itself: it reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tanzhang.core.action import DEFAULT_EVIDENCE, ELAPSED
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.formula import decimal_text
from tanzhang.core.methodology import ROUNDING, Methodology, ParameterRule, Plan
from tanzhang.core.recipe import read_recipe
from tanzhang.engine.reference import quantify_act
from tanzhang.engine.sql import compile_condition, compile_mg
from tanzhang.service.catalogue_market import MarketChecks
from tanzhang.service.catalogue_numbers import SNAPSHOT, all_rules, cells, most_per_unit, rules_of, snapshot
from tanzhang.service.catalogue_registers import Ceiling, explained, factor_id_of, or_near
from tanzhang.stores.catalogue import Catalogue, survey
from tanzhang.stores.yaml_text import Document

_ELAPSED_RANGE = (0, 400 * 86_400)  # seconds; the longest act that screening lets through, and more
_RULE = "rule of the scheme"  # how the reason of an input begins that only limits which acts count
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


class _Check(MarketChecks):
    """One run. Each method looks at one kind of thing and notes what is wrong with it."""

    def run(self) -> CatalogueReport:
        """Everything, in the order in which a mistake is best understood."""
        self._files()
        self._behaviours()
        self._sources()
        for relative, document in self.found.of_kind("factor"):
            self._factor(self.known.factor(factor_id_of(relative)), factor_id_of(relative), document)
        ceilings = list(self._ceilings())
        for relative, (methodology, document) in self.methodologies.items():
            self._methodology(relative, methodology, document, ceilings)
        self._versions()
        for relative, document in self.found.of_kind("cases"):
            self._cases(relative, document)
        for relative, document in self.found.of_kind("programme"):
            self._programme(relative, document)
        for relative, document in self.found.of_kind("grading"):
            self._grading(relative, document)
        for relative, document in self.found.of_kind("badge"):
            self._badge(relative, document)
        self._points()
        self._market()
        for relative, document in self.found.of_kind("guard"):
            self._guard(relative, document)
        for relative, document in self.found.of_kind("scenario"):
            self._scenario(relative, document)
        self._unused()
        if not self.problems and len(self.known.folders) == 1:
            self._snapshot()
        distinct = sorted(set(self.problems), key=_reading_order)
        return CatalogueReport(self.counts, tuple(distinct))

    # -- methodologies

    def _methodology(
        self, relative: str, methodology: Methodology, document: Document, ceilings: Sequence[Ceiling]
    ) -> None:
        _, publisher, behaviour, name = relative.split("/")
        self._path(document, "id", methodology.id, f"{publisher}.{behaviour}")
        self._path(document, "behaviour", methodology.behaviour, behaviour)
        self._path(document, "version", methodology.version, int(name[1:-5]))
        self._behaviour(methodology.behaviour, document.where("behaviour"))
        self._source(methodology.source, document.where("source"), methodology.key)
        if relative.replace(".yaml", ".cases.yaml") not in self.files:
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
            rules = rules_of(methodology, variant_id)
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
        self._note("unknown-name", message, where, remedy + or_near(name, names))

    def _units(self, methodology: Methodology, document: Document) -> None:
        for variant_id in methodology.variants or (None,):
            units = {name: rule.unit for name, rule in rules_of(methodology, variant_id).items()}
            try:
                self.known.units.check(
                    methodology.formula, units, f"mg_{methodology.gases}", where=document.where("formula")
                )
            except TanzhangError as error:
                self.problems += error.problems

    def _readable(self, methodology: Methodology) -> bool:
        ids = {rule.factor for rule in all_rules(methodology) if rule.factor is not None}
        return not ids & self.unitless and all(
            f"factors/{factor_id.replace('.', '/')}.yaml" in self.found.documents for factor_id in ids
        )

    def _plans(self, methodology: Methodology, document: Document, ceilings: Sequence[Ceiling]) -> None:
        noted: set[str] = set()
        resolved = 0
        for cell in cells(self.known, methodology):
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
                most = most_per_unit(cell.plan, ceiling.input)
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
                    and not explained(before.valid.end, (after.since_last_version,))
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
        if version not in self.files:
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


def _reading_order(problem: Problem) -> tuple[str, int, str, str]:
    file, _, line = problem.where.rpartition(":")
    return (
        (file, int(line), problem.code, problem.message) if line.isdecimal() else (problem.where, 0, problem.code, "")
    )


def _a(kind: str) -> str:
    return f"an {kind}" if kind.startswith("e") else f"a {kind}"


def _bounds_problems(plan: Plan, document: Document) -> list[Problem]:
    try:
        compile_mg(read_recipe(plan.document))
    except TanzhangError as error:
        return [replace(problem, where=document.where("formula")) for problem in error.problems]
    return []
