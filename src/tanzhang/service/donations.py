"""Donations (捐赠): give grams or points to a project, see what it was given, prove one's gift.

Grams that were given stay what the person's acts came to: in the account, in rankings and in the city's totals, where
each gram counts once. What changes is that they are used: they can neither be given again nor go anywhere else, and
nothing gives them back, not even that the act is taken back later; then the person has less than nothing to give until
other acts make up for it. docs/donations.md, docs/adr/0029-donations-and-benefits.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa

from tanzhang.core.access import Actor
from tanzhang.core.allocation import RULE, Allocation
from tanzhang.core.donation import DONATED, DONATIONS
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.passing import PASSED
from tanzhang.engine.signing import verifier_of
from tanzhang.service.giving import give_grams
from tanzhang.service.joining import own_accounts
from tanzhang.service.log_rows import described_proof, proof_of
from tanzhang.service.market.holdings import holdings
from tanzhang.service.moments import received_at, received_day
from tanzhang.service.points import rules_named
from tanzhang.service.reading import Reader
from tanzhang.service.said import Id, Say, check_id, read_documents, say_documents
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.donations import DONATE, account_of, counter_of
from tanzhang.stores.register.points import UNIT, Spending

FORMAT = "tanzhang.donation-projects/1"
GRAMS, POINTS = "grams", "points"
_ENTRIES = 50  # a project's page shows the last ones
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
Amount = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,17}$", examples=["500000"])]


class Open(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from"}):
    """Local days ``[from, until)``; open if ``until`` is null."""

    since: date
    until: date | None = None


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a project hopes for; nothing stops when it is reached."""

    grams_mg: Amount | None = None
    points: Amount | None = None


class ProjectSaid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator says of a project: whom it is for, what it takes, when.

    ``points`` is the points programme whose points it takes, null if it takes grams alone. ``source`` is where its
    holder committed to it, ``status`` example, draft or published.
    """

    title: Text
    title_zh: Text
    text: Text
    text_zh: Text
    recipient: Text
    takes: Annotated[list[Literal["grams", "points"]], msgspec.Meta(min_length=1, max_length=2)]
    open: Open
    source: Text
    status: Literal["example", "draft", "published"]
    points: Id | None = None
    target: Target = Target()


# -- projects -------------------------------------------------------------------------------------------------


def load_projects(home: Home, path: Path, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take projects over from a YAML file: all of them, or none if any is wrong; those that say the same stay as is.

    ``file-missing``, ``project-malformed`` and what reading YAML refuses, all mistakes together.
    """
    read = partial(checked, home)
    found = read_documents(path, form=FORMAT, member="projects", checked=read, malformed=_malformed)
    return {"status": "loaded", "projects": say_documents(home.book, found, _saying(home, actor), now=now)}


def checked(home: Home, said: Any, where: str) -> ProjectSaid:
    """What is said of a project, read; ``project-malformed``, ``unknown-points-programme``."""
    try:
        project = said if isinstance(said, ProjectSaid) else msgspec.convert(said, ProjectSaid)
    except msgspec.ValidationError as error:
        raise _malformed(str(error), where) from None
    if project.open.until is not None and project.open.until <= project.open.since:
        raise _malformed("it is open on no day: 'until' is not after 'from'", where)
    if (POINTS in project.takes) != (project.points is not None):
        raise _malformed("it takes points, or names whose, but not both", where)
    if project.points is not None:
        rules_named(home, project.points)
    return project


