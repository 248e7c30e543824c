"""A home whose files are in a bucket or in another folder: the same reports leave the same bytes and answers."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.cli import main
from tanzhang.core.errors import TanzhangError
from tanzhang.engine.signing import verifier_of
from tanzhang.service.accounts import action_named, balances, statement
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child, link_many
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.service.replay import disk_bytes, season
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.book import batch, posting, submission
from tanzhang.stores.home import Home
from tanzhang.stores.log import Log
from tanzhang.stores.parts import PARTS
from tanzhang.stores.storage import files_under

from ..homes import (
    account,
    assert_verified,
    booked,
    box,
    new_home,
    on,
    power,
    records,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..postgres import Server
from ..s3 import SECRET, Bucket, S3Server
from ..stages import LocalStages


def tanzhang(*arguments: object) -> dict[str, Any]:
    """What a command answers; run in this process, which has everything loaded."""
    said, wrong = io.StringIO(), io.StringIO()
    with redirect_stdout(said), redirect_stderr(wrong):
        main._run([*map(str, arguments), "--json"], as_json=True)
    assert SECRET not in said.getvalue() + wrong.getvalue()
    return dict(json.loads(said.getvalue()))


def live(folder: Path, storage: str | None) -> tuple[Home, dict[str, Any]]:
    """A home's first days, and everything that must not depend on where its files are."""
    folder.mkdir()
    home = new_home(folder / "home", storage=storage)
    many = folder / "links.csv"
    many.write_text(
        "partner,subject,with_partner,with_subject,valid_from\ncainiao,anna,amap,anna,2025-06-01\n"
        "alipay,bo,amap,bo,2025-06-01\n"
    )
    answers: list[Any] = [link_many(home, many, now=on(1))]
    link_child(
        home, account(home, "meituan", "anna"), account(home, "amap", "anna"),
        valid_from=date(2025, 6, 1), valid_until=None, now=on(1),
    )  # fmt: skip
    days = [
        [box("b1"), box("b2", "bo"), ride("r1"), "not JSON", ride("r2", distance_m=-5)],
        [box("b3"), power("p1", "bo"), withdrawal(box("b1"), "undo"), ride("r1"), box("b9", number="YT-b2")],
        [box("b4"), ride("r3", hour=12), ride("r4", hour=12, minute=5, source="beijing_subway")],
    ]
    for number, events in enumerate(days):
        file = write(folder / f"{number}.ndjson", events)
        answers += [intake(home, file, now=on(6 + number)), settle_on(home, 9 + number)]
        answers.append(intake(home, file, now=on(6 + number)))
    intake(home, write(folder / "open.ndjson", [ride("r5", day=date(2025, 6, 8))]), now=on(9))
    anna = statement(home, account(home, "amap", "anna"))
    receipts = [create_receipt(home, action_named(home, name)) for name in ("cainiao:b1", "amap:r3")]
    assert check_receipt(receipts[0], home.values["vkey"])["outcome"] == "granted"
    assert_verified(home)
    return home, {
        "answers": answers,
        "reports": [(row.file, row.file_digest, row.verdicts_digest) for row in home.book.rows(submission)],
        "batches": [(row.manifest, row.records_digest, row.subtrees_digest) for row in home.book.rows(batch)],
        "postings": sorted(map(tuple, home.book.query(sa.select(posting)))),
        "records": records(home).to_pylist(),
        "files": {
            name.as_posix(): (home.storage / name).read_bytes()
            for folder in ("reports", "records", "links", "log")
            for name in [folder / each for each, _ in files_under(home.storage / folder)]
        },
        "balances": balances(home),
        "statement": anna,
        "receipts": receipts,
        "season": season(home),
        "sizes": {name: size for name, size in disk_bytes(home).items() if name != "book"},
    }


