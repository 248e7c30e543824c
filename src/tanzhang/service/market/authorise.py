"""Authorise (授权): let the own reductions be pooled into lots and sold, on the terms in force; revoke that.

Who authorises is shown the terms and names them by their digest, so that nobody agrees to what was changed meanwhile.
A partner's file says which of its users authorised, each by the partner's own name for them; it speaks for platform
accounts as long as these are no person's, and never over what a person said. docs/lots.md.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from tanzhang.core.access import Actor
from tanzhang.core.claim import CHILD, identity_text
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes, identities
from tanzhang.engine.identities import identity_column
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.joining import own_accounts
from tanzhang.service.market.rules import market_rules
from tanzhang.service.moments import received_at, received_day
from tanzhang.stores.home import Home
from tanzhang.stores.register.authorisations import PERSON, SAID

COLUMNS = ("subject", "from_day", "until_day", "behaviours")
"""Columns of a partner's file; the last two may be missing. Behaviours are separated by blanks."""
_SHOWN = 5


def authorise(
    home: Home,
    account: uuid.UUID,
    *,
    since: date,
    until: date | None = None,
    behaviours: Sequence[str] | None = None,
    terms: str | None = None,
    now: datetime,
) -> dict[str, Any]:
    """Let the reductions of an account, of acts of local days ``[since, until)``, go into lots; of some behaviours.

    ``terms`` is the digest of the terms that were shown, None for those in force. What stands and says the same is that
    one. Raises ``authorisation-malformed``, ``terms-changed``, ``no-market``, ``market-not-in-force``,
    ``already-joined`` for an account whose holdings are another one's.
    """
    rules = market_rules(home, received_day(home, now))
    if terms is not None and terms != rules.digest:
        raise refuse(
            "terms-changed",
            "these are not the terms in force",
            where="#/terms",
            remedy="read the terms again, and send the digest that stands with them",
        )
    if until is not None and until <= since:
        raise _malformed("it is of no day: 'until' is not after 'from'", "#/until")
    _check_behaviours(home, behaviours or ())
    values = {
        "account": account.bytes,
        "from_day": since.isoformat(),
        "until_day": None if until is None else until.isoformat(),
        "behaviours": None if behaviours is None else canonical_json(sorted(set(behaviours))),
        "terms": rules.digest,
        "source": PERSON,
        "made_at": received_at(now),
    }
    with home.book.transaction() as con:
        standing = home.joinings.of_source(str(account))
        if standing is not None and standing.carries:
            raise refuse(
                "already-joined",
                "what this account holds is another one's",
                where="account",
                remedy="authorise from the account that it is part of",
            )
        row = home.authorisations.grant(con, values)
    return described(row)


def revoke(home: Home, account: uuid.UUID, name: int, *, now: datetime) -> dict[str, Any]:
    """Revoke an authorisation for the future; what is in a frozen lot stays there. ``not-found``. Twice is once."""
    with home.book.transaction() as con:
        row = home.authorisations.revoke(con, own_accounts(home, account), name, received_at(now))
    if row is None:
        raise refuse(
            "not-found",
            "there is no such authorisation of yours",
            where="path: authorisation",
            remedy="list your authorisations",
        )
    return described(row)


