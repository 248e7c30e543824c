"""Devices and pictures of a season, and the cheats that only they, or the days together, show.

An overlay over finished rows: whose device a row came from, and which picture proves it, is a hash of seed, account and
reference, so nothing is remembered and the rows underneath are those of the season without it. Cheats are platform
accounts: a share of them belongs to a farm, proves acts by pictures of others, or lets a script ride.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from tanzhang.engine.kernel import connect, quote
from tanzhang.engine.simulate.model import TEN_THOUSAND, Devices, Size

if TYPE_CHECKING:
    import duckdb

CHEATS_SCHEMA = pa.schema([("partner", pa.string()), ("id", pa.string()), ("kind", pa.string())])
"""The truth: rows of accounts that cheat, by partner and reference."""
FARM, PICTURE, SCRIPT = "cheat_farm", "cheat_picture", "cheat_script"
_FIELDS = [pa.field("device", pa.string()), pa.field("image_hash", pa.string())]


def with_devices(schema: pa.Schema) -> pa.Schema:
    """The columns of a partner's files with those of devices and pictures."""
    return pa.schema([*schema, *_FIELDS])


class Overlay:
    """Adds devices, pictures and cheats to batches of rows; one thread at a time."""

    def __init__(self, devices: Devices, size: Size) -> None:
        self._devices, self._seed = devices, size.seed
        self._farms = max(1, round(size.people * devices.farm_per_10000 / TEN_THOUSAND / devices.farm_accounts))
        self._homes = max(1, size.people * devices.home_per_10000 * devices.homes_per_account // TEN_THOUSAND)
        self._con: duckdb.DuckDBPyConnection = connect()

    def over(self, partner: str, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """A batch with its new columns and the rows of scripts behind it, and what of it is a cheat."""
        schema = with_devices(batch.schema)
        self._con.register("rows_of", pa.Table.from_batches([batch]))
        made = self._con.sql(self._sql(batch.schema)).to_arrow_table()
        self._con.unregister("rows_of")
        columns = [_typed(made[field.name], field.type) for field in schema]
        known = made.filter(made["kind"].is_valid())
        cheats = pa.table(
            [pa.array([partner] * known.num_rows, pa.string()), known["id"], known["kind"]], schema=CHEATS_SCHEMA
        )
        whole = pa.RecordBatch.from_arrays(columns, schema=schema)
        return whole, cheats.combine_chunks().to_batches()[0] if cheats.num_rows else _nothing()

    def _drawn(self, purpose: str, of: str = "subject") -> str:
        return f"md5_number_lower({quote(f'{self._seed}|{purpose}|')} || {of})"

    def _sql(self, schema: pa.Schema) -> str:
        own = self._devices
        names = [
            f'"{field.name}"::VARCHAR AS "{field.name}"' if pa.types.is_dictionary(field.type) else f'"{field.name}"'
            for field in schema
        ]
        shares = (own.farm_per_10000, own.picture_per_10000, own.script.per_10000)
        ends = [sum(shares[: place + 1]) for place in range(len(shares))]
        cases = " ".join(f"WHEN draw < {end} THEN {quote(kind)}" for end, kind in zip(ends, _KINDS, strict=True))
        pictures = ", ".join(map(quote, own.pictures))
        return f"""
            WITH placed AS (
                SELECT {", ".join(names)}, row_number() OVER () AS place,
                    {self._drawn("cheat")} % {TEN_THOUSAND} AS draw
                FROM rows_of
            ), cheating AS (
                SELECT * EXCLUDE (draw), CASE {cases} END AS cheat, 0 AS turn FROM placed
            ), everything AS (
                FROM cheating UNION ALL BY NAME ({self._script_sql(schema)})
            )
            SELECT * EXCLUDE (place, turn, cheat),
                CASE WHEN cheat = '{FARM}' THEN 'farm-' || {self._drawn("farm")} % {self._farms}
                    WHEN {self._drawn("home")} % {TEN_THOUSAND} < {own.home_per_10000}
                        THEN 'home-' || {self._drawn("which")} % {self._homes}
                    ELSE 'own-' || subject END AS device,
                CASE WHEN type IN ({pictures}) AND subject IS NOT NULL THEN
                    CASE WHEN cheat = '{PICTURE}' THEN 'shot-' || {self._drawn("shot", "id")} % {own.picture_pool}
                        ELSE md5(id) END END AS image_hash,
                CASE WHEN cheat = '{FARM}' OR turn > 0 OR (cheat = '{PICTURE}' AND image_hash IS NOT NULL)
                    THEN cheat END AS kind
            FROM everything ORDER BY turn, place
        """

    def _script_sql(self, schema: pa.Schema) -> str:
        """The rides of scripts: after the pattern of the account's first one of this batch, before it in time."""
        script, names = self._devices.script, schema.names
        if "started_at" not in names or script.input not in names:
            return "SELECT * FROM cheating WHERE false"
        ended = f"time - INTERVAL 1 SECOND * turn_ * {script.every_s}"
        cleared = [f'NULL AS "{name}"' for name in ("claim_issuer", "claim_identifier", "group") if name in names]
        return f"""
            SELECT * EXCLUDE (turn_) REPLACE (
                id || 'S' || turn_ AS id, {ended} AS time, {ended} - INTERVAL {script.takes_s} SECOND AS started_at,
                {script.quantity} AS {script.input}, turn_ AS turn{"".join(f", {text}" for text in cleared)}
            ) FROM (
                SELECT * FROM cheating WHERE cheat = '{SCRIPT}' AND type = {quote(script.of)} AND withdraws IS NULL
                    AND time IS NOT NULL QUALIFY row_number() OVER (PARTITION BY subject ORDER BY id) = 1
            ), (SELECT unnest(range(1, {script.times + 1})) AS turn_)
        """


_KINDS = (FARM, PICTURE, SCRIPT)


def _nothing() -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], pa.string()) for _ in CHEATS_SCHEMA], schema=CHEATS_SCHEMA)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], whole.type)
    if not pa.types.is_dictionary(kind):
        return whole.cast(kind)
    coded = whole.cast(pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.cast(kind.index_type), coded.dictionary)
