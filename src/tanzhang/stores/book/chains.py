"""The chains of a book's rows, rebuilt: what was changed, taken out or put in between shows."""

from __future__ import annotations

import json
from contextlib import suppress

import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.stores.book.book import Book
from tanzhang.stores.book.schema import (
    CHAINED,
    EMPTY_HEAD,
    chain_link,
    erasure,
    is_erased,
    link,
    points_move,
    replacement,
    settings_check,
    transfer,
)


def check_chains(book: Book) -> tuple[int, list[Problem], dict[str, list[str]]]:
    """Rebuild every chain; returns rows checked, what is wrong, and the heads after each row by table."""
    problems, heads = [], {}
    settings = book.values()
    count = len(settings)
    if settings.pop("settings_check", None) != settings_check(settings):
        problems.append(_row_changed("table home is not what the home was set up with", f"{book.name}: home"))
    without = {link: _erased_links(book), **{table: _erased(book, table) for table in (transfer, points_move)}}
    for table in CHAINED:
        head = EMPTY_HEAD["head"]
        heads[table.name] = [head]
        for expected, row in enumerate(book.rows(table)):
            count += 1
            values = {name: value for name, value in row._mapping.items() if name != "chain"}
            # What an erased row said is gone; its chain stays, and all that follows is bound to it.
            known = table in without and row.seq in without[table] and is_erased(table, row)
            if row.seq != expected or not (known or chain_link(head, table.name, values) == row.chain):
                what = f"row {expected} of table {table.name} is not what was written"
                problems.append(_row_changed(what, f"{book.name}: {table.name} {expected}"))
            head = row.chain
            heads[table.name].append(head)
    return count, problems, heads


def _erased_links(book: Book) -> set[int]:
    """Rows of table link that were erased, as the rows of table erasure say."""
    found: set[int] = set()
    for row in book.rows(erasure):
        with suppress(ValueError, TypeError):  # then its chain is wrong too
            found.update(json.loads(row.links))
    return found


def _erased(book: Book, table: sa.Table) -> set[int]:
    """Rows of a table that were erased, as the rows of table replacement say."""
    own = sa.select(replacement.c.number).where(replacement.c.kind == table.name)
    return {row.number for row in book.query(own)}


def _row_changed(message: str, where: str) -> Problem:
    return Problem(
        "book-row-changed", message, where, "restore the book from a backup; the log shows up to where it was sealed"
    )
