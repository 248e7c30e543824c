"""Export: everything about one person in one ZIP file, as JSON and CSV, with a page that explains it in two languages.

Nothing in it comes from a second computation: records are those of the record files, amounts those of the book, and
each record is explained by the plan it names. The same home and person give the same bytes but for the time of making.
"""

from __future__ import annotations

import csv
import io
import json
import uuid
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.core.methodology import canonical_json
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.core.record import Record, to_json
from tanzhang.engine.kernel import quote
from tanzhang.service.accounts import read_records
from tanzhang.service.reading import Reader
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.home import Home
from tanzhang.stores.parts import record_files

FORMAT = "tanzhang.export/1"
_PARTS = ("README.md", "account.json", "records.json", "records.csv", "postings.csv", "open.json", "plans.json")
_CSV = (
    "batch", "place", "day", "behaviour", "partner", "region", "kind", "outcome", "quantified_mg", "granted_mg",
    "reversed_mg", "methodology", "action_id", "account", "child", "related", "withdraws", "inputs",
)  # fmt: skip


def export_account(
    home: Home, account: uuid.UUID, path: Path, *, now: datetime, receipts: bool = False
) -> dict[str, Any]:
    """Write everything about an account to a ZIP file, with the platform accounts that are linked to it and since when.

    A platform account's acts of days without consent are its own: they are in an export of that account. ``receipts``
    adds the receipt of each record that was decided by itself; one takes some milliseconds. Raises ``unknown-account``,
    ``account-erased`` and ``export-exists`` for a file that is there.
    """
    if path.exists():
        raise refuse("export-exists", f"{path} is there already", where="--out", remedy="name a new file")
    reader = Reader(home)
    with home.book.snapshot():
        parts, answer = _parts(reader, account, now)
        proofs = _receipts(reader, answer["decided"]) if receipts else {}
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
            for name in _PARTS:
                archive.writestr(_entry(name, now), parts[name])
            for action, proof in proofs.items():
                archive.writestr(_entry(f"receipts/{action}.tlog-proof", now), proof)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.chmod(0o600)
    counts = {name: answer[name] for name in ("records", "open", "postings", "children")}
    return {"status": "exported", "file": str(path), "account": str(account), **counts, "receipts": len(proofs)}


def _entry(name: str, now: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, now.astimezone(UTC).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _parts(reader: Reader, account: uuid.UUID, now: datetime) -> tuple[dict[str, str], dict[str, Any]]:
    """The texts of the archive by name, and what is in them."""
    home, said = reader.home, reader.statement(account, recent=None)
    plans = home.book.plans()
    placed = _records(home, account)
    records = [explained(number, place, record, plans) for number, place, record in placed]
    postings = _postings(home, account)
    named = sorted({record.plan for _, _, record in placed if record.plan is not None})
    made_at = now.astimezone(UTC).isoformat(timespec="seconds")
    summary = {
        "format": FORMAT,
        "made_at": made_at,
        "programme": {"id": home.programme.id, "title": home.programme.title, "title_zh": home.programme.title_zh},
        "log": {"origin": home.values["origin"], "key": home.values["vkey"]},
        **{name: said[name] for name in said if name not in ("latest", "open", "programme")},
    }
    texts = {
        "README.md": _readme(home, made_at),
        "account.json": _json(summary),
        "records.json": _json({"format": FORMAT, "records": records}),
        "records.csv": _csv(_CSV, records),
        "postings.csv": _csv(("batch", "sealed_at", "unit", "amount"), postings),
        "open.json": _json({"format": FORMAT, "open": said["open"]}),
        "plans.json": _json({"format": FORMAT, "plans": {digest: json.loads(plans[digest]) for digest in named}}),
    }
    decided = [record.action_id for _, _, record in placed if record.outcome not in ("repeat", "conflict")]
    counted = {"records": len(records), "open": len(said["open"]), "postings": len(postings)}
    return texts, {**counted, "children": len(said["children"]), "decided": decided}


def _records(home: Home, account: uuid.UUID) -> list[tuple[int, int, Record]]:
    """Batch, place in it and record, of every record of an account, by day."""
    numbered = {
        str(file.path): (row.seq, file.first) for row in home.book.batches() for file in record_files(home.storage, row)
    }
    if not numbered:
        return []
    con = home.connect()
    named = ", ".join(map(quote, numbered))
    con.execute(
        f"CREATE TEMP TABLE exported AS FROM read_parquet([{named}], filename = true, file_row_number = true) "
        f"WHERE account = {quote(str(account))}::UUID ORDER BY day, ended, action_id, filename, file_row_number"
    )
    places = con.execute("SELECT filename, file_row_number FROM exported").fetchall()
    records = read_records(con, "SELECT * EXCLUDE (filename, file_row_number) FROM exported")
    found = []
    for (name, row), record in zip(places, records, strict=True):
        number, first = numbered[name]
        found.append((number, first + row, record))
    return found


def explained(number: int, place: int, record: Record, plans: Mapping[str, str]) -> dict[str, Any]:
    """A record with the place of its proof and, step by step, why it is so many milligrams, as JSON members."""
    explained: dict[str, Any] = {"batch": str(number), "place": str(place), **to_json(record), "methodology": None}
    if record.plan is not None:
        recipe = read_recipe(plans[record.plan])
        explained["methodology"] = recipe.methodology
        explained["steps"] = list(compute(recipe, record.inputs, explain=True).steps)
    return explained


def _postings(home: Home, account: uuid.UUID) -> list[dict[str, str]]:
    """What is booked in an account, batch by batch."""
    sealed = {row.seq: row.sealed_at for row in home.book.batches()}
    return [
        {"batch": str(number), "sealed_at": sealed[number], "unit": unit, "amount": str(amount)}
        for unit, amounts in home.book.posted(account).items()
        for number, amount in amounts.items()
    ]


def _receipts(reader: Reader, actions: Iterable[uuid.UUID]) -> dict[uuid.UUID, bytes]:
    return {action: create_receipt(reader.home, action, reader=reader) for action in actions}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table as spreadsheets read it: UTF-8 with a mark, so that Chinese is shown; objects as canonical JSON."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: canonical_json(value) if isinstance(value, dict) else value for name, value in row.items()}
        )
    return "\ufeff" + buffer.getvalue()


