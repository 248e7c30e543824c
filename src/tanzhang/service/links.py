"""Links (1+N, 子母账户): whose platform account is whose, with the person's consent from-to.

A consent that has ended is followed by a row of the platform account to itself. Single consents are rows of the book;
whole files of them, as a platform hands over when it joins, are files the book names. Settlement reads both as one
relation.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.claim import CHILD
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.engine.identities import identity_column
from tanzhang.engine.kernel import identity_text_sql, quote
from tanzhang.service.moments import file_moment
from tanzhang.stores.book import is_erased_link, link, link_file
from tanzhang.stores.formats import missing, unreadable
from tanzhang.stores.home import Home
from tanzhang.stores.records import digest_of, write_table

_COLUMNS = ("partner", "subject", "with_partner", "with_subject", "valid_from")
_SHOWN = 20
_AT_ONCE = 500
_OPEN_END = "coalesce(valid_until, DATE '9999-12-31')"


def link_child(
    home: Home, child: uuid.UUID, account: uuid.UUID, *, valid_from: date, valid_until: date | None, now: datetime
) -> dict[str, Any]:
    """Link a platform account to a person's account, with the person's consent from-to (local days of acts).

    Acts of those days that are settled from now on are booked in ``account``; what was booked stays where it is.
    Raises ``link-overlaps`` if the child is linked already in some of those days, ``link-empty`` for no day,
    ``book-moved`` if somebody else linked an account at this moment.
    """
    if valid_until is not None and valid_until <= valid_from:
        raise refuse(
            "link-empty",
            f"[{valid_from}, {valid_until}) holds no day",
            where="link",
            remedy="until must lie after from",
        )
    values = {
        "child": str(child),
        "account": str(account),
        "valid_from": valid_from.isoformat(),
        "valid_until": None if valid_until is None else valid_until.isoformat(),
        "recorded_at": now.astimezone(UTC).isoformat(timespec="seconds"),
    }
    heads = home.book.heads()
    con = home.connect()
    consents = links_relation(home, con)
    standing = (
        con.execute(
            f"""
            SELECT account, valid_from, valid_until FROM {consents} WHERE child = ?
                AND (valid_until IS NULL OR valid_until > ?) AND (?::DATE IS NULL OR valid_from < ?) LIMIT 1
            """,
            [child, valid_from, valid_until, valid_until],
        ).fetchall()
        if consents
        else []
    )
    for other, first, last in standing:
        raise refuse(
            "link-overlaps",
            f"{child} is linked to {other} from {first} until {last or 'open'}",
            where="link",
            remedy="choose days after that consent ended",
        )
    home.book.add_link(values, heads)
    return {
        "child": values["child"],
        "account": values["account"],
        "from": values["valid_from"],
        "until": values["valid_until"],
    }


def link_many(home: Home, path: Path, *, now: datetime) -> dict[str, Any]:
    """Link all platform accounts of a Parquet or CSV file at once: all of them, or none if any is wrong.

    Columns partner, subject (the platform account), with_partner, with_subject (whose account it joins), valid_from
    and, if consents end, valid_until (days). The same file again gives the first answer again. Raises, all mistakes
    together: ``file-missing``, ``file-unreadable``, ``source-header``, ``unknown-partner``, ``missing-field``,
    ``link-empty``, ``link-overlaps``.
    """
    if not path.is_file():
        raise missing(path)
    home.check_storage()
    fingerprint = digest_of(path)
    for row in home.book.query(sa.select(link_file).where(link_file.c.fingerprint == fingerprint)):
        return {"links": row.rows, "file": row.file}
    heads = home.book.heads()
    con = home.connect()
    _read_links(con, path)
    table = con.sql(
        f"SELECT row, {identity_text_sql(CHILD, 'partner', 'subject')} AS child, "
        f"{identity_text_sql(CHILD, 'with_partner', 'with_subject')} AS account, valid_from, valid_until FROM given"
    ).to_arrow_table()
    for place, name in ((1, "child"), (2, "account")):
        table = table.set_column(place, name, identity_column(table[name], home.identity_key))
    con.register("identified", table)
    _check_links(home, con, path)
    sorted_links = con.sql(
        "SELECT child, account, valid_from, valid_until FROM identified ORDER BY account, child, valid_from"
    ).to_arrow_table()
    target = home.storage / "links" / f"{file_moment(now)}-{str(fingerprint)[:12]}.parquet"
    digest = write_table(target, sorted_links, home=home.storage)
    home.book.add_link_file(
        {
            "name": path.name,
            "fingerprint": fingerprint,
            "rows": sorted_links.num_rows,
            "file": target.relative_to(home.storage).as_posix(),
            "file_digest": digest,
            "recorded_at": now.astimezone(UTC).isoformat(timespec="seconds"),
        },
        heads,
    )
    return {"links": sorted_links.num_rows, "file": target.relative_to(home.storage).as_posix()}


def _read_links(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Table ``given``: the file's rows as they are, days as days."""
    reader = "read_parquet" if path.suffix == ".parquet" else "read_csv"
    options = "" if path.suffix == ".parquet" else ", all_varchar = true, header = true"
    source = f"{reader}({quote(str(path))}{options})"
    try:
        present = [name for name, *_ in con.execute(f"SELECT column_name FROM (DESCRIBE FROM {source})").fetchall()]
        missing = [name for name in _COLUMNS if name not in present]
        if missing:
            raise refuse(
                "source-header",
                f"{path.name} has no column {', '.join(missing)}",
                where=str(path),
                remedy=f"give columns {', '.join(_COLUMNS)} and, if consents end, valid_until",
            )
        until = "valid_until::DATE" if "valid_until" in present else "NULL::DATE"
        texts = ", ".join(f"nullif(trim({name}::VARCHAR), '') AS {name}" for name in _COLUMNS[:4])
        con.execute(
            f"CREATE TEMP TABLE given AS SELECT row_number() OVER () AS row, {texts}, "
            f"valid_from::DATE AS valid_from, {until} AS valid_until FROM {source}"
        )
    except duckdb.Error as error:
        raise unreadable(path, error) from None