def test_files_in_a_bucket_or_in_another_folder_are_those_of_the_home_byte_for_byte(
    quick: Path, bucket: Bucket
) -> None:
    plain, usual = live(quick / "plain", None)
    assert plain.storage == plain.folder
    assert not (plain.folder / "keys" / "storage.url").exists()
    apart, elsewhere = live(quick / "apart", str(quick / "files"))
    assert apart.storage == quick / "files"
    remote, far = live(quick / "remote", bucket.address())
    for found in (elsewhere, far):
        assert found.keys() == usual.keys()
        for name in usual:
            assert found[name] == usual[name], name
    assert len(usual["files"]) > 20
    mark = {name for name in bucket.names() if "/" not in name}
    assert len(mark) == 1
    assert set(bucket.names()) - mark == set(usual["files"])
    for home in (apart, remote):
        kept = {path.relative_to(home.folder).as_posix() for path in home.folder.rglob("*") if path.is_file()}
        keys = {f"keys/{name}" for name in ("identity.key", "log.key", "log.vkey", "personal.key", "storage.url")}
        kept = {name for name in kept if not name.startswith(("book.sqlite-", "known/"))}
        assert kept == keys | {".lock", "book.sqlite"}
    assert all((quick / "files" / name).stat().st_mode & 0o77 == 0 for name in ("reports", "records", "links"))


def test_every_command_works_and_no_secret_is_kept_or_shown(quick: Path, bucket: Bucket) -> None:
    home, file = ("--home", quick / "home"), write(quick / "a.ndjson", [box("b1"), box("b2", "bo")])
    made = tanzhang("init", "--programme", "beijing", "--storage", bucket.address(), *home)
    assert made["storage"] == f"s3://{bucket.name}/home"
    kept = (quick / "home" / "keys" / "storage.url").read_text()
    assert kept == f"{bucket.address()}\n"
    taken = tanzhang("intake", file, *home)
    assert taken["verdicts"].startswith(f"s3://{bucket.name}/home/reports/")
    assert tanzhang("settle", *home)["records"] == 2
    assert tanzhang("account", "list", *home)["accounts"] == 2
    assert tanzhang("account", "show", "cainiao:bo", *home)["confirmed"]["reduction_mg"] == "37000"
    assert tanzhang("receipt", "create", "cainiao:b1", "-o", quick / "r", *home)["status"] == "created"
    assert tanzhang("verify", *home)["status"] == "verified"
    everything = b"".join(path.read_bytes() for path in (quick / "home").rglob("*") if path.is_file())
    assert SECRET.encode() not in everything + b"".join(bucket.objects().values())


