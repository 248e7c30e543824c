"""Every number that the catalogue resolves to, and the snapshot that shows in review which of them a change moves.

A :class:`Cell` is one methodology in one region, variant and evidence class over days in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, product
from pathlib import Path

from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Factor, Period
from tanzhang.core.formula import decimal_text
from tanzhang.core.methodology import Methodology, ParameterRule, Plan
from tanzhang.core.points import PointsRule
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.core.region import ancestors
from tanzhang.engine.reference import quantify_act
from tanzhang.stores.catalogue import Catalogue
from tanzhang.stores.market_rules import MARKET
from tanzhang.stores.points_rules import POINTS

SNAPSHOT = "snapshot.txt"

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


@dataclass(frozen=True, slots=True)
class Cell:
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


def cells(catalogue: Catalogue, methodology: Methodology) -> Iterator[Cell]:
    """Every cell of a methodology: variants, then regions, then evidence classes, then days in order.

    Regions are its own, and those inside them for which a factor has a value of its own. Days run without a hole over
    its validity; where acts are refused the cell has no plan but the code.
    """
    for variant in sorted(methodology.variants) or (None,):
        rules = rules_of(methodology, variant).values()
        series = [catalogue.factor(rule.factor) for rule in rules if rule.factor is not None]
        for region in _regions(methodology, series):
            for evidence in methodology.evidence:
                along = (
                    _cell(catalogue, methodology, region, variant, evidence, period)
                    for period in _periods(methodology, series, region)
                )
                for _, alike in groupby(along, key=lambda cell: (cell.refused, cell.plan and cell.plan.digest)):
                    run = list(alike)
                    yield replace(run[0], period=Period(run[0].period.start, run[-1].period.end))


def _cell(
    catalogue: Catalogue, methodology: Methodology, region: str, variant: str | None, evidence: str, period: Period
) -> Cell:
    try:
        plan = catalogue.plan(methodology, region, period.start, variant, evidence)
    except TanzhangError as error:
        return Cell(methodology, region, variant, evidence, period, None, error.code)
    return Cell(methodology, region, variant, evidence, period, plan, None)


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
        lines += [_line(cell) for cell in cells(catalogue, methodology)]
    lines.append("# points | programme | days | rule, cap or campaign | evidence or limit | points")
    lines += _points_lines(catalogue)
    lines += _market_lines(catalogue)
    return "\n".join(lines) + "\n"


def write_snapshot(catalogue: Catalogue, path: Path) -> None:
    """Write :func:`snapshot` to a file."""
    path.write_text(snapshot(catalogue), encoding="utf-8")


def _line(cell: Cell) -> str:
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


def rules_of(methodology: Methodology, variant: str | None) -> dict[str, ParameterRule]:
    """The parameters of one variant, or of a methodology without variants."""
    own = methodology.variants[variant].parameters if variant is not None else {}
    return {**methodology.parameters, **own}


def all_rules(methodology: Methodology) -> list[ParameterRule]:
    """Every parameter of every variant."""
    return [rule for variant in methodology.variants or (None,) for rule in rules_of(methodology, variant).values()]


def most_per_unit(plan: Plan, name: str) -> Fraction | None:
    """The largest saving for each unit of an input, over the corners of all ranges; None where it does not enter."""
    recipe = read_recipe(plan.document)
    if name not in recipe.input_names:
        return None
    ends = [(max(low, 1) if n == name else low, high) for n in recipe.input_names for low, high in [recipe.ranges[n]]]
    corners = [dict(zip(recipe.input_names, corner, strict=True)) for corner in product(*ends)]
    return max(compute(recipe, corner).exact / corner[name] for corner in corners)


def _points_lines(catalogue: Catalogue) -> Iterator[str]:
    """What every version of every points programme pays and limits, one line each, for the snapshot."""
    for points_id in POINTS.ids(catalogue):
        for programme in POINTS.of(catalogue, points_id):
            start = ["points", programme.key, str(programme.valid)]
            for rule in programme.rules:
                yield " | ".join([*start, rule.id, evidence_text(rule), points_text(rule)])
            for cap in programme.caps:
                over = ", ".join(sorted(cap.rules))
                yield " | ".join([*start, cap.id, f"at most {cap.limit} {cap.counts} per {cap.per}", over])
            for campaign in programme.campaigns:
                over = ", ".join(sorted(campaign.rules))
                yield " | ".join(
                    [*start, campaign.id, f"{campaign.days} times {decimal_text(campaign.multiplier)}", over]
                )


def _market_lines(catalogue: Catalogue) -> Iterator[str]:
    """What every version of all market rules takes and waits for, one line each, for the snapshot."""
    for market_id in MARKET.ids(catalogue):
        for rules in MARKET.of(catalogue, market_id):
            taken = [f"reserve {decimal_text(rules.reserve_share)}"]
            taken += [f"{levy.id} {decimal_text(levy.share)}" for levy in rules.levies]
            taken += [f"{fee.id} {decimal_text(fee.share)}" for fee in rules.fees]
            waits = f"notice {rules.notice_days} {rules.notice_counts}, payment {rules.payment_days}"
            last = f"pay out from {rules.least_payout_fen} fen, escrow {rules.escrow_days} days"
            yield " | ".join(["market", rules.key, str(rules.valid), ", ".join(taken), waits, last])


def evidence_text(rule: PointsRule) -> str:
    """The share of each evidence class under a rule of points."""
    return ", ".join(f"{name} {decimal_text(share)}" for name, share in sorted(rule.evidence.items()))


def points_text(rule: PointsRule) -> str:
    """What a rule of points pays, by measure."""
    parts = []
    for tier in rule.tiers:
        part = decimal_text(tier.points)
        if tier.each:
            part += f" + {decimal_text(tier.each)} for each {'whole ' if tier.whole else ''}{tier.of}"
        parts.append(part if rule.measure is None else f"{rule.measure} from {tier.start}: {part}")
    return "; ".join(parts)
