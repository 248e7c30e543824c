"""What the tests about whole homes share: a programme, days, reports, and how to look into a home."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from tanzhang.core.claim import ACTION, CHILD, identity
from tanzhang.service.intake import intake
from tanzhang.service.links import spans_of
from tanzhang.service.settle import settle
from tanzhang.service.verify import verify
from tanzhang.stores.book import batch, manifest_of, posting, system_account
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home
from tanzhang.stores.parts import all_record_files
from tanzhang.stores.register.points import points_lot
from tanzhang.stores.storage import parquet_file

ZONE = ZoneInfo("Asia/Shanghai")
DAY = date(2025, 6, 5)
CREATED = datetime(2025, 6, 1, tzinfo=UTC)
# Metres of a metro ride of half an hour: 40 m/s, where the example of a guard allows 34 and the methodology 45.
FAST = 72_000
# What one act is worth in programme beijing on DAY; worked out in the catalogue's own cases.
METRO_MG_PER_M, BOX_MG, INVOICE_MG, POWER_MG_PER_WH = 72, 37_000, 5_000, 558
Event = dict[str, Any]


def on(day: int, hour: int = 2) -> datetime:
    """A moment of June 2025; hour 2 UTC is 10 o'clock in Beijing."""
    return datetime(2025, 6, day, hour, tzinfo=UTC)


def new_home(
    folder: Path,
    programme: str = "beijing",
    seed: bytes = b"test",
    book: str | None = None,
    storage: str | None = None,
    overlays: tuple[Path, ...] = (),
) -> Home:
    origin = f"log.example/{programme}"
    places = {"book": book, "storage": storage}
    return Home.create(folder, programme=programme, origin=origin, overlays=overlays, now=CREATED, seed=seed, **places)


def at_once_home(folder: Path, *families: str, book: str | None = None) -> Home:
    """A home of Beijing's programme, but for families (parcels by default) whose identified acts are settled at once.

    ``folder`` is for the home and, beside it, for the programme's file.
    """
    overlay = folder.with_name(f"{folder.name}-catalogue")
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    text = text.replace("id: beijing\n", f"id: beijing-at-once\nat_once: [{', '.join(families or ('parcel',))}]\n", 1)
    (overlay / "programmes").mkdir(parents=True)
    (overlay / "programmes" / "beijing-at-once.yaml").write_text(text, encoding="utf-8")
    return new_home(folder, "beijing-at-once", book=book, overlays=(overlay,))


def guarded(folder: Path, book: str | None = None, **more: str) -> Home:
    """A home of Beijing's programme with the shipped example of a guard, and ``more`` members of the programme."""
    overlay = folder.with_name(f"{folder.name}-catalogue")
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    lines = "".join(f"{name}: {value}\n" for name, value in {"guard": "example", **more}.items())
    (overlay / "programmes").mkdir(parents=True)
    (overlay / "programmes" / "beijing-guarded.yaml").write_text(
        text.replace("id: beijing\n", f"id: beijing-guarded\n{lines}", 1), encoding="utf-8"
    )
    return new_home(folder, "beijing-guarded", book=book, overlays=(overlay,))


def market_home(folder: Path, book: str | None = None, market: str = "example", **more: str) -> Home:
    """A home of Beijing's programme with market rules (units of the example are 1 kg) and ``more`` members of it."""
    overlay = folder.with_name(f"{folder.name}-catalogue")
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    lines = "".join(f"{name}: {value}\n" for name, value in {"market": market, **more}.items())
    (overlay / "programmes").mkdir(parents=True)
    (overlay / "programmes" / "beijing-market.yaml").write_text(
        text.replace("id: beijing\n", f"id: beijing-market\n{lines}", 1), encoding="utf-8"
    )
    return new_home(folder, "beijing-market", book=book, overlays=(overlay,))


def event(source: str, reference: str, behaviour: str, subject: str, time: datetime, **data: Any) -> Event:
    """One report as a CloudEvent."""
    return {
        "specversion": "1.0",
        "id": reference,
        "source": source,
        "type": behaviour,
        "subject": subject,
        "time": time.astimezone(ZONE).isoformat(),
        "data": data,
    }


def local(hour: int, minute: int = 0, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE)


def box(reference: str, subject: str = "anna", *, day: date = DAY, number: str | None = None, **more: Any) -> Event:
    """A returned parcel box, 37 g; its number makes it unique, so its window is its own day."""
    claim = {"issuer": "cainiao", "identifier": number or f"YT-{reference}"}
    return event("cainiao", reference, "use.parcel_box_return", subject, local(19, day=day), claim=claim, **more)


def ride(
    reference: str,
    subject: str = "anna",
    *,
    source: str = "amap",
    hour: int = 8,
    minute: int = 0,
    distance_m: int = 10_000,
    day: date = DAY,
    **more: Any,
) -> Event:
    """A metro ride of half an hour, told apart by its times; its window is two days."""
    start = local(hour, minute, day=day)
    data = {"distance_m": distance_m, "started_at": start.isoformat(), **more}
    return event(source, reference, "travel.metro", subject, start + timedelta(minutes=30), **data)