def test_a_command_of_its_own_ends_quietly(quick: Path, bucket: Bucket) -> None:
    """Client, engine and file system hold each other; nothing of that may be said when the process ends."""
    home = new_home(quick / "home", storage=bucket.address())
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 9)
    command = [sys.executable, "-m", "tanzhang", "verify", "--home", str(home.folder), "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (json.loads(answer.stdout)["status"], answer.stderr) == ("verified", "")


def test_a_prefix_or_folder_that_is_in_use_is_refused_and_left_as_it_is(quick: Path, bucket: Bucket) -> None:
    new_home(quick / "first", storage=bucket.address())
    new_home(quick / "second", storage=bucket.address("other"))
    new_home(quick / "third", storage=str(quick / "files"))
    before = bucket.objects()
    for number, storage in enumerate((bucket.address(), str(quick / "files"), str(quick / "first"))):
        with pytest.raises(TanzhangError, match="storage-in-use: there is something already"):
            new_home(quick / f"refused{number}", storage=storage)
        assert not (quick / f"refused{number}").exists()
    assert bucket.objects() == before
    with pytest.raises(TanzhangError, match=r"storage-address-malformed: .*in the home itself"):
        new_home(quick / "inside", storage=str(quick / "inside" / "files"))
    for home in ("first", "second", "third"):
        assert_verified(Home(quick / home))


def test_what_cannot_be_reached_is_refused_before_anything_is_made(quick: Path, s3: S3Server) -> None:
    for storage in (
        f"s3://no-such-bucket/home?endpoint={s3.url}&region=us-east-1",
        "s3://city-carbon/home?endpoint=http://127.0.0.1:1&region=us-east-1",
    ):
        answer = tanzhang("init", "--home", quick / "home", "--programme", "beijing", "--storage", storage)
        assert answer["code"] == "storage-unusable"
        assert not (quick / "home").exists()


def test_a_storage_that_goes_away_is_said_with_a_code_whatever_is_done(quick: Path, bucket: Bucket) -> None:
    home = new_home(quick / "home", storage=bucket.address())
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 9)
    kept = quick / "home" / "keys" / "storage.url"
    kept.write_text("s3://city-carbon/home?endpoint=http://127.0.0.1:1&region=us-east-1\n")
    for words in (["account", "show", "cainiao:anna"], ["intake", write(quick / "b.ndjson", [box("b2")])]):
        answer = tanzhang(*words, "--home", quick / "home")
        assert answer["code"] == "storage-unusable", words
    kept.write_text("s3://city-carbon/home?secret_key=hunter2\n")
    answer = tanzhang("settle", "--home", quick / "home")
    assert (answer["code"], answer["where"]) == ("storage-address-malformed", str(kept))
    assert "hunter2" not in json.dumps(answer)
    kept.write_text(f"{bucket.address()}\n")
    assert_verified(Home(quick / "home"))


def test_nothing_is_taken_in_where_the_files_of_the_home_are_not(quick: Path, bucket: Bucket) -> None:
    """A disk that is not mounted, a prefix that was mistyped, the files of another home."""
    new_home(quick / "other", seed=b"other", storage=bucket.address("other"))
    for name, storage, wrong in (
        ("disk", str(quick / "files"), None),
        ("bucket", bucket.address(), bucket.address("typo")),
        ("mixed", bucket.address("mixed"), bucket.address("other")),
    ):
        home = new_home(quick / name, storage=storage)
        if wrong is None:
            (quick / "files").rename(quick / "elsewhere")
        else:
            (home.folder / "keys" / "storage.url").write_text(f"{wrong}\n")
        with pytest.raises(TanzhangError, match=r"log-missing|log-checkpoint-changed"):
            intake(Home(home.folder), write(quick / "a.ndjson", [box("b1")]), now=on(6))
    assert not (quick / "files").exists()
    assert bucket.names("typo") == []
    assert not any(name.startswith("reports/") for name in bucket.names("other"))


def test_the_address_may_leave_the_endpoint_to_the_environment(
    quick: Path, bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    home = new_home(quick / "home", storage=f"s3://{bucket.name}/home")
    assert s3.url not in (home.folder / "keys" / "storage.url").read_text()
    assert_verified(home)


def test_a_season_is_replayed_into_a_bucket_as_into_a_folder(quick: Path, bucket: Bucket) -> None:
    season = quick / "season"
    for day in (5, 6):
        (season / "reports" / f"2025-06-0{day}").mkdir(parents=True)
        events = [box(f"b{day}", day=date(2025, 6, day)), box(f"c{day}", "bo", day=date(2025, 6, day))]
        write(season / "reports" / f"2025-06-0{day}" / "cainiao.ndjson", events)
    (season / "simulation.json").write_text(json.dumps({"programme": "beijing", "scenario": "by-hand"}))
    answers = []
    for where, storage in (("near", ()), ("far", ("--storage", bucket.address()))):
        answer = tanzhang("replay", season, "--home", quick / where, *storage)
        answers.append({name: answer[name] for name in ("days", "batches", "records", "outcomes", "net")})
        assert answer["bytes"]["records"] > 1000
        assert_verified(Home(quick / where))
    assert answers[0] == answers[1]
    assert answers[0]["records"] == 4


def test_the_log_in_a_bucket_is_a_log_for_whoever_reads_its_objects(quick: Path, bucket: Bucket) -> None:
    home = new_home(quick / "home", storage=bucket.address())
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 9)
    for name, data in bucket.objects("home/log").items():
        file = quick / "mirror" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    mirror = Log.open(quick / "mirror", home.values["origin"], verifier_of(home.values["vkey"]))
    assert mirror.check() == []
    assert mirror.entries() == home.log_entries()


