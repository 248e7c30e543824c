"""A reproducible Parquet file of simulated actions of one Beijing day, for measuring."""

from __future__ import annotations

from pathlib import Path

import duckdb

# Shares of the acts; what they are worth comes from the catalogue.
DUPLICATE_SHARE = 0.04


def write_actions(path: Path, rows: int, *, seed: int = 1) -> None:
    """Write ``rows`` actions of about ``rows / 7`` persons, with identifiers as long as real ones.

    4 % report an act that another partner reported too.
    """
    persons = max(rows // 7, 1)
    con = duckdb.connect()
    con.execute(
        f"""
        COPY (
            WITH base AS (
                SELECT range AS n, (hash(range * 31 + {seed}) % 1000000) / 1000000.0 < {DUPLICATE_SHARE} AS copied
                FROM range({rows})
            ), acts AS (
                SELECT n, copied, CASE WHEN copied THEN n - 1 ELSE n END AS act FROM base
            ), drawn AS (
                SELECT *, hash(act * 7 + {seed}) AS a, hash(act * 13 + {seed}) % {persons} AS person FROM acts
            ), kinds AS (
                SELECT *, CASE WHEN a % 100 < 45 THEN 'travel.metro' WHEN a % 100 < 60 THEN 'travel.bus'
                    WHEN a % 100 < 75 THEN 'travel.bicycle' WHEN a % 100 < 88 THEN 'food.no_disposable_cutlery'
                    WHEN a % 100 < 93 THEN 'use.parcel_box_return' ELSE 'finance.e_invoice' END AS type,
                    1500 + (a // 100) % 15000 AS metres,
                    TIMESTAMPTZ '2025-06-05 00:00:00+08' + INTERVAL ((a // 100) % 80000 + 3000) SECOND AS ended
                FROM drawn
            )
            SELECT printf('T20250605%012d', n) AS id,
                CASE WHEN type LIKE 'travel.%' AND copied THEN 'amap'
                    WHEN type IN ('travel.metro', 'travel.bus') THEN 'yikatong'
                    WHEN type = 'travel.bicycle' THEN 'meituan'
                    WHEN type = 'food.no_disposable_cutlery' THEN CASE WHEN copied THEN 'meituan' ELSE 'ele_me' END
                    WHEN type = 'use.parcel_box_return' THEN CASE WHEN copied THEN 'jd' ELSE 'cainiao' END
                    ELSE 'alipay' END AS source,
                type, 'o' || left(md5('person' || person), 27) AS subject, ended AS time,
                CASE WHEN type LIKE 'travel.%' THEN ended - INTERVAL (metres // 6 + 60) SECOND END AS started_at,
                'CN-110000' AS region, 'issuer.' || type AS claim_issuer,
                printf('110000%014d', act) AS claim_identifier,
                CASE WHEN type LIKE 'travel.%' THEN metres::BIGINT END AS distance_m,
                CASE WHEN type NOT LIKE 'travel.%' THEN 1::BIGINT END AS count
            FROM kinds
        ) TO '{path}' (FORMAT parquet)
        """
    )
    con.close()