def power(reference: str, subject: str = "anna", energy_wh: int = 10_000, *, day: date = DAY) -> Event:
    """Electricity of a household: a footprint of 0.558 g a watt-hour, rounded up."""
    claim = {"issuer": "sgcc", "identifier": reference}
    moment = local(23, day=day)
    return event("alipay", reference, "footprint.electricity", subject, moment, energy_wh=energy_wh, claim=claim)


def withdrawal(target: Event, reference: str, *, day: date = DAY) -> Event:
    """Takes back what was reported as ``target``."""
    moment = local(23, 30, day=day)
    return event(target["source"], reference, target["type"], target["subject"], moment, withdraws=target["id"])


def write(path: Path, events: Iterable[Event | str]) -> Path:
    """A file of NDJSON; texts are written as they are."""
    lines = [each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in events]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def records(home: Home) -> pa.Table:
    """All records of a home, batch by batch; texts as texts however they are stored."""
    tables = [parquet_file(file.path).read() for file in all_record_files(home.storage, home.book.batches())]
    plain = [pa.table({name: _plain(table[name]) for name in table.column_names}) for table in tables]
    return pa.concat_tables(plain, promote_options="default")


def booked(home: Home) -> dict[str, Any]:
    """What settlement comes to, however its records are spread over files: all of it but the digests of those."""
    rows = home.book.rows(batch)
    manifests = [{name: said for name, said in manifest_of(row).items() if name != "book"} for row in rows]
    return {
        "records": records(home).to_pylist(),
        "manifests": manifests,
        "postings": sorted(map(tuple, home.book.query(sa.select(posting)))),
    }


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def outcomes(home: Home) -> dict[uuid.UUID, list[str]]:
    """Action -> the outcomes of its records, in batch order."""
    found: dict[uuid.UUID, list[str]] = {}
    for row in records(home).select(["action_id", "outcome"]).to_pylist():
        action = row["action_id"]
        if action is None:  # an erased record that was itself a second report of its reference
            continue
        found.setdefault(action if isinstance(action, uuid.UUID) else uuid.UUID(bytes=action), []).append(
            row["outcome"]
        )
    return found


def outcome(home: Home, report: Event) -> list[str]:
    """The outcomes of the records of one report's reference."""
    return outcomes(home).get(identity(home.identity_key, ACTION, report["source"], report["id"]), [])


def account(home: Home, source: str, subject: str) -> uuid.UUID:
    """The platform account of a partner's user."""
    return identity(home.identity_key, CHILD, source, subject)


def balance(home: Home, source: str, subject: str, unit: str = "co2e_mg") -> int:
    """What is booked in a platform account."""
    own = account(home, source, subject)
    return home.book.balance(own).get(unit, 0)


def settle_on(home: Home, day: int) -> dict[str, Any]:
    """Settle on a day of June 2025 everything that closed before it."""
    return settle(home, now=on(day))


def settle_files(
    home: Home, files: Iterable[Path], *, partner: str | None = None, through: date | None = None, now: datetime
) -> dict[str, Any]:
    """The whole way for some files: take them in, settle what is due, say what became of it."""
    submissions = [intake(home, file, partner=partner, now=now) for file in files]
    return {"submissions": submissions, "settlement": settle(home, through=through, now=now)}


def partner_totals(home: Home) -> dict[str, dict[str, int]]:
    """What each partner's users were granted through it, by unit, from its side of the double entry."""
    booked = {name: home.book.balance(system_account(f"partner:{name}")) for name in home.programme.partners}
    return {name: {unit: -amount for unit, amount in units.items()} for name, units in booked.items() if units}


def children_of(home: Home, con: Any, account: uuid.UUID) -> list[dict[str, Any]]:
    """The platform accounts linked to an account with the days of consent, from the book and files of links."""
    found = spans_of(home, con, account=str(account))
    return [{"child": child, "from": first, "until": last} for child, _, first, last in found]


def assert_verified(home: Home) -> None:
    result = verify(home)
    problems = [problem for check in result["checks"] for problem in check["problems"]]
    assert problems == []
    assert result["status"] == "verified"


def problems(home: Home) -> list[dict[str, str]]:
    """What verification finds wrong."""
    return [problem for check in verify(home)["checks"] for problem in check["problems"]]


def as_attacker(home: Path) -> sqlite3.Connection:
    """The book by plain SQLite, with the triggers that guard it dropped."""
    con = sqlite3.connect(home / "book.sqlite", isolation_level=None)
    for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        con.execute(f"DROP TRIGGER {name}")
    con.execute("PRAGMA ignore_check_constraints = ON")
    return con


def grant_points(home: Home, unit: str, *accounts: uuid.UUID, amount: int, last: str, first: str) -> None:
    """Points that accounts were given by nobody, from day ``first`` to day ``last``."""
    same = {"unit": unit, "last_day": last, "first_day": first, "collect_by": "", "ended": 0}
    rows = [{**same, "account": each.bytes, "granted": amount, "available": amount} for each in accounts]
    with home.book.transaction() as con:
        con.execute(points_lot.insert(), rows)
