"""A small simulated city day, from reports to a verified receipt, on a home of its own.

Who does what, how far and how often is invented and seeded; what it is worth comes from the catalogue. The day has
what real days have: one trip reported by two platforms, retries, malformed rows, a withdrawal, a replayed order.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tanzhang.service.accounts import account_named, action_named, balances
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.service.progress import Progress, silent
from tanzhang.service.quantify import quantify
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.service.settle import settle, settled_records
from tanzhang.service.verify import verify
from tanzhang.stores.home import Home

DAY = date(2025, 6, 5)
_ZONE = ZoneInfo("Asia/Shanghai")
_SETTLED = datetime(2025, 6, 14, 2, 0, tzinfo=UTC)
_RECEIVED = datetime(2025, 6, 6, 2, 0, tzinfo=UTC)
Event = dict[str, Any]


def demo(folder: Path | None, *, seed: int, people: int, progress: Progress = silent) -> dict[str, Any]:
    """Simulate, settle and show one day; everything the command prints, as JSON members.

    ``folder`` must be new or empty; None takes a temporary one that stays for looking around.
    """
    root = folder or Path(tempfile.mkdtemp(prefix="tanzhang-demo-"))
    home = Home.create(
        root, programme="beijing", origin="demo.tanzhang.local/beijing", now=_RECEIVED, seed=f"demo {seed}".encode()
    )
    progress("simulating", 0, 0)
    reports = simulate(seed, people)
    files = root / "simulated-reports"
    files.mkdir()
    submissions = []
    for number, (partner, events) in enumerate(sorted(reports.items())):
        path = files / f"{partner}.ndjson"
        lines = [json.dumps(event, ensure_ascii=False) for event in events]
        if partner == "meituan":
            lines.append('{"specversion": "1.0", "id": "cut off in the midd')
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        progress(f"intake of {partner}", 10 + 40 * number // len(reports), len(lines))
        submissions.append({"partner": partner, **intake(home, path, partner=partner, now=_RECEIVED)})
    for person in range(0, people, 5):  # one in five has linked two platforms
        link_child(
            home,
            account_named(home, f"amap:user-{person}"),
            account_named(home, f"beijing_subway:card-{person}"),
            valid_from=date(2025, 1, 1),
            valid_until=None,
            now=_RECEIVED,
        )
    progress("settling", 50, 0)
    settlement = settle(home, through=date(2025, 6, 13), now=_SETTLED)
    progress("looking at it", 75, settlement["records"])
    box = action_named(home, "cainiao:box-0")
    receipt = create_receipt(home, box)
    (root / "box.receipt").write_bytes(receipt)
    ranking = [{"account": str(row.account), "reduction_mg": str(row.reduction_mg)} for row in balances(home, 10)[1]]
    explained = quantify(
        home.catalogue, "use.parcel_box_return", region="CN-110000", on=DAY, inputs={"count": 1}, programme="beijing"
    )
    return {
        "simulated": True,
        "home": str(root),
        "day": DAY.isoformat(),
        "seed": seed,
        "people": people,
        "submissions": submissions,
        "settlement": settlement,
        "ranking": ranking,
        "city": _city(home),
        "explained": explained,
        "receipt": check_receipt(receipt, home.values["vkey"]),
        "verification": verify(home),
        "next": [
            f"export TANZHANG_HOME={root}",
            "tanzhang account list",
            "tanzhang account show beijing_subway:card-0     # two linked platforms, one account",
            "tanzhang receipt create cainiao:box-0 -o box.receipt",
            f"tanzhang receipt verify box.receipt --key {root}/keys/log.vkey",
            "tanzhang quantify travel.metro --region CN-440300 --on 2022-09-01 --input distance_m=7350",
            "tanzhang catalogue list",
            "tanzhang verify",
        ],
    }


def simulate(seed: int, people: int) -> dict[str, list[Event]]:
    """The day's reports as CloudEvents by partner; the same for the same seed and number of people."""
    draw = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    reports: dict[str, list[Event]] = {}
    for person in range(people):
        for partner, event in _person(draw, person):
            reports.setdefault(partner, []).append(event)
    _disturb(draw, reports)
    return reports


