"""The catalogue on disk: one or more folders of YAML, later folders over earlier ones, read only as far as needed.

A path says where a thing lives, so one answer opens a handful of files: methodology ``<publisher>.<behaviour>`` is at
``methodologies/<publisher>/<behaviour>/v<N>.yaml``, factor ``<group>.<name>`` at ``factors/<group>/<name>.yaml``;
then ``programmes/<id>.yaml``, ``sources/*.yaml``, ``behaviours.yaml``, ``units.yaml``. Every file is checked against
its published JSON Schema when it is opened; a mistake names file and line. A file of an operator's folder replaces the
shipped one at the same path.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from tanzhang.core.action import DEFAULT_EVIDENCE
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.factors import Factor, FactorValue, Period
from tanzhang.core.formula import parse_formula
from tanzhang.core.methodology import (
    Cap,
    Choice,
    ClaimRule,
    Guard,
    InputRule,
    Methodology,
    ParameterRule,
    Plan,
    Variant,
    choose,
    make_plan,
)
from tanzhang.core.programme import Partner, Programme, ProgrammeCap
from tanzhang.engine.units import Units
from tanzhang.stores.yaml_text import Document, load_yaml


def shipped_folder() -> Path:
    """The catalogue inside the installed package, or the checkout's own in an editable install."""
    installed = Path(__file__).parent.parent / "_catalogue"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "catalogue"


