"""What a batch decided of a partner's reports, row by row, for the partner itself; no person is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.record import OUTCOMES
from tanzhang.engine.kernel import quote
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files


def batch_rows(
    home: Home, partner: str, batch: int, *, outcomes: Sequence[str] = (), after: str = "", limit: int
) -> list[dict[str, Any]]:
    """Records of a partner's reports in a batch, by action id, those after one; amounts in mg as text.

    ``action`` is the id that the answer to the report had. One action may have several records, a report sent again
    among them, so a page may end with fewer of them than there are: ``key`` goes on after the very last one.
    ``not-found``, ``outcome-unknown``.
    """
    unknown = [each for each in outcomes if each not in OUTCOMES]
    if unknown:
        raise refuse(
            "outcome-unknown",
            f"{unknown[0]!r} is no outcome of a record",
            where="query: outcome",
            remedy=f"use some of {', '.join(OUTCOMES)}",
        )
    named = [row for row in home.book.batches() if row.seq == batch]
    if not named:
        raise refuse("not-found", f"there is no batch {batch}", where="batch", remedy="ask for one that was sealed")
    files = all_record_files(home.storage, named)
    if not files:
        return []
    wanted = "" if not outcomes else f"AND outcome IN ({', '.join(map(quote, outcomes))})"
    paths = ", ".join(quote(str(file.path)) for file in files)
    # Records of one action are told apart by their place, so that a page is cut from one pass without sorting it all.
    rows = home.connect().execute(
        f"""
        SELECT action_id::VARCHAR AS action, outcome::VARCHAR, behaviour::VARCHAR, kind::VARCHAR,
            quantified_mg::VARCHAR, granted_mg::VARCHAR, reversed_mg::VARCHAR, related::VARCHAR,
            printf('%s %06d %012d', action, list_position([{paths}], filename), file_row_number) AS key
        FROM read_parquet([{paths}], union_by_name = true, filename = true, file_row_number = true)
        WHERE partner = ? AND action_id IS NOT NULL {wanted} AND key > ? ORDER BY key LIMIT ?
        """,
        [partner, after, limit],
    )
    names = ("action", "outcome", "behaviour", "kind", "quantified_mg", "granted_mg", "reversed_mg", "related", "key")
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