def _person(draw: random.Random, person: int) -> Iterator[tuple[str, Event]]:
    """What one person does on the day, by partner."""
    if draw.random() < 0.6:
        for leg, hour in (("am", 7), ("pm", 17)):
            start = _at(draw, hour)
            distance = min(60_000, max(1_200, int(draw.lognormvariate(9.1, 0.5))))
            end = start + timedelta(seconds=int(distance / draw.uniform(8, 12)) + 240)
            ride = _claimed("beijing-subway-gates", f"{person:06d}{leg}", distance_m=distance, started_at=_text(start))
            yield _report("beijing_subway", f"ride-{person}-{leg}", "travel.metro", f"card-{person}", end, ride)
            if draw.random() < 0.15:  # the map app saw the same ride; it knows no gate, only where and when
                seen = {"distance_m": distance - 150, "started_at": _text(start - timedelta(seconds=50))}
                seen["evidence"] = "sensed"
                yield _report("amap", f"nav-{person}-{leg}", "travel.metro", f"user-{person}", end, seen)
    if draw.random() < 0.35:
        start = _at(draw, 12)
        distance = draw.randint(600, 5_000)
        end = start + timedelta(seconds=int(distance / draw.uniform(2.5, 4.5)))
        ride = _claimed("meituan", f"B{person:08d}", distance_m=distance, started_at=_text(start))
        yield _report("meituan", f"bike-{person}", "travel.bicycle", f"mt-{person}", end, ride)
    if person == 0 or draw.random() < 0.2:
        parcel = _claimed("cainiao", f"YT{person:010d}", count=1)
        yield _report("cainiao", f"box-{person}", "use.parcel_box_return", f"cn-{person}", _at(draw, 19), parcel)
    if draw.random() < 0.3:
        meal = _claimed("ele.me", f"E{person:09d}", count=1)
        yield _report("ele_me", f"meal-{person}", "food.no_disposable_cutlery", f"el-{person}", _at(draw, 12), meal)
    if draw.random() < 0.25:
        invoice = _claimed("tax-invoice", f"{25110000 + person}", count=1)
        yield _report("alipay", f"inv-{person}", "finance.e_invoice", f"zfb-{person}", _at(draw, 15), invoice)
    if draw.random() < 0.1:
        energy = _claimed("sgcc-beijing", f"M{person:07d}", energy_wh=draw.randint(2_000, 14_000))
        yield _report("alipay", f"kwh-{person}", "footprint.electricity", f"zfb-{person}", _at(draw, 23), energy)


def _disturb(draw: random.Random, reports: dict[str, list[Event]]) -> None:
    """Retries, a replayed order, a withdrawn ride, and rows that cannot be taken."""
    for events in reports.values():
        events.extend(draw.sample(events, max(1, len(events) // 40)))
    boxes = reports["cainiao"]
    evening = datetime.combine(DAY, time(23, 30), _ZONE)
    boxes.append({**boxes[0], "id": "box-replayed", "subject": "cn-someone-else", "time": _text(evening)})
    rides = reports["meituan"]
    undo = {"withdraws": rides[1]["id"]}
    rides.append(_report("meituan", "undo-1", "travel.bicycle", rides[1]["subject"], evening, undo)[1])
    rides.append({**rides[2], "id": "bike-too-far", "data": {**rides[2]["data"], "distance_m": 900_000}})
    rides.append({**rides[3], "id": "bike-no-offset", "time": "2025-06-05 12:00"})


def _claimed(issuer: str, identifier: str, **members: int | str) -> Event:
    return {**members, "claim": {"issuer": issuer, "identifier": identifier}}


def _report(
    partner: str, reference: str, behaviour: str, subject: str, end: datetime, data: Event
) -> tuple[str, Event]:
    event = {
        "specversion": "1.0",
        "id": reference,
        "source": partner,
        "type": behaviour,
        "subject": subject,
        "time": _text(end),
        "data": data,
    }
    return partner, event


def _at(draw: random.Random, hour: int) -> datetime:
    return datetime.combine(DAY, time(hour), _ZONE) + timedelta(seconds=draw.randint(0, 3599))


def _text(moment: datetime) -> str:
    return moment.isoformat()


def _city(home: Home) -> list[dict[str, Any]]:
    """Confirmed reductions of the whole city by category, each act once, with the partners that reported them."""
    con = home.connect()
    settled = settled_records(home, con)
    rows = con.execute(
        f"""
        SELECT split_part(behaviour, '.', 1) AS category, count(*) FILTER (granted_mg > 0),
            sum(granted_mg - reversed_mg)::VARCHAR, string_agg(DISTINCT partner, ', ' ORDER BY partner)
        FROM {settled} WHERE kind = 'reduction' GROUP BY 1 ORDER BY sum(granted_mg - reversed_mg) DESC
        """
    ).fetchall()
    return [{"category": name, "acts": acts, "mg": mg, "partners": partners} for name, acts, mg, partners in rows]
