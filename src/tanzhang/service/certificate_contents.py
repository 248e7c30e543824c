"""What certificates say of a person: a month, a span for a bank, a donation; and by what each of it can be traced.

Every amount is a sum over the person's settled records, which their receipts prove one by one; ``evidence`` names the
batches and the epoch that were counted, and a digest over the records, so that a list of them can be held against it.
A certificate of a green credit (绿色信用证明) says what its person picked and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.service.award import Rules, rules_of
from tanzhang.service.epoch import latest_epoch
from tanzhang.service.grading import grade_account
from tanzhang.service.joining import first_open_day, own_accounts
from tanzhang.service.reading import MOST, Reader
from tanzhang.stores.book import manifest_of
from tanzhang.stores.home import Home

MEMBERS = ("reduction", "footprint", "acts", "categories", "grades", "points")
"""What a person may pick for a certificate of a green credit."""
MOST_MONTHS = 36
"""The longest span of a certificate; ours."""
NAME_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Contents:
    """What a certificate is about to say: its subject, and evidence beside the proof of the issuer."""

    subject: dict[str, Any]
    evidence: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class DonatedPoints:
    """Points that were given; ``unit`` is theirs in the book, the names are what they are called."""

    unit: str
    name: str
    name_zh: str
    amount: int


@dataclass(frozen=True, slots=True)
class Donation:
    """A donation of points, or of grams (``reduction_mg``), as a certificate shows it. ``reference`` names the gift."""

    reference: str
    project: str
    project_zh: str
    recipient: str
    donated_on: date
    points: DonatedPoints | None = None
    reduction_mg: int | None = None
    evidence: Sequence[Mapping[str, Any]] = ()


def statement(reader: Reader, account: uuid.UUID, month: date, *, today: date, name: str | None = None) -> Contents:
    """The month that a local day is in (月度碳账单): all that was settled of it.

    Raises ``certificate-span``, ``name-malformed``.
    """
    first = month.replace(day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    _check_span(first, last, today)
    counted = _Counted.of(reader, account, first, last)
    picked = [each for each in MEMBERS if each != "grades" or reader.home.programme.grading]
    return _contents(reader.home, account, counted, picked, today, _named(name))


def green_credit(
    reader: Reader,
    account: uuid.UUID,
    since: date,
    until: date,
    members: Collection[str],
    *,
    addressed_to: str,
    today: date,
    name: str | None = None,
) -> Contents:
    """A span of local days, both included, for one reader of it: what the person picked of :data:`MEMBERS`.

    Grades are of whole months. Raises ``certificate-span``, ``certificate-member``, ``name-malformed`` together.
    """
    problems = [
        Problem(
            "certificate-member",
            f"{each!r} is nothing that a certificate can say",
            "#/members",
            f"pick some of {', '.join(MEMBERS)}",
        )
        for each in sorted(set(members) - {*MEMBERS})
    ]
    if not members:
        problems.append(Problem("certificate-member", "nothing is picked", "#/members", "pick what it is to say"))
    said: dict[str, Any] = {}
    checks: list[Callable[[], None]] = [
        lambda: _check_span(since, until, today),
        lambda: said.update(_named(name)),
        lambda: said.update(addressedTo=_text(addressed_to, "#/addressed_to")),
    ]
    for check in checks:
        try:
            check()
        except TanzhangError as error:
            problems += error.problems
    if problems:
        raise TanzhangError(problems)
    counted = _Counted.of(reader, account, since, until)
    return _contents(reader.home, account, counted, members, today, said)


def donation(home: Home, given: Donation, *, name: str | None = None) -> Contents:
    """A donation (捐赠证书)."""
    subject = {
        **of_programme(home),
        **_named(name),
        "reference": given.reference,
        "project": {"name": given.project, "nameZh": given.project_zh, "recipient": given.recipient},
        "donatedOn": given.donated_on.isoformat(),
    }
    if given.points is not None:
        named = {"unit": given.points.unit, "name": given.points.name, "nameZh": given.points.name_zh}
        subject["points"] = [{**named, "amount": str(given.points.amount)}]
    if given.reduction_mg is not None:
        subject["reductionMg"] = str(given.reduction_mg)
    return Contents(subject, [dict(each) for each in given.evidence])


# -- counting -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Counted:
    """Records of a span that granted or took back anything, as JSON members."""

    first: date
    last: date
    rows: list[dict[str, Any]]

    @classmethod
    def of(cls, reader: Reader, account: uuid.UUID, first: date, last: date) -> _Counted:
        accounts, rows, cursor = own_accounts(reader.home, account), [], None
        while True:
            until = last + timedelta(days=1)
            page = reader.records(*accounts, since=first, until=until, cursor=cursor, limit=MOST)
            rows += [row for row in page["items"] if row["granted_mg"] != "0" or row["reversed_mg"] != "0"]
            cursor = page["next"]
            if cursor is None:
                return cls(first, last, rows)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Those that are reductions, or emissions."""
        return [row for row in self.rows if row["kind"] == kind]


def _mg(rows: Iterable[Mapping[str, Any]]) -> int:
    return sum(int(row["granted_mg"]) - int(row["reversed_mg"]) for row in rows)


def _acts(rows: Iterable[Mapping[str, Any]]) -> int:
    return sum(row["granted_mg"] != "0" for row in rows)


