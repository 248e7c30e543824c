"""Verifying lots (核查): who may verify, and every act of it, in a chain.

What is said of a verifier is a whole document; each change is a new version. What was done for a lot is a row of
table ``verification_event``: handed over, sample drawn, findings, decision, attestation, registries looked up,
registered. The rows say everything there is about a verification; nothing beside them is kept up to date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tanzhang.core.methodology import canonical_json
from tanzhang.stores.book import Book, append, entry
from tanzhang.stores.book.schema import TEXT, metadata, verification_event
from tanzhang.stores.register.said import Said, said_table

HANDED, DRAWN, FINDINGS, DECIDED = "handed", "drawn", "findings", "decided"
ATTESTED, LOOKED_UP, REGISTERED = "attested", "looked_up", "registered"
KINDS = (HANDED, DRAWN, FINDINGS, DECIDED, ATTESTED, LOOKED_UP, REGISTERED)
ENTRY_KIND = "lot-verification"
"""Of entries of the log that say how a registered lot was verified."""

verifier = said_table("verifier")
# What is published of a lot in small cells, made once: made anew it would tell what an erased person had had.
lot_cells = sa.Table(
    "lot_cells",
    metadata,
    sa.Column("lot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", TEXT, nullable=False),  # canonical JSON
    sa.Column("made_at", TEXT, nullable=False),
)


class Verifications:
    """Verifiers of a home, and what they and the operator did for each lot."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.said = Said(book, verifier)
        """The verifiers."""

    def events(self, lot: int | None = None, *, con: sa.Connection | None = None) -> list[Any]:
        """What was done, of one lot or all, in order; in somebody's transaction if ``con`` is given."""
        own = sa.select(verification_event).order_by(verification_event.c.seq)
        if lot is not None:
            own = own.where(verification_event.c.lot == lot)
        return self._book.query(own) if con is None else list(con.execute(own))

    def handed_to(self, name: str, after: int, limit: int) -> list[Any]:
        """Rows by which lots after number ``after`` were handed to a verifier, by lot."""
        own = verification_event
        of_kind = sa.select(own).where((own.c.kind == HANDED) & (own.c.lot > after)).order_by(own.c.lot)
        return [row for row in self._book.query(of_kind) if detail_of(row)["asked"]["verifier"] == name][:limit]

    def add(
        self,
        con: sa.Connection,
        lot: int,
        kind: str,
        reference: str,
        detail: Mapping[str, Any],
        *,
        actor: str,
        at: str,
    ) -> Any:
        """In somebody's transaction: the next row; returns it."""
        text = canonical_json(detail)
        values = {"lot": lot, "kind": kind, "reference": reference, "detail": text, "actor": actor, "made_at": at}
        seq = append(con, verification_event, values)
        return con.execute(sa.select(verification_event).where(verification_event.c.seq == seq)).one()

    def add_entry(self, con: sa.Connection, text: str) -> int:
        """In somebody's transaction: give the log an entry about a registered lot; returns its index."""
        return append(con, entry, {"kind": ENTRY_KIND, "text": text})

    def registered(self) -> list[tuple[int, str]]:
        """Index in the log and text of every entry about a registered lot, in order."""
        own = sa.select(entry.c.seq, entry.c.text).where(entry.c.kind == ENTRY_KIND).order_by(entry.c.seq)
        return [(row.seq, row.text) for row in self._book.query(own)]

    # -- what is published in cells ---------------------------------------------------------------------------

    def cells(self, lot: int | None = None) -> list[Any]:
        """What is published of one lot, or of all by number."""
        own = sa.select(lot_cells).order_by(lot_cells.c.lot)
        return self._book.query(own if lot is None else own.where(lot_cells.c.lot == lot))

    def keep_cells(self, lot: int, document: str, at: str) -> str:
        """Keep what is published of a lot, unless that was done before; returns what is kept."""
        with self._book.transaction() as con:
            known = con.execute(sa.select(lot_cells.c.document).where(lot_cells.c.lot == lot)).scalar()
            if known is None:
                con.execute(lot_cells.insert(), {"lot": lot, "document": document, "made_at": at})
        return document if known is None else str(known)


def detail_of(row: Any) -> dict[str, Any]:
    """What a row says, as JSON members."""
    said: dict[str, Any] = json.loads(row.detail)
    return said
