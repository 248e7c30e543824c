"""Grade the month of a person or a partner by a scheme of the catalogue (碳等级)."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.grade import MEASURES, Scheme, grade, measured_mg
from tanzhang.engine.kernel import quote
from tanzhang.service.city import STATE, city_totals
from tanzhang.service.joining import own_accounts
from tanzhang.service.ranking import Scope
from tanzhang.service.settle import settled_records
from tanzhang.stores.grading import grading
from tanzhang.stores.home import Home

PERSON, PARTNER = "person", "partner"


def grade_account(home: Home, account: uuid.UUID, month: date, *, scheme_id: str | None = None) -> dict[str, Any]:
    """The grade of a person for the month that a local day is in, from confirmed acts of that month.

    Acts booked in accounts that are joined to the person's count too.
    ``scheme_id`` is a scheme of the catalogue, by default the one that the programme names. A footprint that nobody
    reported is not zero: ``grade-no-footprint``. Raises as well ``grading-unnamed``, ``unknown-grading``,
    ``grade-subject``, ``grade-period``, ``grade-draft``, ``grade-gap``, ``unknown-account``.
    """
    scheme = _scheme(home, PERSON, scheme_id)
    scope = Scope.of("month", month)
    with home.book.snapshot():
        own = own_accounts(home, account)
        if not any(home.book.posted(each) for each in own):
            raise refuse(
                "unknown-account",
                f"nothing was ever confirmed for {account}",
                where="account",
                remedy="see 'tanzhang account list'; PARTNER:SUBJECT names a platform account too",
            )
        con = home.connect()
        named = ", ".join(f"{quote(str(each))}::UUID" for each in own)
        rows = con.execute(
            f"""
            SELECT kind, sum(granted_mg - reversed_mg)::BIGINT, count(*) FILTER (granted_mg > 0)
            FROM {settled_records(home, con)} WHERE account IN ({named})
            AND day BETWEEN DATE '{scope.first}' AND DATE '{scope.last}' GROUP BY 1
            """
        ).fetchall()
    found = {kind: (amount, count) for kind, amount, count in rows}
    return {"account": str(account), **_graded(scheme, scope, found)}


def grade_partner(home: Home, partner: str, month: date, *, scheme_id: str | None = None) -> dict[str, Any]:
    """The grade of a partner from what its users were confirmed through it; as :func:`grade_account`."""
    home.programme.check_partner(partner)
    scheme = _scheme(home, PARTNER, scheme_id)
    scope = Scope.of("month", month)
    rows = city_totals(home, by=(), since=scope.first, until=scope.last, partner=partner)["rows"]
    found = {row["kind"]: (int(row["mg"]), int(row["records"])) for row in rows}
    return {"partner": partner, **_graded(scheme, scope, found)}


def _scheme(home: Home, subject: str, scheme_id: str | None) -> Scheme:
    named = [scheme_id] if scheme_id is not None else list(home.programme.grading)
    schemes = [grading(home.catalogue, name) for name in named]
    chosen = [scheme for scheme in schemes if scheme.subject == subject]
    if scheme_id is not None and not chosen:
        raise refuse(
            "grade-subject",
            f"{scheme_id} grades a {schemes[0].subject}, not a {subject}",
            where="--scheme",
            remedy="name a scheme for it; 'tanzhang catalogue show ID' says whom a scheme grades",
        )
    if len(chosen) != 1:
        raise refuse(
            "grading-unnamed",
            f"programme {home.programme.id} names {len(chosen)} grading schemes for a {subject}",
            where=f"programme {home.programme.id}",
            remedy="name one with --scheme, or list one under grading of the programme",
        )
    return chosen[0]


def _graded(scheme: Scheme, scope: Scope, found: dict[str, tuple[int, int]]) -> dict[str, Any]:
    if scheme.period not in (None, "month"):
        raise refuse(
            "grade-period",
            f"{scheme.id} grades a {scheme.period}, not a month",
            where=scheme.where,
            remedy="use a scheme for months",
        )
    reduction, _ = found.get("reduction", (0, 0))
    footprint, reports = found.get("emission", (0, 0))
    amount = measured_mg(scheme, reduction, footprint)
    if scheme.measure != MEASURES[0] and not reports:
        raise refuse(
            "grade-no-footprint",
            f"no footprint was confirmed from {scope.first} to {scope.last}, and one that is not known is not zero",
            where="footprint",
            remedy="report energy and travel of that month, or use a scheme by reductions",
        )
    band = grade(scheme, reduction, footprint)
    return {
        "month": scope.first.isoformat()[:7],
        "grade": band.id,
        "name": band.name,
        "name_zh": band.name_zh,
        "scheme": scheme.id,
        "title": scheme.title,
        "measure": scheme.measure,
        "mg": str(amount),
        "reduction_mg": str(reduction),
        "footprint_mg": str(footprint),
        "state": STATE,
        "status": "graded",
        "scheme_status": scheme.status,
        "period_stated": scheme.period is not None,
        "source": scheme.source,
    }