class Catalogue:
    """What is published, opened lazily; answers are cached for the life of the object."""

    def __init__(self, *overlays: Path) -> None:
        self.folders: tuple[Path, ...] = (shipped_folder(), *overlays)
        for folder in self.folders:
            if not folder.is_dir():
                raise refuse(
                    "catalogue-folder-missing",
                    f"{folder} is not a folder",
                    where=str(folder),
                    remedy="name a folder of catalogue files",
                )
        self._factors: dict[str, Factor] = {}
        self._methodologies: dict[str, tuple[Methodology, ...]] = {}
        self._programmes: dict[str, Programme] = {}
        self._plans: dict[tuple[str, str, date, str | None, str], Plan] = {}

    # -- files ------------------------------------------------------------------------------------------------

    def find(self, pattern: str) -> dict[str, Path]:
        """Relative path -> file for a glob pattern, the last folder winning, in sorted order."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in folder.glob(pattern):
                if path.is_file():
                    found[path.relative_to(folder).as_posix()] = path
        return dict(sorted(found.items()))

    def open(self, relative: str, kind: str) -> Document | None:
        """The checked document at a relative path, or None where no folder has it."""
        for folder in reversed(self.folders):
            path = folder / relative
            if path.is_file():
                document = load_yaml(path.read_text(encoding="utf-8"), relative)
                self._check_schema(document, kind)
                return document
        return None

    def digest(self) -> str:
        """SHA-256 over every file's path and bytes, in order: names the catalogue a home was set up with."""
        state = hashlib.sha256()
        for relative, path in self.find("**/*.yaml").items():
            content = path.read_bytes()
            state.update(f"{len(relative.encode())}:{relative}:{len(content)}:".encode() + content)
        return state.hexdigest()

    def _check_schema(self, document: Document, kind: str) -> None:
        problems = []
        for error in sorted(_validator(kind).iter_errors(document.data), key=lambda found: list(found.absolute_path)):
            path = tuple(error.absolute_path)
            if error.validator == "additionalProperties" and isinstance(error.instance, dict):
                known = error.schema.get("properties", {})
                for key in sorted(set(error.instance) - set(known)):
                    near = difflib.get_close_matches(key, known, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                    problems.append(
                        Problem("unknown-key", f"key {key!r} is not known here", document.where(*path, key), hint)
                    )
                continue
            code = "missing-key" if error.validator == "required" else "schema-mismatch"
            named = ".".join(str(part) for part in path) or "the file"
            problems.append(
                Problem(
                    code,
                    f"{named}: {error.message[:300]}",
                    document.where(*path),
                    f"see schemas/{kind}.schema.json",
                )
            )
        if problems:
            raise TanzhangError(problems)

    # -- what is in it ----------------------------------------------------------------------------------------

    @cached_property
    def units(self) -> Units:
        """The registry of units."""
        document = self._required("units.yaml", "units")
        return Units(document.data["definitions"])

    @cached_property
    def behaviours(self) -> dict[str, Any]:
        """``behaviours.yaml`` as plain data: categories, slots, behaviours."""
        data: dict[str, Any] = self._required("behaviours.yaml", "behaviours").data
        return data

    @cached_property
    def behaviour_names(self) -> dict[str, dict[str, Any]]:
        """Every behaviour by id."""
        return {entry["id"]: entry for entry in self.behaviours["behaviours"]}

    @cached_property
    def sources(self) -> dict[str, dict[str, Any]]:
        """Every registered source by id."""
        return {
            entry["id"]: entry
            for relative in self.find("sources/*.yaml")
            for entry in self._required(relative, "sources").data
        }

    def factor(self, factor_id: str) -> Factor:
        """A factor series by id; ``unknown-factor`` if there is none."""
        if factor_id not in self._factors:
            relative = f"factors/{factor_id.replace('.', '/')}.yaml"
            document = self.open(relative, "factor")
            if document is None:
                raise refuse(
                    "unknown-factor",
                    f"no factor series {factor_id}",
                    where=relative,
                    remedy="correct the id, or add the file at that path",
                )
            self._factors[factor_id] = read_factor(document)
        return self._factors[factor_id]

    def factor_ids(self) -> list[str]:
        """Every factor series there is a file for."""
        return [relative[8:-5].replace("/", ".") for relative in self.find("factors/**/*.yaml")]

    def methodologies(self, behaviour: str) -> tuple[Methodology, ...]:
        """Every version of every methodology of a behaviour; ``unknown-behaviour`` if it is not in the catalogue."""
        if behaviour not in self.behaviour_names:
            near = difflib.get_close_matches(behaviour, self.behaviour_names, n=3)
            raise refuse(
                "unknown-behaviour",
                f"{behaviour} is not a behaviour of the catalogue",
                where="behaviours.yaml",
                remedy=f"did you mean {', '.join(near)}?" if near else "see 'tanzhang catalogue list'",
            )
        if behaviour not in self._methodologies:
            files = self.find(f"methodologies/*/{behaviour}/v*.yaml")
            self._methodologies[behaviour] = tuple(
                read_methodology(self._required(relative, "methodology"))
                for relative in files
                if not relative.endswith(".cases.yaml")
            )
        return self._methodologies[behaviour]

    def all_methodologies(self) -> Iterator[Methodology]:
        """Every methodology version of every behaviour that has any."""
        for behaviour in sorted({relative.split("/")[2] for relative in self.find("methodologies/*/*/v*.yaml")}):
            yield from self.methodologies(behaviour)

    def methodology_ids(self) -> list[str]:
        """Ids of all methodologies, from their paths alone."""
        return sorted({".".join(path.split("/")[1:3]) for path in self.find("methodologies/*/*/v*.yaml")})

    def programme(self, programme_id: str) -> Programme:
        """A programme by id; ``unknown-programme`` if there is none."""
        if programme_id not in self._programmes:
            document = self.open(f"programmes/{programme_id}.yaml", "programme")
            if document is None:
                known = ", ".join(self.programme_ids())
                raise refuse(
                    "unknown-programme",
                    f"no programme {programme_id}",
                    where=f"programmes/{programme_id}.yaml",
                    remedy=f"use one of {known}, or add the file to your catalogue folder (--catalogue)",
                )
            self._programmes[programme_id] = self._read_programme(document)
        return self._programmes[programme_id]

    def programme_ids(self) -> list[str]:
        """Every programme there is a file for."""
        return [Path(relative).stem for relative in self.find("programmes/*.yaml")]

    # -- answers ----------------------------------------------------------------------------------------------

    def choose(self, behaviour: str, region: str, day: date, listed: Sequence[str] | None) -> Choice:
        """The methodology in force for an act; see :func:`tanzhang.core.methodology.choose`."""
        return choose(self.methodologies(behaviour), behaviour=behaviour, region=region, day=day, listed=listed)

    def plan(
        self, methodology: Methodology, region: str, day: date, variant: str | None, evidence: str = DEFAULT_EVIDENCE
    ) -> Plan:
        """The plan an act is computed by; see :func:`tanzhang.core.methodology.make_plan`."""
        key = (methodology.key, region, day, variant, evidence)
        if key not in self._plans:
            self._plans[key] = make_plan(
                methodology,
                region=region,
                day=day,
                variant=variant,
                evidence=evidence,
                factor=self.factor,
                to_base=lambda value, unit, wanted: self.units.to_base(value, unit, wanted, where=methodology.where),
                labels=self._label,
            )
        return self._plans[key]

    def _label(self, source: str) -> dict[str, str]:
        entry = self.sources.get(source, {})
        return {"id": source} | {key: entry[key] for key in ("title", "number", "date", "address") if entry.get(key)}

    def _required(self, relative: str, kind: str) -> Document:
        document = self.open(relative, kind)
        if document is None:
            raise refuse("catalogue-file-missing", f"{relative} is missing", where=relative, remedy="restore the file")
        return document

    def _read_programme(self, document: Document) -> Programme:
        data = document.data
        listed: list[str] = []
        known = self.methodology_ids()
        for index, entry in enumerate(data["methodologies"]):
            matches = [m for m in known if m.startswith(entry[:-1])] if entry.endswith(".*") else [entry]
            if not matches or (not entry.endswith(".*") and entry not in known):
                raise refuse(
                    "unknown-methodology",
                    f"programme {data['id']} lists {entry}, which is not in the catalogue",
                    where=document.where("methodologies", index),
                    remedy="correct the id, or add the methodology",
                )
            listed += [match for match in matches if match not in listed]
        return Programme(
            id=data["id"],
            title=data["title"]["en"],
            title_zh=data["title"]["zh"],
            region=data["region"],
            time_zone=data["time_zone"],
            methodologies=tuple(listed),
            windows=data["windows"],
            overlap_threshold=Fraction(data["overlap_threshold"]),
            report_within_days=data.get("report_within_days"),
            caps=tuple(
                ProgrammeCap(_read_cap(cap, scope=data["id"]), frozenset(cap["behaviours"]))
                for cap in data.get("caps", [])
            ),
            partners={
                entry["id"]: Partner(
                    entry["id"],
                    entry["name"]["en"],
                    entry["name"]["zh"],
                    frozenset(entry["behaviours"]) if "behaviours" in entry else None,
                )
                for entry in data["partners"]
            },
            where=document.where(),
        )


_VALIDATORS: dict[str, Any] = {}


def _validator(kind: str) -> Any:
    if kind not in _VALIDATORS:
        from jsonschema import Draft202012Validator

        schema = json.loads((shipped_folder() / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8"))
        _VALIDATORS[kind] = Draft202012Validator(schema)
    return _VALIDATORS[kind]


def read_factor(document: Document) -> Factor:
    """A factor from its checked document; ``day-malformed`` for a day that does not exist."""
    data = document.data
    low, high = data["plausible"]
    return Factor(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        unit=data["unit"],
        kind=data["kind"],
        plausible=(Fraction(low), Fraction(high)),
        values=tuple(
            FactorValue(
                value=Fraction(entry["value"]),
                text=entry["value"],
                region=entry["region"],
                period=_read_period(document, entry["applies"], "values", index, "applies"),
                measured_for=None if entry["measured_for"] is None else str(entry["measured_for"]),
                source=entry["source"],
                locator=entry["locator"],
                status=entry["status"],
                mark=entry["mark"],
                why_these_dates=entry["why_these_dates"],
            )
            for index, entry in enumerate(data["values"])
        ),
        gaps=tuple(data.get("gaps", ())),
        where=document.where(),
    )


def read_methodology(document: Document) -> Methodology:
    """A methodology from its checked document; ``formula-malformed`` or ``day-malformed`` with the line."""
    data = document.data
    return Methodology(
        id=data["id"],
        version=data["version"],
        behaviour=data["behaviour"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        kind=data["kind"],
        regions=tuple(data["regions"]),
        scheme=data["scheme"],
        status=data["status"],
        valid=_read_period(document, data["valid"], "valid"),
        gases=data["gases"],
        source=data["source"],
        locator=data["locator"],
        baseline_choice=data["baseline_choice"],
        activity_family=data["activity_family"],
        window_days=data["window_days"],
        accuracy=data["accuracy"],
        inputs={
            name: InputRule(name, rule["min"], rule["max"], rule.get("default"), rule["why"])
            for name, rule in data["inputs"].items()
        },
        parameters=_read_parameters(data["parameters"]),
        variants={
            name: Variant(name, variant["name"]["en"], _read_parameters(variant["parameters"]))
            for name, variant in data.get("variants", {}).items()
        },
        formula=parse_formula(data["formula"], where=document.where("formula")),
        rounding=data["rounding"],
        evidence={name: Fraction(share) for name, share in data["evidence"].items()},
        claim=ClaimRule(tuple(data["claim"]["fields"]), data["claim"]["required"], data["claim"]["overlap"]),
        needs_start=data.get("needs_start", False),
        guards=tuple(
            Guard(
                parse_formula(guard["holds"], where=document.where("guards", index, "holds")),
                guard["code"],
                guard["says"],
                guard["why"],
            )
            for index, guard in enumerate(data.get("guards", []))
        ),
        caps=tuple(_read_cap(cap, scope=data["id"]) for cap in data.get("caps", [])),
        chapters=data["chapters"],
        uncertainty=data.get("uncertainty"),
        since_last_version=data["since_last_version"],
        why_these_dates=data["why_these_dates"],
        where=document.where(),
    )


def _read_parameters(data: dict[str, Any]) -> dict[str, ParameterRule]:
    return {
        name: ParameterRule(
            name=name,
            unit=rule["unit"],
            factor=rule.get("factor"),
            constant=Fraction(rule["value"]) if "value" in rule else None,
            source=rule.get("source"),
            locator=rule.get("locator"),
        )
        for name, rule in data.items()
    }


def _read_cap(data: dict[str, Any], *, scope: str) -> Cap:
    return Cap(
        id=f"{scope}:{data['id']}",
        period=data["period"],
        limit_count=data.get("limit_count"),
        limit_mg=data.get("limit_mg"),
        source=data.get("source"),
    )


def _read_period(document: Document, data: dict[str, Any], *path: str | int) -> Period:
    days: list[date | None] = []
    for end in ("from", "until"):
        text = data[end]
        try:
            days.append(None if text is None else date.fromisoformat(text))
        except ValueError:
            raise refuse(
                "day-malformed",
                f"{text!r} is not a day",
                where=document.where(*path, end),
                remedy="write an existing day as YYYY-MM-DD",
            ) from None
    start, until = days
    if start is None or (until is not None and until <= start):
        raise refuse(
            "period-empty",
            f"[{start}, {until}) holds no day",
            where=document.where(*path),
            remedy="until must lie after from, or be null",
        )
    return Period(start, until)