def put_project(
    home: Home, name: str, said: ProjectSaid, *, version: int | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Say a project anew, as a whole; ``version`` is what the caller has seen, None for whichever there is.

    ``project-malformed``, ``resource-changed``.
    """
    check_id(name, "path: project", _malformed)
    say_documents(home.book, {name: checked(home, said, "#")}, _saying(home, actor, version), now=now)
    return project_page(home, name)


def _saying(home: Home, actor: Actor, seen: int | None = None) -> Say:
    def say(con: sa.Connection, name: str, document: str, at: str) -> int:
        version, is_new = home.donations.said.say(con, name, document, at, seen=seen)
        if is_new:
            detail = {"version": version}
            home.audit.write(con, actor, "donation project said", f"donation project {name}", at=at, detail=detail)
        return version

    return say


def project_named(home: Home, name: str) -> tuple[int, ProjectSaid]:
    """Version and document of a project; ``unknown-project``."""
    row = home.donations.said.one(name)
    if row is None:
        remedy = "see the list of projects"
        raise refuse("unknown-project", f"there is no project {name[:80]!r}", where="project", remedy=remedy)
    return row.version, msgspec.json.decode(row.document, type=ProjectSaid)


def projects(home: Home, after: str = "", limit: int | None = None) -> list[dict[str, Any]]:
    """Every project whose id comes after another, by id: what is said of it, and what it was given."""
    return [_shown(home, row) for row in home.donations.said.all(after, limit)]


def project_page(home: Home, name: str) -> dict[str, Any]:
    """A project, what it was given, and the last entries of the log that commit to that; ``unknown-project``.

    By how many givers is null while they are fewer than cells of totals have to have. ``sealed`` has of each entry the
    totals of this project as of then; anybody can compare them with the log.
    """
    _, project = project_named(home, name)
    entries = []
    for index, text in home.donations.sealed(_ENTRIES):
        sealed = DONATIONS.parse(text)
        said = _amounts(project, sealed.totals.get(name, {}))
        entries.append({"entry": index, "gifts": str(sealed.rows), "root": sealed.root.hex(), **said})
    shown = _shown(home, home.donations.said.one(name))
    return {**shown, "log": home.values["origin"], "sealed": entries[::-1]}


def _shown(home: Home, row: Any) -> dict[str, Any]:
    given, least = home.donations.given(row.id), home.programme.disclosure.least_accounts_in_cell
    return {
        "id": row.id,
        "version": row.version,
        **json.loads(row.document),
        "given": _amounts(msgspec.json.decode(row.document, type=ProjectSaid), given.amounts),
        "givers": str(given.givers) if given.givers >= least else None,
        "givers_least": str(least),
    }


def _amounts(project: ProjectSaid, sums: Mapping[str, int]) -> dict[str, str]:
    return {"grams_mg": str(sums.get(DONATED, 0)), "points": str(sums.get(f"{UNIT}{project.points}", 0))}


# -- giving ---------------------------------------------------------------------------------------------------


def donate(
    home: Home,
    account: uuid.UUID,
    project: str,
    reference: str,
    *,
    grams_mg: int | None = None,
    points: int | None = None,
    now: datetime,
) -> dict[str, Any]:
    """Give grams or points of an account to a project, for good. The same ``reference`` again is the same gift.

    Raises ``unknown-project``, ``project-closed``, ``grams-short``, ``points-short``, ``reference-taken``.
    """
    said, day, at = project_named(home, project)[1], received_day(home, now), received_at(now)
    unit, amount = (DONATED, grams_mg or 0) if points is None else (f"{UNIT}{said.points}", points)
    if amount <= 0 or None not in (grams_mg, points):
        remedy = "give one of the two, more than nothing"
        raise refuse("gift-malformed", "a gift is of grams or of points", where="#", remedy=remedy)
    name = derived_secret(home, "donation", f"{account} {reference}").hex()[:32]
    with home.book.transaction() as con:
        known = home.donations.row(name)
        if known is not None:
            _check_same(known, project, unit, amount)
            return described(known)
        _check_open(said, project, GRAMS if unit == DONATED else POINTS, day)
        values = {"id": name, "project": project, "account": str(account), "unit": unit, "amount": amount}
        number = None
        if unit == DONATED:
            number = give_grams(home, con, account, account_of(project), DONATED, amount, DONATE, at)
        else:
            spending = Spending(account, amount, DONATE, counter_of(project), name)
            (wrong,) = home.points.spend(con, unit, [spending], at=at, day=day)
            if wrong is not None:
                raise wrong
        home.donations.add(con, {**values, "transfer": number, "made_at": at})
    return described(home.donations.row(name))


def _check_same(row: Any, project: str, unit: str, amount: int) -> None:
    if (row.project, row.unit, row.amount) != (project, unit, amount):
        raise refuse(
            "reference-taken",
            "another gift of yours has this reference",
            where="#/reference",
            remedy="give each gift a reference of its own; send the same again only to retry",
        )


def _check_open(said: ProjectSaid, project: str, what: str, day: date) -> None:
    closed = day < said.open.since or (said.open.until is not None and day >= said.open.until)
    if closed or what not in said.takes:
        raise refuse(
            "project-closed",
            f"{project} takes no {what} on {day}",
            where="project",
            remedy=f"it takes {', '.join(said.takes)} from {said.open.since} until {said.open.until or 'further on'}",
        )


def gifts(home: Home, account: uuid.UUID, before: int | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """Gifts of an account and of those whose holdings are in it, the latest first; ``number`` is for cursors."""
    own = [str(each) for each in own_accounts(home, account)]
    found = home.donations.of(own, before=before, limit=limit)
    return [{"number": row.seq, **described(row)} for row in found]


def described(row: Any) -> dict[str, Any]:
    """A gift as JSON members; ``move`` is the number of its transfer."""
    what = {"grams_mg": str(row.amount)} if row.unit == DONATED else {"points": str(row.amount)}
    return {"id": row.id, "project": row.project, "made_at": row.made_at, **what, "transfer": row.transfer}


def _own_gift(home: Home, account: uuid.UUID, name: str) -> Any:
    row = home.donations.row(name)
    if row is None or row.account not in {str(each) for each in own_accounts(home, account)}:
        raise refuse("not-found", "there is no such gift of yours", where="path: gift", remedy="list your gifts")
    return row


# -- proofs ---------------------------------------------------------------------------------------------------


def receipt(home: Home, account: uuid.UUID, name: str) -> bytes:
    """The proof file of a gift of an account; ``not-found``, ``not-sealed`` until the next batch or epoch."""
    return proof_of(home, home.donations, _own_gift(home, account, name))


def check_receipt(data: bytes, vkey: str) -> dict[str, Any]:
    """Verify a proof file without a home; what it proves, as JSON members. Raises at the first thing that is wrong."""
    return described_proof(DONATIONS.verify(data, verifier_of(vkey)))


# -- which milligrams ------------------------------------------------------------------------------------------


def allocation(reader: Reader, account: uuid.UUID) -> dict[str, Any]:
    """Of which records an account's given grams are, by the rule of :mod:`tanzhang.core.allocation`.

    The records are those of the account and of all whose holdings are in it now; so are the gifts, and what was passed
    on to other schemes, which takes as gifts do.
    """
    found = allocated(reader, account)
    return {
        "account": str(account),
        "rule": RULE,
        "gifts": [
            {
                "gift": gift,
                "records": [{"action": action, "mg": str(mg)} for action, mg in parts.items()],
                "owed_mg": str(found.owed.get(gift, 0)),
            }
            for gift, parts in found.taken.items()
        ],
    }


def allocated(reader: Reader, account: uuid.UUID) -> Allocation:
    """What :func:`allocation` says, as numbers: of gifts and of what was passed on, in the order of their transfers.

    What others gave of these records while they held them is called ``before-parting-`` and the number of the transfer.
    """
    home = reader.home
    found = holdings(reader, account).allocation
    own = [str(each) for each in own_accounts(home, account)]
    rows = [row for row in home.donations.of(own) if row.transfer is not None]
    rows += [row for row in home.passings.of(own) if row.unit == PASSED]
    names = {str(row.transfer): row.id for row in rows}

    def named(number: str) -> str:
        return str(names.get(number, f"before-parting-{number}"))

    return Allocation(
        taken={named(number): parts for number, parts in found.taken.items()},
        owed={named(number): mg for number, mg in found.owed.items()},
        left=found.left,
        lost=found.lost,
    )


def _malformed(message: str, where: str) -> TanzhangError:
    return refuse("project-malformed", message, where=where, remedy="docs/donations.md shows what a project says")