def _readme(home: Home, made_at: str) -> str:
    """What each file of the archive holds, in Chinese and English."""
    return f"""# 个人碳账户数据副本

{home.programme.title_zh}（{home.programme.id}），{made_at} 生成。本文件包含本平台以您的账户记录的全部已结算行为及说明。

| 文件 | 内容 |
|---|---|
| account.json | 账户、余额、按行为合计、已关联的子账户及授权起止日 |
| records.json | 每条减排记录，含所用方法学与逐步计算过程 |
| records.csv | 同样的记录，供电子表格打开；`inputs` 为 JSON |
| postings.csv | 每批次记入账户的数额（co2e_mg 为减排量，footprint_mg 为碳足迹，单位毫克） |
| open.json | 已接收、尚未结算的上报；结果为暂定 |
| plans.json | 记录所引用的计算方案全文（方法学、参数、来源），键为其摘要 |
| receipts/ | 如已要求：每条记录的凭证，可离线验证 |

数额以毫克为单位，写作文本，不作舍入。编号为密钥哈希值，不含手机号、卡号或订单号。请妥善保管本文件：其中有您的行为与时间。

验证凭证：`tanzhang receipt verify 凭证文件 --key '{home.values["vkey"]}'`

# A copy of the data of a personal carbon account

{home.programme.title} ({home.programme.id}), made at {made_at}. It holds all settled acts that this platform has
recorded under your account, and why each counts as it does.

| file | holds |
|---|---|
| account.json | the account, its balances, totals by behaviour, linked platform accounts with the days of consent |
| records.json | every record, with its methodology and the steps of its computation |
| records.csv | the same records for spreadsheets; `inputs` is JSON |
| postings.csv | what each batch booked in the account (co2e_mg reductions, footprint_mg footprints, in milligrams) |
| open.json | the reports that are accepted and not settled yet; their outcome is provisional |
| plans.json | the plans that records name, whole (methodology, parameters, sources), by digest |
| receipts/ | if asked for: the receipt of each record, which verifies offline |

Amounts are milligrams, written as text and not rounded. Identities are keyed hashes and hold no phone, card or
order number. Keep this file safe: it says what you did, and when.

A receipt is checked with `tanzhang receipt verify FILE --key '{home.values["vkey"]}'`.
"""
