"""Times as they are written become instants and RFC 3339 text, by the zone, format and shifts of a mapping."""

from __future__ import annotations

from collections.abc import Mapping

from tanzhang.engine.kernel import quote
from tanzhang.stores.mapping.document import DEFAULT_FORMAT, UNIX
from tanzhang.stores.mapping.query import Query
from tanzhang.stores.mapping.sql import shown

_STEPS = ("read", "placed", "settled", "spelled")
_GAPS_MIN = (60, 30, 120)  # by which a clock is put forward or back


def timed(query: Query, rows: str, fields: Mapping[str, str]) -> str:
    """Add to each ``<name>_raw`` of ``fields``: ``_utc`` (a naive timestamp), ``_text`` (RFC 3339) and ``_bad``.

    ``_bad`` is 1 for not a time, 2 for a local time that does not exist, 3 for one that exists twice; such rows are
    refused under the field that the name stands for.
    """
    columns = [_columns(query, name) for name in fields]
    for number, step in enumerate(_STEPS):
        added = ", ".join(of_name[number] for of_name in columns)
        rows = query.step(f"{'_'.join(fields)}_{step}", f"SELECT *, {added} FROM {rows}")
    pattern = query.data["times"].get("format", DEFAULT_FORMAT)
    for name, field in fields.items():
        for bad, code, words in (
            (1, "time-malformed", f" is not a time as {pattern}"),
            (2, "time-nonexistent", f" does not exist in {query.zone}: the clock is put forward over it"),
            (3, "time-ambiguous", f" happens twice in {query.zone}; choose one by times.repeated_hour"),
        ):
            query.object(f"{name}_bad = {bad}", code, field, shown(f"{name}_raw", words))
    return rows


def _columns(query: Query, name: str) -> tuple[str, str, str, str]:
    """What each of the steps adds for one time."""
    times = query.data["times"]
    written, zone = times["zone"], query.zone
    moved = [f"to_years({times['add_years']})"] if times.get("add_years") else []
    if query.rehearsal and query.rehearsal.shift_days:
        moved.append(f"to_days({query.rehearsal.shift_days})")
    pattern = times.get("format", DEFAULT_FORMAT)
    parsed = _parsed(f"{name}_raw", pattern)
    absolute = pattern in UNIX or "%z" in pattern
    keeps_instant = absolute and not moved and zone == written
    local, guess, chosen = f"{name}_local", f"{name}_guess", f"{name}_chosen"

    read = f"{' + '.join([_local(written, parsed) if absolute else parsed, *moved])} AS {local}"
    placed = f"{parsed if keeps_instant else _utc(zone, local)} AS {guess}"

    # Where the clock is put back, a local time has two instants, and DuckDB gave one of them.
    earlier, later = (
        " ".join(
            f"WHEN {_local(zone, f'{guess} {sign} INTERVAL {gap} MINUTE')} = {local}"
            f" THEN {guess} {sign} INTERVAL {gap} MINUTE"
            for gap in _GAPS_MIN
        )
        for sign in "-+"
    )
    doubts = [f"WHEN {name}_raw IS NOT NULL AND {local} IS NULL THEN 1"]
    choice = guess
    if not keeps_instant:
        repeated = times.get("repeated_hour", "first")
        choice = f"CASE {later if repeated == 'second' else earlier} ELSE {guess} END"
        doubts.append(f"WHEN {_local(zone, guess)} <> {local} THEN 2")
        if repeated == "refuse":
            doubts.append(f"WHEN (CASE {earlier} {later} END) IS NOT NULL THEN 3")
    settled = f"{choice} AS {chosen}, CASE {' '.join(doubts)} ELSE 0 END AS {name}_doubt"

    seconds = f"((epoch_us({local}) - epoch_us({chosen})) // 1000000)"
    # Before standard time, offsets had seconds, which RFC 3339 cannot write.
    bad = f"CASE WHEN {name}_doubt = 0 AND {seconds} % 60 <> 0 THEN 1 ELSE {name}_doubt END"
    fraction = f"CASE WHEN epoch_us({local}) % 1000000 <> 0 THEN strftime({local}, '.%f') ELSE '' END"
    offset = (
        f"format('{{}}{{:02d}}:{{:02d}}', CASE WHEN {seconds} < 0 THEN '-' ELSE '+' END,"
        f" abs({seconds}) // 3600, abs({seconds}) // 60 % 60)"
    )
    text = f"strftime({local}, '%Y-%m-%dT%H:%M:%S') || {fraction} || {offset}"
    spelled = (
        f"{bad} AS {name}_bad, CASE WHEN {bad} = 0 THEN {chosen} END AS {name}_utc,"
        f" CASE WHEN {bad} = 0 THEN {text} ELSE {name}_raw END AS {name}_text"
    )
    return read, placed, settled, spelled


def _parsed(value: str, pattern: str) -> str:
    """A written time as a naive timestamp: local, or of UTC where the format is of instants."""
    if pattern in UNIX:
        return f"make_timestamp(TRY_CAST(trim({value}) AS BIGINT) * {UNIX[pattern]})"
    if "%z" in pattern:
        return f"timezone('UTC', try_strptime(trim({value}), {quote(pattern)}))"
    if pattern == DEFAULT_FORMAT:
        return f"try_strptime(trim({value}), [{quote(pattern)}, {quote(pattern + '.%f')}])"
    return f"try_strptime(trim({value}), {quote(pattern)})"


def _utc(zone: str, local: str) -> str:
    return f"timezone('UTC', timezone({quote(zone)}, {local}))"


def _local(zone: str, utc: str) -> str:
    return f"timezone({quote(zone)}, timezone('UTC', {utc}))"
