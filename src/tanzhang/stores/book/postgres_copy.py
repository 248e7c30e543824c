"""Postings as a stream of PostgreSQL's binary COPY, made in numpy without a step of Python for each.

The format is that of https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4: a header, rows of
(number of fields, then length and bytes of each, big-endian), a trailer. Rows of one unit are all of one width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from tanzhang.engine.columns import IDENTITY_BYTES, fixed_bytes, integers

COPY_POSTINGS = "COPY posting (account, unit, batch, amount) FROM STDIN (FORMAT BINARY)"
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_ROWS = 1 << 14  # about 1 MB


def copy_stream(number: int, unit: str, postings: pa.Table) -> Iterator[bytes]:
    """The postings of batch ``number`` in ``unit``, from columns account (16 bytes) and amount, in pieces."""
    text = unit.encode()
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("account_bytes", ">i4"),
            ("account", "u1", (IDENTITY_BYTES,)),
            ("unit_bytes", ">i4"),
            ("unit", "u1", (len(text),)),
            ("batch_bytes", ">i4"),
            ("batch", ">i4"),
            ("amount_bytes", ">i4"),
            ("amount", ">i8"),
        ]
    )
    same = np.zeros(_ROWS, dtype=row)
    same["fields"] = 4
    same["account_bytes"], same["unit_bytes"], same["batch_bytes"], same["amount_bytes"] = (
        IDENTITY_BYTES,
        len(text),
        4,
        8,
    )
    same["unit"] = np.frombuffer(text, dtype=np.uint8)
    same["batch"] = number
    accounts, amounts = fixed_bytes(postings["account"], IDENTITY_BYTES), integers(postings["amount"], pa.int64())
    yield _HEADER
    for start in range(0, len(amounts), _ROWS):
        piece = same[: len(amounts) - start]
        piece["account"] = accounts[start : start + _ROWS]
        piece["amount"] = amounts[start : start + _ROWS]
        yield piece.tobytes()
    yield _TRAILER
