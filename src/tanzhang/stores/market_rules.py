"""Market rules of the catalogue: ``market/<id>/v<N>.yaml``, one file a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import CANCELLED, UNIT_MASS_MG, Fee, LabelScheme, Levy, MarketRules, Tier, terms_digest
from tanzhang.core.methodology import canonical_json
from tanzhang.stores.versions import DocumentReader, Versions
from tanzhang.stores.yaml_text import Document


def read_market(document: Document) -> MarketRules:
    """Market rules from their checked document.

    Raises together: ``day-malformed``, ``period-empty``, ``duplicate-id``, ``market-unknown-tier`` and
    ``market-shares``, where the shares of a lot or of a sale leave nothing.
    """
    return _Reader(document).read()


class _Reader(DocumentReader):
    """One document of market rules."""

    def read(self) -> MarketRules:
        """The rules, or every mistake."""
        data = self.data
        for part in ("levies", "fees", "tiers", "labels", "purposes", "registries"):
            self.unique(part, [entry["id"] for entry in data[part]])
        valid = self.period(data["valid"], "valid")
        notice = data["notice"]
        days_off = frozenset(self.day(text, "notice", "days_off") for text in notice.get("days_off", ()))
        levies = tuple(map(_levy, data["levies"]))
        fees = tuple(Fee(entry["id"], Fraction(entry["share"]), entry["why"].strip()) for entry in data["fees"])
        reserve = Fraction(data["reserve"]["share"])
        self.shares("levies and reserve", [reserve, *(levy.share for levy in levies)], "reserve", "share")
        self.shares("fees", [fee.share for fee in fees], "fees")
        self.tiers()
        if self.problems:
            raise TanzhangError(self.problems)
        text = canonical_json(data)
        return MarketRules(
            id=data["id"],
            version=data["version"],
            title=data["title"]["en"],
            title_zh=data["title"]["zh"],
            status=data["status"],
            source=data["source"],
            valid=valid,
            digest=terms_digest(text),
            where=self.document.where(),
            unit_letter=data["unit"]["letter"],
            unit_mass_mg=UNIT_MASS_MG[data["unit"]["letter"]],
            notice_days=notice["days"],
            notice_counts=notice["counts"],
            days_off=days_off,
            reserve_share=reserve,
            levies=levies,
            fees=fees,
            tiers=tuple(Tier(entry["id"], *_titles(entry), entry.get("source")) for entry in data["tiers"]),
            default_tier=data["default_tier"],
            labels={
                entry["id"]: LabelScheme(entry["id"], entry["tier"], *_titles(entry), entry.get("source"))
                for entry in data["labels"]
            },
            purposes=tuple(entry["id"] for entry in data["purposes"]),
            registries=tuple(entry["id"] for entry in data["registries"]),
            titles={entry["id"]: _titles(entry) for part in ("purposes", "registries") for entry in data[part]},
            payment_days=data["payment"]["days"],
            least_payout_fen=data["payout"]["least_fen"],
            escrow_days=data["escrow"]["days"],
            escrow_purpose=data["escrow"]["purpose"],
            text=text,
        )

    def unique(self, part: str, ids: Sequence[str]) -> None:
        """No id twice in one list."""
        for number, name in enumerate(ids):
            if name in ids[:number]:
                self.note("duplicate-id", f"{name} stands twice under {part}", "give it another id", part, number, "id")

    def shares(self, what: str, shares: Sequence[Fraction], *path: str | int) -> None:
        """Less than the whole, so that something is left for those whom the grams are from."""
        if sum(shares) >= 1:
            message = f"{what} come to {sum(shares)} of the whole"
            self.note("market-shares", message, "write shares that come to less than 1 together", *path)

    def tiers(self) -> None:
        """Every tier that is named is declared."""
        known = [entry["id"] for entry in self.data["tiers"]]
        named: list[tuple[tuple[str | int, ...], str]] = [(("default_tier",), self.data["default_tier"])]
        named += [(("labels", number, "tier"), entry["tier"]) for number, entry in enumerate(self.data["labels"])]
        for path, tier in named:
            if tier not in known:
                remedy = f"use one of {', '.join(known)}, or declare it under tiers"
                self.note("market-unknown-tier", f"tier {tier} is not declared", remedy, *path)


def _levy(entry: Mapping[str, Any]) -> Levy:
    to = CANCELLED if entry["to"] == CANCELLED else f"levy:{entry['id']}"
    return Levy(entry["id"], Fraction(entry["share"]), to, entry["environment"])


def _titles(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["title"]["en"], entry["title"]["zh"]


MARKET = Versions("market", "set of market rules", "unknown-market", read_market)
"""Market rules: one version is in force at a time."""
