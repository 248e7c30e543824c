"""Rules of the catalogue in versions, each in force for some days: ``<kind>/<id>/v<N>.yaml``, one file a version.

:class:`Versions` finds them, :class:`DocumentReader` is what a reader of one document begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Generic, Protocol, TypeVar

from tanzhang.core.errors import Problem, refuse
from tanzhang.core.factors import Period
from tanzhang.stores.catalogue import Catalogue, kind_of
from tanzhang.stores.yaml_text import Document


class Version(Protocol):
    """One version of some rules."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def valid(self) -> Period:
        """The local days for which it holds."""

    @property
    def where(self) -> str:
        """Its file."""


Rules = TypeVar("Rules", bound=Version)


@dataclass(frozen=True, slots=True)
class Versions(Generic[Rules]):
    """Rules of one kind. ``called`` is what one of them is in a sentence, ``code`` says that there is none by an id."""

    kind: str
    called: str
    code: str
    read: Callable[[Document], Rules]

    def ids(self, catalogue: Catalogue) -> list[str]:
        """Every id that there is a file for."""
        found = catalogue.find(f"{self.kind}/*/v*.yaml")
        return sorted({path.split("/")[1] for path in found if kind_of(path) == self.kind})

    def of(self, catalogue: Catalogue, name: str) -> tuple[Rules, ...]:
        """Every version of some rules, the first one first; ``code`` and what reading one refuses."""
        found = []
        for relative in catalogue.find(f"{self.kind}/{name}/v*.yaml"):
            document = catalogue.open(relative, self.kind) if kind_of(relative) == self.kind else None
            if document is not None:
                found.append(self.read(document))
        if not found:
            raise refuse(
                self.code,
                f"there is no {self.called} {name}",
                where=f"{self.kind}/{name}/v1.yaml",
                remedy=f"use one of {', '.join(self.ids(catalogue))}, or add the file",
            )
        return tuple(sorted(found, key=lambda each: each.version))

    def in_force(self, catalogue: Catalogue, name: str, day: date, code: str) -> Rules:
        """The version that holds for a local day; ``code`` where none does."""
        versions = self.of(catalogue, name)
        for each in versions:
            if each.valid.covers(day):
                return each
        raise refuse(
            code,
            f"no version of {self.called} {name} is in force on {day}",
            where=versions[-1].where,
            remedy=f"there are {', '.join(f'v{each.version} {each.valid}' for each in versions)}; add one for that day",
        )


class DocumentReader:
    """Reads one document; mistakes are collected, so that they can be raised together."""

    def __init__(self, document: Document) -> None:
        self.document, self.data = document, document.data
        self.problems: list[Problem] = []

    def period(self, data: Mapping[str, Any], *path: str | int) -> Period:
        """Days ``[from, until)``."""
        start = self.day(data["from"], *path, "from")
        end = None if data["until"] is None else self.day(data["until"], *path, "until")
        if end is not None and end <= start:
            remedy = "until is the first day that no longer counts: it must lie after from, or be null"
            self.note("period-empty", f"[{start}, {end}) holds no day", remedy, *path, "until")
        return Period(start, end)

    def day(self, text: str, *path: str | int) -> date:
        """A day, or a stand-in where the mistake is noted."""
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.note("day-malformed", f"{text!r} is not a day", "write an existing day as YYYY-MM-DD", *path)
            return date.max

    def note(self, code: str, message: str, remedy: str, *path: str | int) -> None:
        """One mistake."""
        self.problems.append(Problem(code, message, self.document.where(*path), remedy))
