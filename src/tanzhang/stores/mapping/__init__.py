"""Mappings: a foreign CSV or Parquet file becomes raw action rows by a file of data, with no code per source.

``load_mapping`` checks a mapping file and reports every mistake with its line. ``apply_mapping`` turns it into SQL over
whole columns and leaves a temporary table of canonical rows in the given DuckDB connection. Every source row ends as an
action, as a refusal with a code, as the entry half of a pair, or as a counted skip; a sum that does not come out is
refused (``mapping-lost-rows``). Numbers are whole-number arithmetic on the written digits; the one exception is the
great-circle distance, which is cut to whole metres at once.

What a mapping can say is in ``catalogue/schemas/mapping.schema.json``. To follow a row, begin in ``run``::

    loading, document    the mapping file: its mistakes, its shape
    run                  the parts below, in turn; accounts for every row
    reading, lines       the source: header, lines, text values
    tables               look-up tables
    filters              conditions; rows skipped or refused
    pairs                an entry and an exit become one row
    fields               text of every field and input, then the canonical row
    times, decimals      what a time or a number is worth
    withdrawals          rows that take an earlier one back
    query, sql           the query that grows, and pieces of SQL text
"""

from tanzhang.stores.mapping.document import Mapping, Rehearsal
from tanzhang.stores.mapping.loading import load_mapping
from tanzhang.stores.mapping.run import Mapped, apply_mapping
from tanzhang.stores.mapping.tables import table_files

__all__ = ["Mapped", "Mapping", "Rehearsal", "apply_mapping", "load_mapping", "table_files"]