def _contents(
    home: Home, account: uuid.UUID, counted: _Counted, picked: Collection[str], today: date, more: Mapping[str, Any]
) -> Contents:
    reductions, footprints = counted.of_kind("reduction"), counted.of_kind("emission")
    # Of acts before this day everything is decided; later ones may still lose to, or be joined by, others.
    confirmed = counted.last < first_open_day(home, today)
    subject: dict[str, Any] = {
        **of_programme(home),
        **more,
        "since": counted.first.isoformat(),
        "until": counted.last.isoformat(),
        "state": "confirmed" if confirmed else "provisional",
    }
    if "reduction" in picked:
        subject["reductionMg"] = str(_mg(reductions))
        subject["ofUnpublishedFactorsMg"] = str(_mg(_unpublished(home, reductions)))
    if "footprint" in picked:
        subject["footprintReports"] = str(_acts(footprints))
        if footprints:  # one that nobody reported is not zero
            subject["footprintMg"] = str(_mg(footprints))
    if "acts" in picked:
        subject["acts"] = str(_acts(reductions))
    if "categories" in picked:
        subject["byCategory"] = _by_category(home, reductions)
    if "grades" in picked:
        subject["grades"] = [_grade(home, account, month) for month in _months(counted.first, counted.last)]
    if "points" in picked:
        subject["points"] = [_points(home, rules, account, today) for rules in rules_of(home)]
    return Contents(subject, _traced(home, counted))


def of_programme(home: Home) -> dict[str, Any]:
    """The programme that a certificate is of."""
    programme = home.programme
    said = {"id": programme.id, "name": programme.title, "nameZh": programme.title_zh}
    return {"programme": {**said, "rehearsal": programme.rehearsal}}


def _points(home: Home, rules: Rules, account: uuid.UUID, today: date) -> dict[str, str]:
    """What an account can use of a kind of points on a day; below zero is owed."""
    shown, usable = rules.at(today), home.points.usable(rules.unit, account, today)
    named = {"name": shown.unit_name, "nameZh": shown.unit_name_zh}
    return {"unit": rules.unit, **named, "amount": str(usable), "asOf": today.isoformat()}


def _by_category(home: Home, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The seven categories of T/ACEF 031-2022 that have any, in its order."""
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_id.setdefault(row["behaviour"].partition(".")[0], []).append(row)
    return [
        {
            "category": each["id"],
            "name": each["name"]["en"],
            "nameZh": each["name"]["zh"],
            "reductionMg": str(_mg(by_id[each["id"]])),
            "acts": str(_acts(by_id[each["id"]])),
        }
        for each in home.catalogue.behaviours["categories"]
        if each["id"] in by_id
    ]


def _unpublished(home: Home, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Records whose methodology or one of its factors is not published: not confirmed from the document itself."""
    plans = home.book.plans({row["plan"] for row in rows if row["plan"] is not None})
    open_ = {digest for digest, document in plans.items() if _is_unpublished(json.loads(document))}
    return [row for row in rows if row["plan"] in open_]


def _is_unpublished(plan: Mapping[str, Any]) -> bool:
    statuses = [plan["status"], *(each["status"] for each in plan["parameters"].values())]
    return any(status != "published" for status in statuses)


def _months(first: date, last: date) -> Iterable[date]:
    """The months of which a span has every day."""
    month = first.replace(day=1)
    while month <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        if first <= month and following <= last + timedelta(days=1):
            yield month
        month = following


def _grade(home: Home, account: uuid.UUID, month: date) -> dict[str, str]:
    """The grade of a month, or the code of why it has none."""
    said = {"month": month.isoformat()[:7]}
    try:
        found = grade_account(home, account, month)
    except TanzhangError as error:
        return {**said, "notGraded": error.code}
    named = {"grade": found["grade"], "name": found["name"], "nameZh": found["name_zh"]}
    return {**said, **named, "scheme": found["scheme"], "schemeStatus": found["scheme_status"]}


def _traced(home: Home, counted: _Counted) -> list[dict[str, Any]]:
    """By what the amounts can be traced: the records that were counted, the batches known then, the last epoch."""
    lines = sorted(f"{row['batch']} {row['action_id']}\n" for row in counted.rows)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    evidence: list[dict[str, Any]] = [{"type": "CountedRecords", "records": str(len(lines)), "sha256": digest}]
    origin = home.values["origin"]
    with home.book.snapshot():
        count = home.book.batch_count()
        if count:
            last = home.book.batches()[-1]
            told = {"batches": str(count), "entry": str(last.entry), "lastRoot": manifest_of(last)["root"]}
            evidence.append({"type": "SealedBatches", "log": origin, **told})
        epoch = latest_epoch(home)
    if epoch is not None:
        trees = {unit: {"root": tree["root"], "total": tree["total"]} for unit, tree in epoch["trees"].items()}
        told = {"day": epoch["day"], "entry": str(epoch["entry"]), "trees": trees}
        evidence.append({"type": "SealedEpoch", "log": origin, **told})
    return evidence


# -- what a person gives ------------------------------------------------------------------------------------------


def _check_span(first: date, last: date, today: date) -> None:
    if last < first or first > today or (last - first).days > 31 * MOST_MONTHS:
        raise refuse(
            "certificate-span",
            f"{first} to {last} is no span that has begun, of at most {MOST_MONTHS} months",
            where="#/since",
            remedy="give the first and the last local day, the first not after today",
        )


def _named(name: str | None) -> dict[str, str]:
    """A name that its person wants on it, and that nobody has checked it."""
    if name is None:
        return {}
    return {"holderName": _text(name, "#/name"), "holderNameCheckedBy": "nobody"}


def _text(given: str, where: str) -> str:
    wanted = " ".join(given.split())
    if not 0 < len(wanted) <= NAME_LENGTH or not wanted.isprintable():
        raise refuse(
            "name-malformed",
            "this is no name that can be shown",
            where=where,
            remedy=f"give 1 to {NAME_LENGTH} characters that can be seen",
        )
    return wanted