def _check_links(home: Home, con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Refuse the file with all that is wrong in it."""
    partners = ", ".join(map(quote, home.programme.partners))
    rules = [
        ("missing-field", f"{name} IS NULL", quote(f"{name} is missing"), f"fill {name}; every link needs it")
        for name in _COLUMNS
    ]
    rules += [
        (
            "unknown-partner",
            f"{name} NOT IN ({partners})",
            f"'partner ' || {name} || ' is not a partner of programme {home.programme.id}'",
            f"use one of {', '.join(home.programme.partners)}",
        )
        for name in ("partner", "with_partner")
    ]
    rules.append(
        (
            "link-empty",
            "valid_until <= valid_from",
            "'[' || valid_from || ', ' || valid_until || ') holds no day'",
            "until must lie after from",
        )
    )
    standing = links_relation(home, con)
    others = f"UNION ALL SELECT NULL, child, valid_from, {_OPEN_END} FROM {standing}" if standing else ""
    rules.append(
        (
            "link-overlaps",
            "row IN (SELECT row FROM overlapping)",
            "partner || ':' || subject || ' is linked already in some of these days'",
            "choose days after that consent ended",
        )
    )
    con.execute(
        f"""
        CREATE TEMP TABLE overlapping AS
        WITH spans AS (
            SELECT row, child, valid_from, {_OPEN_END} AS valid_until FROM identified WHERE child IS NOT NULL {others}
        ), placed AS (
            SELECT row, valid_from < max(valid_until) OVER (before ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                    OR lead(valid_from) OVER before < valid_until AS meets
            FROM spans WINDOW before AS (PARTITION BY child ORDER BY valid_from, row NULLS FIRST)
        )
        SELECT row FROM placed WHERE meets AND row IS NOT NULL
        """
    )
    problems = []
    for code, condition, message, remedy in rules:
        found = con.execute(
            f"SELECT row, {message} FROM given WHERE {condition} ORDER BY row LIMIT {_SHOWN}"
        ).fetchall()
        problems += [Problem(code, str(text), f"{path.name}: row {row}", remedy) for row, text in found]
    if problems:
        raise TanzhangError(problems)


@dataclass(frozen=True, slots=True)
class Consents:
    """Every consent of a home: rows (child, account, valid_from, valid_until) and files of such rows.

    ``ends``: platform accounts and the days from which on they belong to nobody else, for consents of files.
    """

    rows: tuple[tuple[str, str, str, str | None], ...]
    files: tuple[str, ...]
    ends: tuple[tuple[str, str], ...] = ()


def consents_of(home: Home) -> Consents:
    """What the book knows of links, each as far as it held."""
    rows, ends = _as_far_as_held(row for row in home.book.rows(link) if not is_erased_link(row))
    files = tuple(str(home.storage / row.file) for row in home.book.link_files())
    return Consents(rows, files, ends)


def links_near(home: Home, con: duckdb.DuckDBPyConnection, children: Iterable[str]) -> str | None:
    """:func:`links_relation` of some platform accounts; what it says of others is not to be relied on."""
    return relation_of(_consents_near(home, children), con)


def _consents_near(home: Home, children: Iterable[str]) -> Consents:
    """Every row of some platform accounts, and all files."""
    named = sorted(set(children))
    found: list[Any] = []
    for start in range(0, len(named), _AT_ONCE):
        found += home.book.query(sa.select(link).where(link.c.child.in_(named[start : start + _AT_ONCE])))
    rows, ends = _as_far_as_held(sorted((row for row in found if not is_erased_link(row)), key=lambda row: row.seq))
    return Consents(rows, tuple(str(home.storage / row.file) for row in home.book.link_files()), ends)


def _as_far_as_held(given: Iterable[Any]) -> tuple[tuple[Any, ...], tuple[tuple[str, str], ...]]:
    """Rows of table link cut where they were ended later, and the ends themselves."""
    rows: list[list[Any]] = []
    ends: list[tuple[str, str]] = []
    of_child: dict[str, list[int]] = {}
    for row in given:
        if row.child != row.account:
            of_child.setdefault(row.child, []).append(len(rows))
            rows.append([row.child, row.account, row.valid_from, row.valid_until])
            continue
        ends.append((row.child, row.valid_from))
        for number in of_child.get(row.child, ()):
            held = rows[number]
            if held[3] is None or held[3] > row.valid_from:
                held[3] = max(held[2], row.valid_from)
    return tuple(tuple(row) for row in rows if row[3] is None or row[2] < row[3]), tuple(ends)


def links_relation(home: Home, con: duckdb.DuckDBPyConnection) -> str | None:
    """Relation of every consent (child, account, valid_from, valid_until), None if there is none."""
    return relation_of(consents_of(home), con)


def relation_of(consents: Consents, con: duckdb.DuckDBPyConnection) -> str | None:
    """:func:`links_relation` in a process that has no book."""
    rows, files = list(consents.rows), consents.files
    if not rows and not files:
        return None
    _as_table(con, "link_rows", rows, ("child", "account", "valid_from", "valid_until"))
    many = ""
    if files:
        many = f"UNION ALL FROM read_parquet([{', '.join(map(quote, files))}])"
    if files and consents.ends:
        _as_table(con, "link_ends", consents.ends, ("child", "day"))
        many = (
            "UNION ALL SELECT child, account, valid_from, least(valid_until, (SELECT min(e.day) FROM link_ends e "
            f"WHERE e.child = f.child AND e.day > f.valid_from)) FROM read_parquet([{', '.join(map(quote, files))}]) f"
        )
    con.execute(f"CREATE OR REPLACE TEMP VIEW links AS FROM link_rows {many}")
    return "links"


def _as_table(
    con: duckdb.DuckDBPyConnection, name: str, rows: Sequence[Sequence[str | None]], columns: Sequence[str]
) -> None:
    """A table of rows of texts: identities in columns child and account, days in the others."""
    texts = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    con.register("link_texts", pa.table({n: pa.array(t, pa.string()) for n, t in zip(columns, texts, strict=True)}))
    typed = (f"{column}::{'UUID' if column in ('child', 'account') else 'DATE'} AS {column}" for column in columns)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {', '.join(typed)} FROM link_texts")
    con.unregister("link_texts")


def spans_of(home: Home, con: duckdb.DuckDBPyConnection, *, child: str = "", account: str = "") -> list[Any]:
    """The consents of a child or into an account: child, account, from, until (None: open), as texts, in order."""
    children = {child} if child else set()
    if account:
        linked = home.book.query(sa.select(link.c.child).where(link.c.account == account))
        children |= {row.child for row in linked}
        files = ", ".join(quote(str(home.storage / row.file)) for row in home.book.link_files())
        if files:
            into = f"SELECT DISTINCT child::VARCHAR FROM read_parquet([{files}]) WHERE account = ?"
            children |= {each for (each,) in con.execute(into, [account]).fetchall()}
    consents = links_near(home, con, children)
    if consents is None:
        return []
    found: list[Any] = con.execute(
        f"SELECT child::VARCHAR, account::VARCHAR, valid_from::VARCHAR, valid_until::VARCHAR FROM {consents} "
        "WHERE child = nullif(?, '')::UUID OR account = nullif(?, '')::UUID ORDER BY valid_from, child",
        [child, account],
    ).fetchall()
    return found
