"""Badges of the catalogue: ``badges/<id>.yaml``."""

from __future__ import annotations

from typing import Any

from tanzhang.core.badge import FIRST_ACT, TOTAL, Badge
from tanzhang.core.errors import refuse
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.yaml_text import Document

_MG_PER_G = 1_000


def badge_ids(catalogue: Catalogue) -> list[str]:
    """Every badge there is a file for."""
    return [relative.removeprefix("badges/").removesuffix(".yaml") for relative in catalogue.find("badges/*.yaml")]


def badge(catalogue: Catalogue, badge_id: str) -> Badge:
    """A badge by id; ``unknown-badge``."""
    document = catalogue.open(f"badges/{badge_id}.yaml", "badge")
    if document is None:
        raise refuse(
            "unknown-badge",
            f"there is no badge {badge_id}",
            where=f"badges/{badge_id}.yaml",
            remedy=f"use one of {', '.join(badge_ids(catalogue))}, or add the file",
        )
    return read_badge(document)


def read_badge(document: Document) -> Badge:
    """A badge from its checked document."""
    data = document.data
    rule = data["rule"]
    among = [rule["behaviour"]] if rule["kind"] == FIRST_ACT else rule.get("among")
    return Badge(
        id=data["id"],
        title=data["title"]["en"],
        title_zh=data["title"]["zh"],
        rule=rule["kind"],
        needed=_needed(rule),
        among=None if among is None else frozenset(among),
        status=data["status"],
        source=data.get("source"),
        where=document.where(),
    )


def _needed(rule: dict[str, Any]) -> int:
    """What a rule asks for, in what it counts."""
    if rule["kind"] == TOTAL:
        return int(rule["reduction_g"]) * _MG_PER_G
    return int(rule.get("days") or rule.get("count") or 1)
