"""The catalogue on disk: one or more folders of YAML, later folders over earlier ones, read only as far as needed.

A path says where a thing lives, so one answer opens a handful of files: methodology ``<publisher>.<behaviour>`` is at
``methodologies/<publisher>/<behaviour>/v<N>.yaml``, factor ``<group>.<name>`` at ``factors/<group>/<name>.yaml``;
then ``programmes/<id>.yaml``, ``points/<id>/v<N>.yaml``, ``market/<id>/v<N>.yaml``, ``grades/<id>.yaml``,
``sources/*.yaml``, ``behaviours.yaml``, ``units.yaml``. Every file is checked against its JSON Schema when opened. A
file of an operator's folder replaces the shipped one at its path.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tanzhang.core.action import DEFAULT_EVIDENCE
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.factors import Factor
from tanzhang.core.methodology import (
    Choice,
    Methodology,
    Plan,
    choose,
    make_plan,
)
from tanzhang.core.programme import Programme, at_once_problems
from tanzhang.engine.units import Units
from tanzhang.stores.catalogue_documents import read_factor, read_methodology, read_programme, read_units
from tanzhang.stores.yaml_text import Document, read_yaml

Read = TypeVar("Read")

KINDS: Mapping[str, str] = {
    "behaviours": r"behaviours\.yaml",
    "units": r"units\.yaml",
    "ceilings": r"ceilings\.yaml",
    "sources": r"sources/[a-z0-9_]+\.yaml",
    "factor": r"factors/[a-z0-9_]+(/[a-z0-9_]+)*\.yaml",
    "cases": r"methodologies/[a-z0-9_]+/[a-z]+\.[a-z0-9_]+/v[1-9][0-9]*\.cases\.yaml",
    "methodology": r"methodologies/[a-z0-9_]+/[a-z]+\.[a-z0-9_]+/v[1-9][0-9]*\.yaml",
    "programme": r"programmes/[a-z0-9]+(-[a-z0-9]+)*\.yaml",
    "guard": r"guard/[a-z0-9_]+\.yaml",
    "grading": r"grades/[a-z0-9_]+\.yaml",
    "badge": r"badges/[a-z0-9_]+\.yaml",
    "points_cases": r"points/[a-z0-9_]+/v[1-9][0-9]*\.cases\.yaml",
    "points": r"points/[a-z0-9_]+/v[1-9][0-9]*\.yaml",
    "market": r"market/[a-z0-9_]+/v[1-9][0-9]*\.yaml",
    "scenario": r"scenarios/[a-z0-9]+(-[a-z0-9]+)*\.yaml",
}
"""What a relative path must look like to be a file of that kind; other YAML is not read."""


def kind_of(relative: str) -> str | None:
    """The kind of catalogue file that lives at a relative path, or None."""
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, relative)), None)


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
        document, problems = self.read(relative, kind)
        if problems:
            raise TanzhangError(problems)
        return document

    def read(self, relative: str, kind: str) -> tuple[Document | None, list[Problem]]:
        """The document at a relative path as far as it can be read, with every mistake of YAML and schema in it."""
        for folder in reversed(self.folders):
            path = folder / relative
            if not path.is_file():
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                return None, [Problem("not-utf-8", f"not UTF-8 text: {error}", relative, "save the file as UTF-8")]
            document, problems = _read(text, relative, kind)
            return document, list(problems)
        return None, []

    def digest(self) -> str:
        """SHA-256 over every file's path and bytes, in order: names the catalogue a home was set up with."""
        state = hashlib.sha256()
        for relative, path in self.find("**/*.yaml").items():
            content = path.read_bytes()
            state.update(f"{len(relative.encode())}:{relative}:{len(content)}:".encode() + content)
        return state.hexdigest()

    # -- what is in it ----------------------------------------------------------------------------------------

    @cached_property
    def units(self) -> Units:
        """The registry of units."""
        document = self._required("units.yaml", "units")
        return read_units(document)

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
            self._methodologies[behaviour] = tuple(
                read_methodology(self._required(relative, "methodology"))
                for relative in self.find(f"methodologies/*/{behaviour}/v*.yaml")
                if kind_of(relative) == "methodology"
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
            programme = read_programme(document, self.methodology_ids())
            if programme.at_once:
                listed = (each for each in self.all_methodologies() if each.id in programme.methodologies)
                problems = at_once_problems(programme, listed, document.where("at_once"))
                if problems:
                    raise TanzhangError(problems)
            self._programmes[programme_id] = programme
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

    def _take(
        self,
        factors: Mapping[str, Factor],
        methodologies: Mapping[str, Sequence[Methodology]],
        programmes: Mapping[str, Programme],
        units: Units | None,
        documents: Mapping[str, Document],
    ) -> None:
        """Answer from these instead of from the files; of the registers, every entry that has an id is taken."""
        self._factors.update(factors)
        self._methodologies.update({behaviour: tuple(versions) for behaviour, versions in methodologies.items()})
        self._programmes.update(programmes)
        register = documents.get("behaviours.yaml")
        behaviours = _entries(register.data.get("behaviours")) if register and isinstance(register.data, dict) else []
        sources = [
            entry
            for relative, document in documents.items()
            if kind_of(relative) == "sources"
            for entry in _entries(document.data)
        ]
        names = {behaviour: {"id": behaviour} for behaviour in methodologies}
        self.__dict__["behaviour_names"] = names | {entry["id"]: entry for entry in behaviours}
        self.__dict__["sources"] = {entry["id"]: entry for entry in sources}
        if units is not None:
            self.__dict__["units"] = units

    def _label(self, source: str) -> dict[str, str]:
        entry = self.sources.get(source, {})
        return {"id": source} | {key: entry[key] for key in ("title", "number", "date", "address") if entry.get(key)}

    def _required(self, relative: str, kind: str) -> Document:
        document = self.open(relative, kind)
        if document is None:
            raise refuse("catalogue-file-missing", f"{relative} is missing", where=relative, remedy="restore the file")
        return document


@dataclass(frozen=True, slots=True)
class Survey:
    """Every file of a catalogue, read as far as it can be.

    ``catalogue`` answers from what could be read. ``documents`` holds the readable files by relative path, ``texts``
    the text of the others, ``counts`` the files of each kind.
    """

    catalogue: Catalogue
    documents: Mapping[str, Document]
    texts: Mapping[str, str]
    counts: Mapping[str, int]
    problems: tuple[Problem, ...]

    def of_kind(self, kind: str) -> Iterator[tuple[str, Document]]:
        """The readable files of one kind, in order of their paths."""
        return ((relative, document) for relative, document in self.documents.items() if kind_of(relative) == kind)


def survey(catalogue: Catalogue) -> Survey:
    """Read every file of every folder; one broken file hides no other. Raises nothing for what files say."""
    known = Catalogue(*catalogue.folders[1:])
    files = {relative: path for relative, path in known.find("**/*.yaml").items() if kind_of(relative)}
    counts = dict.fromkeys(KINDS, 0)
    documents: dict[str, Document] = {}
    broken: dict[str, Document | None] = {}
    problems: list[Problem] = []

    def attempt(relative: str, read: Callable[[Document], Read]) -> Read | None:
        try:
            return read(documents[relative])
        except TanzhangError as error:
            problems.extend(error.problems)
            broken[relative] = documents.pop(relative)
            return None

    for relative in files:
        kind = kind_of(relative) or ""
        counts[kind] += 1
        document, found = known.read(relative, kind)
        problems += found
        if document is None or found:
            broken[relative] = document
        else:
            documents[relative] = document
    factors: dict[str, Factor] = {}
    methodologies: dict[str, list[Methodology]] = {
        relative.split("/")[2]: [] for relative in files if kind_of(relative) == "methodology"
    }
    programmes: dict[str, Programme] = {}
    units: Units | None = None
    ids = known.methodology_ids()
    for relative in list(documents):
        match kind_of(relative):
            case "factor":
                if series := attempt(relative, read_factor):
                    factors[relative[8:-5].replace("/", ".")] = series
            case "methodology":
                if version := attempt(relative, read_methodology):
                    methodologies[relative.split("/")[2]].append(version)
            case "programme":
                if programme := attempt(relative, lambda document: read_programme(document, ids)):
                    programmes[Path(relative).stem] = programme
            case "units":
                units = attempt(relative, read_units)
    whole = {relative: document for relative, document in {**documents, **broken}.items() if document is not None}
    known._take(factors, methodologies, programmes, units, whole)
    texts = {relative: files[relative].read_text(encoding="utf-8", errors="replace") for relative in sorted(broken)}
    return Survey(known, documents, texts, counts, tuple(problems))


_VALIDATORS: dict[str, Any] = {}


def _validator(kind: str) -> Any:
    if kind not in _VALIDATORS:
        from jsonschema import Draft202012Validator

        schema = json.loads((shipped_folder() / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8"))
        _VALIDATORS[kind] = Draft202012Validator(schema)
    return _VALIDATORS[kind]


@lru_cache(maxsize=1024)
def _read(text: str, name: str, kind: str) -> tuple[Document | None, tuple[Problem, ...]]:
    """A file's document and mistakes; kept by its text, for a server opens the same catalogue again and again."""
    document, problems = read_yaml(text, name)
    if document is not None:
        problems += check_schema(document, kind)
    return document, tuple(problems)


def check_schema(document: Document, kind: str) -> list[Problem]:
    """Every way in which a document differs from the schema of its kind, with the line and what to write instead.

    Codes: ``unknown-key``, ``missing-key``, ``schema-mismatch``.
    """
    found = sorted(_validator(kind).iter_errors(document.data), key=lambda error: [str(p) for p in error.absolute_path])
    return [problem for error in found for problem in _schema_problems(document, kind, error)]


def _schema_problems(document: Document, kind: str, error: Any) -> Iterator[Problem]:
    path = tuple(error.absolute_path)
    if error.validator in ("oneOf", "anyOf") and error.context:
        for inner in _likeliest(error.context):
            yield from _schema_problems(document, kind, inner)
        return
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        for key in error.instance:
            if key not in known:
                message = f"key {key!r} is not known here"
                yield Problem("unknown-key", message, document.where(*path, key), _choices(key, list(known)))
        return
    place = ".".join(str(part) for part in path) or "the file"
    where = document.where(*path)
    if error.validator == "required":
        for key in error.validator_value:
            if key not in error.instance:
                yield Problem("missing-key", f"{place} lacks {key!r}", where, f"add {key}; {_see(kind)}")
        return
    if "propertyNames" in error.absolute_schema_path:
        where = document.where(*path, str(error.instance))
    shown = error.instance if len(repr(error.instance)) < 80 else type(error.instance).__name__
    message, remedy = f"{place}: {error.message[:300]}", _see(kind)
    if error.validator == "enum":
        message = f"{place}: {shown!r} is not one of the known words"
        remedy = _choices(str(error.instance), [str(word) for word in error.validator_value])
    elif error.validator == "pattern":
        message = f"{place}: {shown!r} is not spelled as it must be"
        remedy = f"write {error.schema.get('description', 'it like the other files do')}; {_see(kind)}"
    elif error.validator == "type":
        message = f"{place}: {shown!r} is not {_TYPES.get(error.validator_value, error.validator_value)}"
        if error.validator_value == "string" and isinstance(error.instance, int):
            remedy = f'write it as text: "{error.instance}"'
    yield Problem("schema-mismatch", message, where, remedy)


_TYPES = {
    "object": "a group of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


def _likeliest(errors: Sequence[Any]) -> list[Any]:
    """Of several shapes that a value may have, the mistakes under the one that it is closest to."""
    branches: dict[Any, list[Any]] = {}
    for error in errors:
        branches.setdefault(error.schema_path[0], []).append(error)

    def distance(branch: list[Any]) -> tuple[bool, int]:
        wrong_type = any(error.validator == "type" and len(error.path) == 0 for error in branch)
        missing = sum(error.validator == "required" for error in branch)
        return wrong_type, missing + len(branch)

    return min(branches.values(), key=distance)


def _choices(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _see(kind: str) -> str:
    return f"see schemas/{kind}.schema.json"


def _entries(data: Any) -> list[dict[str, Any]]:
    """Of a register, the entries that have an id, also where the rest of it is wrong."""
    listed = data if isinstance(data, list) else []
    return [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
