"""Places on local disk and in a bucket do the same, and an object is there whole or not at all."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.kernel import connect, quote
from tanzhang.stores import files
from tanzhang.stores.records import digest_of, write_table
from tanzhang.stores.storage import (
    Place,
    StorageAddress,
    durable_file,
    files_under,
    let_read,
    open_binary,
    open_storage,
    parquet_file,
    refusal_in,
    remove,
    sync_again,
    write_durably,
)
from tanzhang.stores.storage.claim import check_free, claim

from ...s3 import SECRET, Bucket, S3Server

MB = 1 << 20


def at(address: str) -> Place:
    return open_storage(StorageAddress.parse(address, where="test"))


@pytest.fixture(params=["folder", "bucket"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return tmp_path if request.param == "folder" else at(request.getfixturevalue("bucket").address())


def test_a_file_is_written_found_read_and_removed_alike(root: Place) -> None:
    place = root / "records" / "00000000" / "a.bin"
    assert not place.exists()
    write_durably(place, b"seven mg", up_to=root)
    sync_again(place, up_to=root)
    assert (place.name, place.parent.name, place.relative_to(root).as_posix()) == (
        "a.bin", "00000000", "records/00000000/a.bin",
    )  # fmt: skip
    assert (place.is_file(), place.read_bytes()) == (True, b"seven mg")
    assert ((root / "records").exists(), (root / "records").is_file()) == (True, False)
    with open_binary(place) as stream:
        assert (stream.read(5), stream.read()) == (b"seven", b" mg")
    assert files_under(root) == [(PurePosixPath("records/00000000/a.bin"), 8)]
    remove(place)
    assert (files_under(root), files_under(root / "nothing")) == ([], [])


def test_what_is_missing_is_missing_alike(root: Place) -> None:
    place = root / "nothing.parquet"
    assert digest_of(place) is None
    for read in (place.read_bytes, lambda: open_binary(place), lambda: parquet_file(place)):
        with pytest.raises(FileNotFoundError):
            read()


def test_a_text_is_read_line_by_line_as_from_a_file(root: Place) -> None:
    write_durably(root / "verdicts.csv", "行,码\n1,ok\n".encode() * 40_000)
    with io.TextIOWrapper(open_binary(root / "verdicts.csv"), encoding="utf-8", newline="") as file:
        assert [next(file), next(file)] == ["行,码\n", "1,ok\n"]


def test_a_table_of_several_parts_reads_back_as_it_was_written(root: Place) -> None:
    table = pa.table({"row": range(1_500_000), "noise": [os.urandom(16) for _ in range(1_500)] * 1_000})
    digest = write_table(root / "t.parquet", table, home=root)
    assert digest_of(root / "t.parquet") == digest
    with parquet_file(root / "t.parquet", memory_map=True) as file:
        assert file.read_row_group(2, columns=["row"])["row"][0].as_py() == 2 * 256 * 480


class StopError(Exception):
    pass


@pytest.mark.parametrize("size", [10, 25 * MB])
def test_writing_that_is_broken_off_leaves_nothing(root: Place, size: int) -> None:
    def broken_off() -> None:
        with durable_file(root / "a.bin", up_to=root) as file:
            file.write(bytes(size))
            raise StopError

    with pytest.raises(StopError):
        broken_off()
    assert files_under(root) == []


def test_a_writer_that_is_killed_leaves_no_object(bucket: Bucket) -> None:
    code = """
