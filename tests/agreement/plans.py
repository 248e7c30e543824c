"""Every plan that the catalogue can make, and a programme whose acts name them."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from fractions import Fraction

from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Period
from tanzhang.core.methodology import Plan
from tanzhang.core.programme import Partner, Programme
from tanzhang.engine.screen import Question
from tanzhang.stores.catalogue import Catalogue

PROGRAMME = Programme(
    id="test",
    title="test",
    title_zh="测试",
    region="CN",
    time_zone="Asia/Shanghai",
    methodologies=(),
    windows={},
    overlap_threshold=Fraction(7, 10),
    report_within_days=None,
    rehearsal=False,
    caps=(),
    partners={"p0": Partner("p0", "p0", "p0", None)},
    where="test",
)
DAY = timedelta(days=1)


def days_inside(period: Period) -> list[date]:
    last = period.end - DAY if period.end else max(period.start, date(2026, 6, 1))
    return [period.start, period.start + (last - period.start) // 2, last]


def shipped_plans() -> dict[Question, Plan]:
    """A question for every version, variant, evidence class, region and period that has an answer.

    The behaviour of the question is the methodology's key, so that no two methodologies compete.
    """
    catalogue = Catalogue()
    plans: dict[Question, Plan] = {}
    seen: set[str] = set()
    for methodology in catalogue.all_methodologies():
        rules = [*methodology.parameters.values()]
        rules += [rule for variant in methodology.variants.values() for rule in variant.parameters.values()]
        values = [value for rule in rules if rule.factor for value in catalogue.factor(rule.factor).values]
        days = {day for period in (methodology.valid, *(v.period for v in values)) for day in days_inside(period)}
        regions = {"CN-440305", *methodology.regions, *(value.region for value in values)}
        for region, day, variant, evidence in itertools.product(
            sorted(regions), sorted(days), methodology.variants or (None,), methodology.evidence
        ):
            if methodology.region_for(region) is None or not methodology.valid.covers(day):
                continue
            try:
                plan = catalogue.plan(methodology, region, day, variant, evidence)
            except TanzhangError as error:
                if error.code not in ("no-factor", "factor-gap"):
                    raise
                continue
            if plan.digest not in seen:
                seen.add(plan.digest)
                plans[Question(methodology.key, region, variant, evidence, day)] = plan
    return plans


PLANS = shipped_plans()
