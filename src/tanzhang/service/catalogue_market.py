"""The checks of market rules: sources, versions, and that whatever is open says so."""

from __future__ import annotations

from typing import Any

from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import MarketRules
from tanzhang.service.catalogue_points import PointsChecks
from tanzhang.stores.market_rules import read_market
from tanzhang.stores.yaml_text import Document

_ONE = ("unit", "notice", "reserve", "payment", "payout", "escrow")
_MANY = ("levies", "fees", "tiers", "labels", "purposes", "registries")


class MarketChecks(PointsChecks):
    """What can be wrong with the files of ``market/``."""

    def _market(self) -> None:
        """Every version, then what two of them say of each other."""
        rules: dict[str, MarketRules] = {}
        for relative, document in self.found.of_kind("market"):
            self._market_version(relative, document)
            try:
                rules[relative] = read_market(document)
            except TanzhangError as error:
                self.problems += error.problems
        self._succession(rules, "is sold")

    def _market_version(self, relative: str, document: Document) -> None:
        _, folder, name = relative.split("/")
        data = document.data
        key = f"{data['id']}@{data['version']}"
        self._path(document, "id", data["id"], folder)
        self._path(document, "version", data["version"], int(name[1:-5]))
        self._source(data["source"], document.where("source"), f"market rules {key}")
        entries: list[tuple[tuple[str | int, ...], Any]] = [((part,), data[part]) for part in _ONE]
        entries += [((part, number), entry) for part in _MANY for number, entry in enumerate(data[part])]
        for path, entry in entries:
            if "source" in entry:
                self._source(entry["source"], document.where(*path, "source"), f"market rules {key}")
        if data["status"] != "published" and not data["unknown"]:
            remedy = "say under unknown what was not seen, and what is ours in its place"
            self._note("gap-undeclared", f"{key} leaves something open", document.where("unknown"), remedy)
