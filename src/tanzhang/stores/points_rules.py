"""Points programmes of the catalogue: ``points/<id>/v<N>.yaml``, one file a version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tanzhang.core.action import EVIDENCE
from tanzhang.core.errors import TanzhangError
from tanzhang.core.methodology import canonical_json
from tanzhang.core.points import (
    Campaign,
    Lasting,
    PointsCap,
    PointsProgramme,
    PointsRule,
    Sponsor,
    Start,
    Streak,
    Tier,
)
from tanzhang.stores.versions import DocumentReader, Versions
from tanzhang.stores.yaml_text import Document


def read_points(document: Document) -> PointsProgramme:
    """A points programme from its checked document.

    Raises together: ``day-malformed``, ``period-empty``, ``duplicate-id``, ``points-unknown-rule``,
    ``points-unknown-sponsor``, ``points-tiers``, ``points-share``, ``points-streak``, ``points-campaigns-overlap``,
    ``points-caps-order``.
    """
    return _Reader(document).read()


class _Reader(DocumentReader):
    """One document of a points programme."""

    def read(self) -> PointsProgramme:
        """The programme, or every mistake."""
        data = self.data
        valid = self.period(data["valid"], "valid")
        rules = tuple(self.rule(number, entry) for number, entry in enumerate(data["rules"]))
        ids = [rule.id for rule in rules]
        sponsors = {
            each["id"]: Sponsor(each["id"], each["name"]["en"], each["name"]["zh"], each["budget"])
            for each in data.get("sponsors", [])
        }
        caps = tuple(
            PointsCap(each["id"], each["counts"], each["limit"], each["per"], frozenset(each.get("rules", ids)))
            for each in data.get("caps", [])
        )
        campaigns = tuple(self.campaign(number, entry, ids) for number, entry in enumerate(data.get("campaigns", [])))
        self.names(ids, sponsors)
        self.order_of(caps)
        self.apart(campaigns)
        if self.problems:
            raise TanzhangError(self.problems)
        return PointsProgramme(
            id=data["id"],
            version=data["version"],
            title=data["title"]["en"],
            title_zh=data["title"]["zh"],
            unit_name=data["unit_name"]["en"],
            unit_name_zh=data["unit_name"]["zh"],
            valid=valid,
            rounding=data.get("rounding", "down"),
            rules=rules,
            caps=caps,
            sponsors=sponsors,
            campaigns=campaigns,
            debt=data["when_withdrawn"],
            refund_days=data["refund_days"],
            switch=data["switch"],
            source=data["source"],
            status=data["status"],
            unknown=tuple(text.strip() for text in data["unknown"]),
            digest=hashlib.sha256(canonical_json(data).encode()).hexdigest(),
            where=self.document.where(),
        )

    def rule(self, number: int, entry: Mapping[str, Any]) -> PointsRule:
        """One rule, with what it leaves out from the programme."""
        place: tuple[str | int, ...] = ("rules", number)
        shares = {name: Fraction(text) for name, text in entry.get("evidence", dict.fromkeys(EVIDENCE, "1")).items()}
        for name, share in shares.items():
            if share > 1:
                message = f"evidence class {name} counts with {share}"
                self.note("points-share", message, "write a share from 0 to 1", *place, "evidence", name)
        measure, tiers = _amount(entry)
        if any(before.start >= after.start for before, after in pairwise(tiers)):
            remedy = "let each row begin above the one before"
            self.note("points-tiers", f"the rows of {entry['id']} do not rise", remedy, *place, "tiers")
        if "streak" in entry and "first" in entry:
            remedy = "keep one of the two; a streak that counts once has repeats: false"
            self.note("points-streak", f"{entry['id']} is for a streak and for a first time", remedy, *place, "first")
        own = self.data | entry
        streak = entry.get("streak")
        return PointsRule(
            id=entry["id"],
            title=entry["title"]["en"],
            title_zh=entry["title"]["zh"],
            behaviours=frozenset(entry["behaviours"]),
            partners=frozenset(entry["partners"]) if "partners" in entry else None,
            regions=frozenset(entry["regions"]) if "regions" in entry else None,
            evidence=shares,
            measure=measure,
            tiers=tiers,
            first=entry.get("first"),
            streak=None if streak is None else Streak(streak["days"], streak["repeats"]),
            sponsor=entry.get("sponsor"),
            start=self.start(own["start"], *(place if "start" in entry else ()), "start"),
            collect_days=own["collect_within_days"],
            lasting=self.lasting(own["lasts"], *(place if "lasts" in entry else ()), "lasts"),
        )

    def start(self, data: Mapping[str, Any], *path: str | int) -> Start:
        """When points begin."""
        day = self.day(data["day"], *path, "day") if "day" in data else None
        return Start(data["when"], data.get("days", 0), day)

    def lasting(self, data: Mapping[str, Any], *path: str | int) -> Lasting:
        """When points end."""
        day = self.day(data["day"], *path, "day") if "day" in data else None
        return Lasting(data["until"], data.get("number", 0), day)

    def campaign(self, number: int, entry: Mapping[str, Any], ids: Sequence[str]) -> Campaign:
        """One campaign, over all rules where it names none."""
        place = ("campaigns", number)
        multiplier = Fraction(entry["multiplier"])
        if multiplier < 1:
            remedy = "write at least 1; what earns less is a rule of its own"
            self.note("points-multiplier", f"{entry['id']} earns {multiplier} times", remedy, *place, "multiplier")
        return Campaign(
            id=entry["id"],
            title=entry["title"]["en"],
            title_zh=entry["title"]["zh"],
            days=self.period(entry["days"], *place, "days"),
            rules=frozenset(entry.get("rules", ids)),
            multiplier=multiplier,
            sponsor=entry.get("sponsor"),
        )

    def names(self, ids: Sequence[str], sponsors: Mapping[str, Sponsor]) -> None:
        """Ids that stand twice, and rules and sponsors that are named without being there."""
        for part in ("rules", "caps", "sponsors", "campaigns"):
            entries = self.data.get(part, [])
            named = [entry["id"] for entry in entries]
            for number, entry in enumerate(entries):
                if entry["id"] in named[:number]:
                    message = f"{entry['id']} stands twice under {part}"
                    self.note("duplicate-id", message, "give it another id", part, number, "id")
                if entry.get("sponsor", next(iter(sponsors), None)) not in sponsors and "sponsor" in entry:
                    message = f"{entry['id']} names sponsor {entry['sponsor']}, which is not declared"
                    remedy = "add it under sponsors, with its budget"
                    self.note("points-unknown-sponsor", message, remedy, part, number, "sponsor")
                unknown = sorted(set(entry.get("rules", ())) - set(ids))
                if unknown:
                    message = f"{entry['id']} names {', '.join(unknown)}, which is no rule here"
                    remedy = f"rules here are {', '.join(ids)}"
                    self.note("points-unknown-rule", message, remedy, part, number, "rules")

    def order_of(self, caps: Sequence[PointsCap]) -> None:
        """A narrow cap after a wider one would cut what the wider one has counted already."""
        for number, cap in enumerate(caps):
            wider = [each.id for each in caps[:number] if cap.rules < each.rules and each.per != "act"]
            if wider:
                message = f"{cap.id} limits some of the rules of {', '.join(wider)}, and stands after it"
                remedy = "put the cap over fewer rules first"
                self.note("points-caps-order", message, remedy, "caps", number, "id")

    def apart(self, campaigns: Sequence[Campaign]) -> None:
        """No rule is part of two campaigns on one day."""
        for number, each in enumerate(campaigns):
            for other in campaigns[:number]:
                if each.rules & other.rules and each.days.overlaps(other.days):
                    message = f"{each.id} and {other.id} hold for the same rule on the same day"
                    remedy = "split the days, or the rules, so that one multiplier holds"
                    self.note("points-campaigns-overlap", message, remedy, "campaigns", number, "days")


def _amount(entry: Mapping[str, Any]) -> tuple[str | None, tuple[Tier, ...]]:
    """The measure of a rule and what it comes to: points for an act, a rate, or rows."""
    if "points" in entry:
        return None, (Tier(0, Fraction(entry["points"])),)
    if "rate" in entry:
        return entry["rate"]["measure"], (_tier(0, "0", entry["rate"]),)
    return entry["tiers"]["measure"], tuple(_tiers(entry["tiers"]["rows"]))


def _tiers(rows: Sequence[Mapping[str, Any]]) -> Iterator[Tier]:
    for row in rows:
        yield _tier(row["from"], row["points"], row.get("and", {"points": "0", "of": 1}))


def _tier(start: int, points: str, above: Mapping[str, Any]) -> Tier:
    return Tier(start, Fraction(points), Fraction(above["points"]), above["of"], above.get("whole", False))


POINTS = Versions("points", "points programme", "unknown-points-programme", read_points)
"""Points programmes: the version counts that is in force on an act's local day."""
