"""Grading schemes of the catalogue: ``grades/<id>.yaml``."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.grade import MG_PER_UNIT, Band, Cut, Gap, Scheme
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.yaml_text import Document


def grading_ids(catalogue: Catalogue) -> list[str]:
    """Every scheme there is a file for."""
    return [relative.removeprefix("grades/").removesuffix(".yaml") for relative in catalogue.find("grades/*.yaml")]


def grading(catalogue: Catalogue, scheme_id: str) -> Scheme:
    """A scheme by id; ``unknown-grading``."""
    document = catalogue.open(f"grades/{scheme_id}.yaml", "grading")
    if document is None:
        raise refuse(
            "unknown-grading",
            f"there is no grading scheme {scheme_id}",
            where=f"grades/{scheme_id}.yaml",
            remedy=f"use one of {', '.join(grading_ids(catalogue))}, or add the file",
        )
    return read_grading(document)


def read_grading(document: Document) -> Scheme:
    """A scheme from its checked document; ``grade-fraction`` for an edge that is no whole number of milligrams."""
    data = document.data
    unit = data["unit"]
    return Scheme(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        subject=data["subject"],
        measure=data["measure"],
        period=data["period"],
        status=data["status"],
        source=data["source"],
        bands=tuple(
            Band(
                id=band["id"],
                name=band["name"]["en"],
                name_zh=band["name"]["zh"],
                low=_cut(document, unit, band["from"], "bands", number, "from"),
                high=_cut(document, unit, band["to"], "bands", number, "to"),
            )
            for number, band in enumerate(data["bands"])
        ),
        gaps=tuple(
            Gap(
                _mg(document, unit, gap["from"], "gaps", number, "from"),
                _mg(document, unit, gap["to"], "gaps", number, "to"),
                gap["why"].strip(),
            )
            for number, gap in enumerate(data["gaps"])
        ),
        unknown=tuple(text.strip() for text in data["unknown"]),
        where=document.where(),
    )


def _cut(document: Document, unit: str, edge: dict[str, Any] | None, *path: str | int) -> Cut | None:
    """An edge: a band that begins with an included amount begins just below it, one that ends with it just above."""
    if edge is None:
        return None
    return Cut(_mg(document, unit, edge["value"], *path, "value"), edge["included"] == (path[-1] == "to"))


def _mg(document: Document, unit: str, text: str, *path: str | int) -> int:
    amount = Fraction(text) * MG_PER_UNIT[unit]
    if amount.denominator != 1:
        raise refuse(
            "grade-fraction",
            f"{text} {unit} is no whole number of milligrams",
            where=document.where(*path),
            remedy="write at most as many decimals as there are milligrams",
        )
    return int(amount)