def authorisations(home: Home, account: uuid.UUID, *, cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
    """Authorisations of an account and of all whose holdings are in it, the latest first. ``cursor-malformed``."""
    before = None if cursor is None else int(place_after(cursor, int)[0])
    rows = home.authorisations.of(own_accounts(home, account), before=before, limit=limit + 1)
    following = cursor_of(rows[limit - 1].id) if len(rows) > limit else None
    return {"items": [described(row) for row in rows[:limit]], "next": following}


def all_authorisations(home: Home, account: uuid.UUID) -> list[dict[str, Any]]:
    """Every authorisation of an account and of all whose holdings are in it, the latest first."""
    return [described(row) for row in home.authorisations.of(own_accounts(home, account))]


def described(row: Any) -> dict[str, Any]:
    """An authorisation as JSON members."""
    return {
        "id": row.id,
        "account": str(uuid.UUID(bytes=bytes(row.account))),
        "from": row.from_day,
        "until": row.until_day,
        "behaviours": None if row.behaviours is None else json.loads(row.behaviours),
        "terms": row.terms,
        "source": row.source,
        "made_at": row.made_at,
        "revoked_at": row.revoked_at,
    }


# -- a partner's file -------------------------------------------------------------------------------------------


def authorise_file(home: Home, path: Path, partner: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Take over which users of a partner authorised: CSV or Parquet with columns :data:`COLUMNS`; all of it or none.

    Users who spoke for themselves are left as they are, and so is what stands already. The same file again changes
    nothing and gives the first answer. Raises ``file-missing``, ``unknown-partner``, ``authorisation-malformed``,
    ``no-market``, ``market-not-in-force``.
    """
    if not path.is_file():
        raise refuse("file-missing", f"{path} is not there", where=str(path), remedy="name an existing file")
    home.programme.check_partner(partner)
    rules = market_rules(home, received_day(home, now))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    fingerprint = hashlib.sha256(f"{partner} {digest}".encode()).hexdigest()
    known = home.authorisations.file(fingerprint)
    if known is not None:
        return known
    table = _read(path)
    at = received_at(now)
    said = _said(home, table, partner, path.name)
    count = said.num_rows
    constants = {"terms": rules.digest, "source": f"partner:{partner}", "made_at": at}
    for name, text in constants.items():
        said = said.append_column(name, pa.array([text], pa.string()).take(pa.array([0] * said.num_rows, pa.int8())))
    with home.book.transaction() as con:
        known = home.authorisations.file(fingerprint)
        if known is not None:
            return known
        new, spoken = _new(home, said)
        answer = {
            "status": "taken in",
            "file": path.name,
            "partner": partner,
            "rows": str(count),
            "authorised": str(new.num_rows),
            "spoke_for_themselves": str(spoken),
        }
        file_row = {"fingerprint": fingerprint, "partner": partner, "name": path.name, "answer": answer, "made_at": at}
        home.authorisations.add_file(con, new, file_row)
        detail = {"file": path.name, "rows": answer["rows"], "authorised": answer["authorised"]}
        home.audit.write(con, actor, "authorisations taken in", f"partner {partner}", at=at, detail=detail)
    return answer


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            table = pq.read_table(path)
        else:
            kinds = {name: pa.string() for name in COLUMNS}
            options = pacsv.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""])
            table = pacsv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise _malformed(f"the file cannot be read: {error}", path.name) from None
    names = table.column_names
    if not {"subject", "from_day"} <= set(names) <= set(COLUMNS):
        raise _malformed(f"its columns are {', '.join(names)}", path.name)
    columns = {name: table[name] if name in names else pa.nulls(table.num_rows, pa.string()) for name in COLUMNS}
    return pa.table({name: column.cast(pa.string()) for name, column in columns.items()})


def _said(home: Home, table: pa.Table, partner: str, file: str) -> pa.Table:
    """Rows of a file as the register keeps them, each once; every mistake together."""
    problems: list[Problem] = []
    if table["subject"].null_count or pc.any(pc.equal(table["subject"], "")).as_py():
        problems += _malformed("a row names no subject", file).problems
    days = {name: _days(table[name], name, file, problems) for name in ("from_day", "until_day")}
    if table["from_day"].null_count:
        problems += _malformed("a row has no from_day", file).problems
    behaviours = _behaviours(home, table["behaviours"], file, problems)
    if not problems and pc.any(pc.less_equal(days["until_day"], days["from_day"])).as_py():
        problems += _malformed("a row is of no day: until_day is not after from_day", file).problems
    if problems:
        raise TanzhangError(problems)
    subjects = table["subject"]
    head = identity_text(CHILD, partner)
    texts = pc.binary_join_element_wise(f"{head}|", pc.utf8_length(subjects).cast(pa.string()), ":", subjects, "")
    children = identity_column(texts, home.identity_key)
    rows = pa.table(
        {
            "account": children.storage.cast(pa.binary(IDENTITY_BYTES)),
            "from_day": table["from_day"],
            "until_day": table["until_day"],
            "behaviours": behaviours,
        }
    )
    return rows.group_by(rows.column_names).aggregate([])


def _days(column: pa.ChunkedArray, name: str, file: str, problems: list[Problem]) -> Any:
    for text in pc.unique(column).to_pylist():
        try:
            if text is not None and date.fromisoformat(text).isoformat() != text:
                raise ValueError(text)
        except ValueError:
            problems += _malformed(f"{name} {text[:20]!r} is no day as 2025-06-01 is", file).problems
    return column


def _behaviours(home: Home, column: pa.ChunkedArray, file: str, problems: list[Problem]) -> pa.ChunkedArray:
    """The lists of a file as the register keeps them; there are few different ones."""
    encoded = column.combine_chunks().dictionary_encode()
    lists = []
    for text in encoded.dictionary.to_pylist():
        names = text.split()
        try:
            _check_behaviours(home, names, file)
        except TanzhangError as error:
            problems += error.problems
        lists.append(canonical_json(sorted(set(names))))
    return pa.array(lists, pa.string()).take(encoded.indices)


def _new(home: Home, said: pa.Table) -> tuple[pa.Table, int]:
    """Rows of a file that stand not already and are of nobody who spoke for themselves, and how many are of such."""
    con = home.connect()
    standing = home.authorisations.standing()
    spoken = home.authorisations.spoken_for()
    con.register("said", _with_uuids(said))
    con.register("standing", _with_uuids(standing))
    con.register("spoken", pa.table({"account": identities(fixed_bytes(spoken, IDENTITY_BYTES))}))
    same = " AND ".join(
        f"standing.{name} IS NOT DISTINCT FROM said.{name}" for name in SAID if name in standing.column_names
    )
    ((count,),) = con.execute("SELECT count(*) FROM said WHERE account IN (SELECT account FROM spoken)").fetchall()
    new = con.sql(
        f"SELECT * FROM said ANTI JOIN standing ON {same} WHERE account NOT IN (SELECT account FROM spoken) "
        "ORDER BY account, from_day"
    ).to_arrow_table()
    return new.set_column(0, "account", new["account"].cast(pa.binary(IDENTITY_BYTES))), int(count)


def _with_uuids(rows: pa.Table) -> pa.Table:
    return rows.set_column(0, "account", identities(fixed_bytes(rows["account"], IDENTITY_BYTES)))


def _check_behaviours(home: Home, behaviours: Sequence[str], where: str = "#/behaviours") -> None:
    known = {each.behaviour for each in home.catalogue.all_methodologies()}
    unknown = sorted(set(behaviours) - known)
    if unknown:
        raise _malformed(f"no methodology is of {', '.join(unknown[:_SHOWN])}", where)


def _malformed(message: str, where: str) -> TanzhangError:
    remedy = "docs/lots.md shows what an authorisation says, and what a file of them has"
    return refuse("authorisation-malformed", message, where=where, remedy=remedy)
