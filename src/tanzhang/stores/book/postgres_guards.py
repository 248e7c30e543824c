"""Triggers by which PostgreSQL itself refuses to change what is booked, and whether they are still there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from tanzhang.core.errors import Problem
from tanzhang.stores.book.schema import (
    CHAINED,
    ERASABLE,
    WITH_BATCH,
    append_only,
    batch,
    erasing_sql,
    home,
    kept_apart,
    metadata,
    refusal_of,
    refusals,
)

# pg_trigger.tgtype
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True, slots=True)
class Guard:
    """One trigger with its function, both called ``name``; ``kind`` is how PostgreSQL writes down when it fires."""

    schema: str
    table: str
    name: str
    when: str
    kind: int
    body: str

    @property
    def function_sql(self) -> str:
        """Makes the function."""
        head = f'CREATE OR REPLACE FUNCTION "{self.schema}"."{self.name}"() RETURNS trigger LANGUAGE plpgsql'
        return f"{head} AS $guard${self.body}$guard$"

    @property
    def trigger_sql(self) -> str:
        """Makes the trigger."""
        event, each = self.when.split(" FOR EACH ")
        event, _, referencing = event.partition(" REFERENCING ")
        referencing = referencing and f"REFERENCING {referencing} "
        return (
            f'CREATE TRIGGER "{self.name}" {event} ON "{self.schema}"."{self.table}" {referencing}'
            f'FOR EACH {each} EXECUTE FUNCTION "{self.schema}"."{self.name}"()'
        )


def guards(schema: str) -> Iterator[Guard]:
    """Every guard: no update, delete or truncation, nothing added to ``home``, no row and no posting out of turn.

    Postings are looked at once a statement, whose rows may be many.
    """

    def following(table: sa.Table) -> str:
        return f'(SELECT coalesce(max(seq), -1) + 1 FROM "{schema}"."{table.name}")'

    def refusing(table: sa.Table) -> str:
        return f"RAISE EXCEPTION USING MESSAGE = '{refusal_of(table)}', ERRCODE = 'integrity_constraint_violation';"

    def guard(table: sa.Table, name: str, when: str, kind: int, body: str) -> Guard:
        return Guard(schema, table.name, f"{table.name}_{name}", when, kind, f" BEGIN {body} END ")

    for table in append_only():
        if table not in ERASABLE:
            change = "BEFORE UPDATE OR DELETE OR TRUNCATE FOR EACH STATEMENT"
            yield guard(table, "no_change", change, _BEFORE | _UPDATE | _DELETE | _TRUNCATE, refusing(table))
    removal = "BEFORE DELETE OR TRUNCATE FOR EACH STATEMENT"
    for table in ERASABLE:
        yield guard(table, "no_change", removal, _BEFORE | _DELETE | _TRUNCATE, refusing(table))
        other = f"IF NOT ({erasing_sql(table, 'IS NOT DISTINCT FROM')}) THEN {refusing(table)} END IF; RETURN NEW;"
        yield guard(table, "no_update", "BEFORE UPDATE FOR EACH ROW", _ROW | _BEFORE | _UPDATE, other)
    yield guard(home, "no_insert", "BEFORE INSERT FOR EACH STATEMENT", _BEFORE | _INSERT, refusing(home))
    for table, column in WITH_BATCH:
        late = f"IF EXISTS (SELECT FROM added WHERE {column} <> {following(batch)}) THEN {refusing(table)} END IF;"
        yield guard(
            table,
            "no_late_insert",
            "AFTER INSERT REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
            _INSERT,
            f"{late} RETURN NULL;",
        )
    for table in CHAINED:
        taken = [f"NEW.seq <> {following(table)}"]
        taken += [
            f'EXISTS (SELECT FROM "{schema}"."{table.name}" WHERE {column.name} = NEW.{column.name})'
            for column in table.c
            if column.unique
        ]
        body = f"IF {' OR '.join(taken)} THEN {refusing(table)} END IF; RETURN NEW;"
        yield guard(table, "no_other_insert", "BEFORE INSERT FOR EACH ROW", _ROW | _BEFORE | _INSERT, body)

    for table, each in refusals():
        refusing_it = f"RAISE EXCEPTION USING MESSAGE = '{each.answer}', ERRCODE = 'integrity_constraint_violation';"
        body = f"IF {each.condition} THEN {refusing_it} END IF; RETURN {'OLD' if each.event == 'DELETE' else 'NEW'};"
        kind = _ROW | _BEFORE | {"INSERT": _INSERT, "UPDATE": _UPDATE, "DELETE": _DELETE}[each.event]
        yield guard(table, each.name, f"BEFORE {each.event} FOR EACH ROW", kind, body)


def exclusions(schema: str) -> Iterator[tuple[str, str]]:
    """Each constraint by which ranges of one owner cannot overlap: what takes it away if it is there, what makes it.

    Owner and range are one range of 64 bits, so that no extension is needed.
    """
    for table, (owner, lo, hi) in kept_apart():
        named = f'ALTER TABLE "{schema}"."{table.name}"'
        ends = ", ".join(f"{owner}::bigint * 4294967296 + {end}" for end in (lo, hi))
        made = f'{named} ADD CONSTRAINT "{table.name}_apart" EXCLUDE USING gist (int8range({ends}) WITH &&)'
        yield f'{named} DROP CONSTRAINT IF EXISTS "{table.name}_apart"', made


def guard_problems(con: sa.Connection, schema: str, name: str) -> list[Problem]:
    """Triggers and constraints that are missing, switched off or not as they were made.

    ``name`` is what the book is called in ``where``.
    """
    statement = sa.text(
        """
        SELECT c.relname::text, t.tgname::text, t.tgtype::int, p.prosrc FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE n.nspname = :schema AND t.tgenabled IN ('O', 'A') AND t.tgqual IS NULL
        """
    )
    standing = {tuple(row) for row in con.execute(statement, {"schema": schema})}
    missing = [
        (each.table, f"trigger {each.name} of table {each.table} is missing, switched off or another one")
        for each in guards(schema)
        if (each.table, each.name, each.kind, each.body) not in standing
    ]
    statement = sa.text(
        """
        SELECT c.relname::text, k.contype::text, count(*) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND k.convalidated GROUP BY 1, 2
        """
    )
    counts = {(table, kind): count for table, kind, count in con.execute(statement, {"schema": schema})}
    for table in metadata.sorted_tables:
        for kind, letter, wanted in _constraints(table):
            if counts.get((table.name, letter), 0) != wanted:
                missing.append((table.name, f"not every {kind} of table {table.name} is there and valid"))
    for table, _ in kept_apart():
        if not counts.get((table.name, "x")):
            missing.append((table.name, f"ranges of table {table.name} are not kept apart"))
    remedy = "find out who changed it; restore the schema's definition from a backup"
    return [Problem("book-unguarded", message, f"{name}: {table}", remedy) for table, message in missing]


def _constraints(table: sa.Table) -> Iterator[tuple[str, str, int]]:
    """Kind of constraint in words, its letter in pg_constraint, and how many of it a table has."""
    kinds = {"primary key": "p", "unique constraint": "u", "check": "c"}
    classes = (sa.PrimaryKeyConstraint, sa.UniqueConstraint, sa.CheckConstraint)
    for (kind, letter), wanted in zip(kinds.items(), classes, strict=True):
        yield kind, letter, sum(isinstance(each, wanted) for each in table.constraints)