def test_a_statement_asks_for_footers_and_the_row_groups_of_its_account(
    quick: Path, bucket: Bucket, s3: S3Server
) -> None:
    home = new_home(quick / "home", storage=bucket.address())
    for number in range(3):
        intake(home, write(quick / f"{number}.ndjson", [box(f"b{number}"), box(f"c{number}", "bo")]), now=on(6))
        settle(home, now=on(9))
    s3.requests.clear()
    statement(home, account(home, "cainiao", "anna"))
    assert len(s3.requests) <= 3 * 3
    assert all("records.parquet" in path for _, path, _ in s3.requests)


def test_files_are_moved_as_the_document_says(quick: Path, bucket: Bucket) -> None:
    home = new_home(quick / "home")
    intake(home, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    settle_on(home, 9)
    for folder in ("reports", "records", "links", "log"):
        for name, _ in files_under(home.folder / folder):
            bucket.write(f"{folder}/{name}", (home.folder / folder / name).read_bytes())
        shutil.rmtree(home.folder / folder)
    (home.folder / "keys" / "storage.url").write_text(f"{bucket.address()}\n")
    moved = Home(home.folder)
    assert_verified(moved)
    intake(moved, write(quick / "b.ndjson", [box("b2"), withdrawal(box("b1"), "undo")]), now=on(10))
    assert settle_on(moved, 11)["batch"] == 1
    assert_verified(moved)


def test_with_the_book_on_a_server_a_copy_of_the_keys_is_the_same_home(
    quick: Path, bucket: Bucket, postgres: Server
) -> None:
    first = new_home(quick / "first", book=postgres.address(postgres.database()), storage=bucket.address())
    shutil.copytree(quick / "first" / "keys", quick / "second" / "keys")
    second = Home(quick / "second")
    intake(first, write(quick / "a.ndjson", [box("b1")]), now=on(6))
    assert settle_on(second, 9)["batch"] == 0
    with first.settling(), pytest.raises(TanzhangError, match="home-busy"):
        settle_on(second, 9)
    assert_verified(first)
    assert_verified(second)


def test_many_processes_read_and_write_one_bucket(quick: Path, bucket: Bucket) -> None:
    """A settlement in parts, whose tasks open the bucket anew, comes to the records of one process on disk."""
    homes = [new_home(quick / "disk"), new_home(quick / "far", storage=bucket.address())]
    links = quick / "links.csv"
    links.write_text(
        "partner,subject,with_partner,with_subject,valid_from\ncainiao,anna,amap,anna,2025-06-01\n", encoding="utf-8"
    )
    first = write(quick / "1.ndjson", [box(f"b{n}", f"u{n % 7}") for n in range(20)] + [ride("r1"), box("x", "anna")])
    second = write(quick / "2.ndjson", [box("c1", number="YT-b2"), withdrawal(box("b3", "u3"), "undo"), ride("r1")])
    for home, engine in zip(homes, (None, ClusterSettlement(LocalStages())), strict=True):
        link_many(home, links, now=on(1))
        for day, file in ((6, first), (7, second)):
            intake(home, file, now=on(day))
            settle(home, now=on(day + 4), engine=engine)
        assert_verified(home)
    disk, far = homes
    assert booked(far) == booked(disk)
    assert {row.records_file for row in far.book.rows(batch)} == {PARTS}
    assert check_receipt(create_receipt(far, action_named(far, "cainiao:b4")), far.values["vkey"])["batch"] == "0"