import os, signal, sys, time
from tanzhang.stores.storage import StorageAddress, durable_file, open_storage
with durable_file(open_storage(StorageAddress.parse(sys.argv[1], where="test")) / "a.bin") as file:
    file.write(bytes(25 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", code, bucket.address()], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert bucket.names() == []


@pytest.mark.parametrize("size", [3, 25 * MB])
def test_an_error_before_the_upload_is_completed_leaves_what_was_there(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    checkpoint = at(bucket.address()) / "log" / "checkpoint"
    write_durably(checkpoint, b"old")
    place = checkpoint if size == 3 else checkpoint.parent / "large"
    for wrong in ("before write", "after write", "before put", "after put"):

        def hook(point: str, _place: Path, wrong: str = wrong) -> None:
            if point == wrong:
                raise StopError

        with monkeypatch.context() as patch:
            patch.setattr(files, "on_write", hook)
            with pytest.raises(StopError):
                write_durably(place, b"n" * size)
        done = wrong == "after put"
        assert bucket.read("log/checkpoint") == (b"nnn" if done and size == 3 else b"old"), wrong
        assert bucket.names() == ["log/checkpoint", *(["log/large"] if done and size > 3 else [])], wrong


def test_a_server_that_refuses_a_small_object_leaves_the_old_one(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = at(bucket.address()) / "log" / "checkpoint"
    write_durably(place, b"old")

    class Refused:
        def write(self, data: bytes) -> int:
            return len(data)

        def close(self) -> None:
            raise OSError("AWS Error SLOW_DOWN during PutObject operation (Request ID: x)")

    class Refusing:
        def open_output_stream(self, key: str, metadata: object) -> Refused:
            return Refused()

    with monkeypatch.context() as patch:
        patch.setitem(place.storage.__dict__, "fs", Refusing())  # type: ignore[attr-defined]
        with pytest.raises(TanzhangError, match=r"storage-unusable: .*SLOW_DOWN during PutObject operation\n"):
            write_durably(place, b"new")
    assert place.read_bytes() == b"old"


def test_a_small_file_is_one_request(bucket: Bucket, s3: S3Server) -> None:
    root = at(bucket.address())
    s3.requests.clear()
    write_durably(root / "a.bin", b"x")
    assert [method for method, *_ in s3.requests] == ["PUT"]


def test_a_log_is_served_as_tlog_tiles_wants_it(bucket: Bucket) -> None:
    root = at(bucket.address())
    for name in ("log/checkpoint", "log/tile/0/000.p/1", "log/tile/entries/000", "records/0/records.parquet"):
        write_durably(root / name, b"x")
    checkpoint, tile = bucket.headers("log/checkpoint"), bucket.headers("log/tile/0/000.p/1")
    assert checkpoint["Content-Type"] == b"text/plain; charset=utf-8"
    assert checkpoint["Cache-Control"] == b"max-age=5"
    assert tile["Content-Type"] == bucket.headers("log/tile/entries/000")["Content-Type"]
    assert (tile["Content-Type"], b"immutable" in tile["Cache-Control"]) == (b"application/octet-stream", True)
    assert "Cache-Control" not in bucket.headers("records/0/records.parquet")


def records_of(root: Place, count: int) -> pa.Table:
    """Written as ``r.parquet``: rows sorted by account, as a record file's are."""
    con = connect()
    table = con.sql(
        "SELECT md5(i::VARCHAR)::UUID AS account, md5((i + 1)::VARCHAR)::UUID AS action_id, i AS granted_mg, "
        f"md5((i + 2)::VARCHAR)::UUID AS claim FROM range({count}) t(i) ORDER BY account"
    ).to_arrow_table()
    write_table(root / "r.parquet", table, home=root)
    return table


def test_an_engine_reads_only_the_columns_and_row_groups_that_it_needs(bucket: Bucket, s3: S3Server) -> None:
    root = at(bucket.address())
    table = records_of(root, 400_000)
    size = len(bucket.read("r.parquet"))
    wanted = table["account"][200_000].as_py()
    con = connect()
    let_read(con, root)
    s3.requests.clear()
    found = con.execute(
        f"SELECT account, granted_mg, filename FROM read_parquet([{quote(str(root / 'r.parquet'))}], filename = true) "
        f"WHERE account = {quote(str(wanted))}::UUID"
    ).fetchall()
    assert found == [(wanted, table["granted_mg"][200_000].as_py(), str(root / "r.parquet"))]
    ranges = [tuple(map(int, wanted.removeprefix("bytes=").split("-"))) for _, _, wanted in s3.requests if wanted]
    assert sum(last - first + 1 for first, last in ranges) < size / 5
    assert len(s3.requests) <= 5


def test_threads_that_read_one_object_do_not_mix_their_places_up(bucket: Bucket) -> None:
    root = at(bucket.address())
    table = records_of(root, 300_000)
    con = connect()
    let_read(con, root)
    con.execute("SET threads = 8")
    total = sum(table["granted_mg"].to_pylist())
    for _ in range(2):
        query = (
            f"SELECT sum(granted_mg)::BIGINT, count(DISTINCT claim) FROM read_parquet({quote(str(root / 'r.parquet'))})"
        )
        assert con.execute(query).fetchall() == [(total, 300_000)]
    scan = root.storage._scan(root.storage)  # type: ignore[attr-defined]
    data, wrong = bucket.read("r.parquet"), []
    file = scan.open(str(root / "r.parquet"))

    def look(offset: int) -> None:
        for start in range(offset, offset + 400_000, 20_000):
            file.seek(start)
            found = file.read(7_000) + file.read(9)
            if found != data[start : start + 7_009]:
                wrong.append(start)

    threads = [threading.Thread(target=look, args=(offset,)) for offset in range(0, 8_000, 1_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_error_inside_the_engine_keeps_its_code(bucket: Bucket) -> None:
    root = at(bucket.address())
    con = connect()
    let_read(con, root)
    with pytest.raises(Exception, match="the object is missing") as caught:
        con.execute(f"SELECT * FROM read_parquet({quote(str(root / 'none.parquet'))})")
    problem = refusal_in(caught.value)
    assert problem is not None
    assert (problem.code, problem.where.split(" at ")[0]) == ("storage-unusable", str(root / "none.parquet"))
    assert refusal_in(ValueError("something else")) is None


def uses(root: Place) -> list[Callable[[], object]]:
    return [
        lambda: write_durably(root / "a", b"x"),
        lambda: write_durably(root / "a", bytes(25 * MB)),
        lambda: files_under(root),
        lambda: check_free(root, None),
    ]


def test_a_bucket_that_is_not_there_is_said_with_a_code(s3: S3Server) -> None:
    root = at(f"s3://no-such-bucket/home?endpoint={s3.url}&region=us-east-1")
    for use in (uses(root)[0], uses(root)[1], uses(root)[3]):
        with pytest.raises(TanzhangError, match=r"storage-unusable: .*bucket") as caught:
            use()
        where = caught.value.problems[0].where
        assert where.startswith("s3://no-such-bucket/home")
        assert where.endswith(f" at {s3.url}")


def test_a_server_that_does_not_answer_is_said_with_a_code_and_no_secret(s3: S3Server) -> None:
    root = at("s3://city-carbon/home?endpoint=http://127.0.0.1:1&region=us-east-1")
    with pytest.raises(TanzhangError, match=r"storage-unusable: .*127.0.0.1:1") as caught:
        check_free(root, None)
    assert SECRET not in str(caught.value)


def test_what_the_writer_itself_does_wrong_is_not_said_of_the_storage(bucket: Bucket) -> None:
    with pytest.raises(PermissionError), durable_file(at(bucket.address()) / "a"):
        raise PermissionError("of some other file")


@pytest.mark.parametrize("module", ["fsspec", "pyarrow.fs"])
def test_without_the_driver_it_is_said_what_to_install(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tanzhang.stores.storage.scan")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("tanzhang.stores.storage.scan", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TanzhangError, match=r"storage-driver-missing: [^$]*pip install 'tanzhang\[s3\]'"):
        at("s3://city-carbon/home")


def test_the_driver_is_loaded_for_a_bucket_only() -> None:
    code = "import sys; from tanzhang.stores.home import Home; "
    code += "from tanzhang.stores.storage import StorageAddress, open_storage; "
    code += "open_storage(StorageAddress.parse('/srv/x', where='')); "
    code += "print([name for name in sys.modules if name.startswith('fsspec')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_place_is_claimed_once(root: Place) -> None:
    check_free(root, None)
    claim(root, "first", "of the first")
    assert files_under(root) == [(PurePosixPath("home-first.txt"), 13)]
    for token in (None, "second"):
        with pytest.raises(TanzhangError, match="storage-in-use"):
            check_free(root, token)
    with pytest.raises(TanzhangError, match="storage-in-use"):
        claim(root, "second", "of the second")
    write_durably(root / "log" / "checkpoint", b"of an interrupted setting up")
    claim(root, "first", "of the first")
    assert files_under(root) == [(PurePosixPath("home-first.txt"), 13)]
    write_durably(root / "records" / "0", b"of a home")
    with pytest.raises(TanzhangError, match="storage-in-use"):
        claim(root, "first", "of the first")


def test_of_two_that_claim_at_one_moment_at_most_one_stays(root: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(point: str, place: Path) -> None:
        if point in ("after rename", "after put") and place.name == "home-mine.txt":
            monkeypatch.setattr(files, "on_write", files._nothing)
            write_durably(root / "home-other.txt", b"came in between")

    monkeypatch.setattr(files, "on_write", other)
    with pytest.raises(TanzhangError, match="storage-in-use"):
        claim(root, "mine", "of mine")
    assert [name.name for name, _ in files_under(root)] == ["home-other.txt"]
