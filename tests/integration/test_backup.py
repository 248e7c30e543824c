"""Backups: made while a home is used, incremental, and brought back so that everything verifies and nothing splits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.claim import CHILD, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.service.backup import backup, backups_in, restore
from tanzhang.service.epoch import close
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.log import publish
from tanzhang.service.receive import Receiver, Request
from tanzhang.stores.backups import Backups
from tanzhang.stores.book import Book
from tanzhang.stores.home import Home
from tanzhang.stores.witnesses import Use, set_policy

from ..homes import BOX_MG, account, assert_verified, balance, box, new_home, on, problems, settle_on, write
from ..s3 import Bucket
from ..witnesses import running_witness

WORDS = "four words nobody guesses"


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """One batch, one epoch, requests that wait in the inbox."""
    home = new_home(quick / "home", book=place("backed_up"))
    intake(home, write(quick / "one.ndjson", [box(f"b{n}", f"p{n}") for n in range(5)]), now=on(6))
    settle_on(home, 8)
    close(home, now=on(8))
    Receiver(home).receive([Request("cainiao", [json.dumps(box("waits")).encode()])], now=on(8))
    return home


def again(folder: Path, to: Path, place: Callable[[str], str | None], **more: Any) -> Home:
    """The home of the last backup, with its keys."""
    restore(folder, to, **{"passphrase": WORDS, "book": place("backed_up"), **more})
    return Home(to)


def text_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_home_that_comes_back_verifies_and_goes_on_to_the_same_log(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    said = backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    assert (said["files"], said["keys"]) == (said["copied"], "sealed")
    restored = again(quick / "backups", quick / "restored", place)
    assert_verified(restored)
    for each in (home, restored):
        settle_on(each, 11)
    assert restored.log.checkpoint() == home.log.checkpoint()
    assert balance(restored, "cainiao", "anna") == BOX_MG
    assert_verified(restored)
    assert (restored.folder / "keys" / "identity.key").stat().st_mode & 0o777 == 0o600
    assert (quick / "backups").stat().st_mode & 0o077 == 0


def test_a_home_whose_log_came_back_behind_its_book_is_led_on(
    home: Home, quick: Path, place: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as inner:  # as if the batch was sealed between the copies of checkpoint and book
        inner.setattr(Home, "publish", lambda _: None)
        settle_on(home, 11)
        backup(home, quick / "backups", now=on(11), passphrase=WORDS)
    said = restore(quick / "backups", quick / "restored", passphrase=WORDS, book=place("backed_up"))
    assert (said["log_behind_book"], said["entries"] - said["log_size"]) == (1, 1)
    assert "tanzhang log publish" in said["next"][1]
    restored = Home(quick / "restored")
    (problem,) = problems(restored)
    assert problem["code"] == "log-behind-book"
    assert "tanzhang log publish" in problem["remedy"]
    published = publish(restored)
    assert (published["added"], published["size"], published["waiting"]) == (1, said["entries"], 0)
    assert_verified(restored)
    assert publish(restored)["added"] == 0
    whole = backup(restored, quick / "more", now=on(12), passphrase=WORDS)
    assert whole["log_size"] == said["entries"]
    again_said = restore(quick / "more", quick / "again", passphrase=WORDS, book=place("backed_up"))
    assert again_said["log_behind_book"] == 0
    assert not any("log publish" in step for step in again_said["next"])


def test_a_backup_under_load_comes_back_to_what_was_acknowledged_before_it(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            own, number = Home(home.folder), 0
            while not stop.is_set():
                number += 1
                events = [json.dumps(box(f"load{number}-{n}", f"p{n}")).encode() for n in range(20)]
                Receiver(own).receive([Request("cainiao", events)], now=on(9))
                if number % 3 == 0:
                    settle_on(own, 11)
        except Exception as error:
            failed.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(3):
            batches = home.book.batch_count()
            while home.book.batch_count() < batches + 1 and not failed:
                pass
            before = home.book.batch_count()
            backup(home, quick / "backups", now=on(9, number), passphrase=WORDS)
            assert backups_in(quick / "backups")[0]["log_size"] >= before
    finally:
        stop.set()
        worker.join()
    assert failed == []
    published = home.log.checkpoint()
    restored = again(quick / "backups", quick / "restored", place)
    assert restored.book.batch_count() >= before
    restored.publish()
    assert restored.log.size <= published.size
    root, _ = home.log.tree().consistency_proof(restored.log.size)
    assert root == restored.log.root
    assert_verified(restored)
    assert len(Backups(quick / "backups").names()) == 3


def test_files_that_an_earlier_backup_has_are_not_copied_again(home: Home, quick: Path) -> None:
    backup(home, quick / "backups", now=on(8))
    nothing = backup(home, quick / "backups", now=on(9))
    assert (nothing["copied"], nothing["copied_bytes"]) == (0, 0)
    settle_on(home, 11)
    some = backup(home, quick / "backups", now=on(11))
    assert 0 < some["copied"] < some["files"]
    assert [each["backup"] for each in backups_in(quick / "backups")] == [
        "20250611T020000Z", "20250609T020000Z", "20250608T020000Z"
    ]  # fmt: skip


def test_without_a_passphrase_no_secret_key_is_in_a_backup(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    said = backup(home, quick / "backups", now=on(8))
    assert said["keys"] == "by reference"
    kept = text_of(quick / "backups")
    for name in ("identity.key", "log.key", "personal.key"):
        assert (home.folder / "keys" / name).read_bytes().strip() not in kept
    restored = again(quick / "backups", quick / "blind", place, passphrase=None)
    assert {each["code"] for each in problems(restored)} == {"key-missing"}  # all else is right
    with pytest.raises(TanzhangError, match="key-missing"):
        intake(restored, write(quick / "x.ndjson", [box("x")]), now=on(9))
    own = again(quick / "backups", quick / "with-keys", place, passphrase=None, keys=home.folder / "keys")
    settle_on(own, 11)
    assert_verified(own)


def test_keys_in_a_backup_are_locked(home: Home, quick: Path, place: Callable[[str], str | None]) -> None:
    with pytest.raises(TanzhangError, match="passphrase-short"):
        backup(home, quick / "backups", now=on(8), passphrase="short")  # noqa: S106 - it is refused
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    assert (home.folder / "keys" / "identity.key").read_bytes().strip() not in text_of(quick / "backups")
    with pytest.raises(TanzhangError, match="passphrase-wrong"):
        again(quick / "backups", quick / "restored", place, passphrase=WORDS + "!")
    assert not (quick / "restored").exists()


def test_every_secret_that_a_home_has_goes_with_its_keys(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    (home.folder / "keys" / "another.key").write_bytes(b"\x00 of whatever kind")
    (home.folder / "keys" / "witness.policy").write_text(f"log {home.values['vkey']}\nquorum none\n")
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    kept = text_of(quick / "backups")
    assert b"of whatever kind" not in kept
    assert b"quorum none" in kept
    restored = again(quick / "backups", quick / "restored", place)
    file = restored.folder / "keys" / "another.key"
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"\x00 of whatever kind", 0o600)


def test_a_changed_backup_is_not_restored_and_every_changed_file_is_named(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    records = next((quick / "backups" / "files" / "records").rglob("*.parquet"))
    data = bytearray(records.read_bytes())
    data[len(data) // 2] ^= 1
    records.write_bytes(data)
    tile = next((quick / "backups" / "files" / "log").rglob("3"))
    tile.unlink()
    with pytest.raises(TanzhangError) as refused:
        again(quick / "backups", quick / "restored", place)
    assert {(each.code, each.where) for each in refused.value.problems} >= {
        ("backup-damaged", str(records)),
        ("backup-damaged", str(tile)),
    }
    assert not (quick / "restored").exists()


def test_a_manifest_cannot_write_outside_the_new_home(home: Home, quick: Path) -> None:
    backup(home, quick / "backups", now=on(8))
    (manifest,) = (quick / "backups").glob("*/manifest.json")
    said = json.loads(manifest.read_text())
    said["files"][0]["path"] = "../../outside"
    manifest.write_text(json.dumps(said))
    with pytest.raises(TanzhangError, match="backup-damaged"):
        restore(quick / "backups", quick / "restored")


def test_each_folder_holds_backups_of_one_home(home: Home, quick: Path) -> None:
    backup(home, quick / "backups", now=on(8))
    with pytest.raises(TanzhangError, match="backup-of-another"):
        backup(new_home(quick / "other", seed=b"other"), quick / "backups", now=on(8))
    with pytest.raises(TanzhangError, match="backup-unknown"):
        restore(quick / "nowhere", quick / "restored")
    with pytest.raises(TanzhangError, match="home-exists"):
        restore(quick / "backups", home.folder, book="postgresql://nobody@nowhere.invalid/none")


def test_a_backup_of_before_what_was_published_loses_its_key(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    same = home.log.checkpoint_bytes()
    settle_on(home, 11)
    newer = home.log.checkpoint_bytes()
    assert again(quick / "backups", quick / "good", place, published=same).log.size == 3
    with pytest.raises(TanzhangError, match="backup-behind-log"):
        again(quick / "backups", quick / "old", place, published=newer)
    old = Home(quick / "old")
    assert {each["code"] for each in problems(old)} == {"key-missing"}
    with pytest.raises(TanzhangError, match="key-missing"):
        old.signer  # noqa: B018 - loading it is what is refused


def test_a_restored_home_signs_nothing_below_what_a_witness_holds(
    home: Home, quick: Path, place: Callable[[str], str | None]
) -> None:
    with running_witness(quick, 1, home.verifier.key) as witness:
        policy = f"log {home.values['vkey']}\nwitness w {witness.key} {witness.url}\nquorum w\n"
        set_policy(home.folder, policy.encode(), Use(), home.verifier, where="policy")
        home.publish()
        backup(home, quick / "backups", now=on(8), passphrase=WORDS)
        settle_on(home, 11)
        assert witness.held() == home.log.size
        restored = again(quick / "backups", quick / "restored", place)
        before = restored.log.checkpoint_bytes()
        with pytest.raises(TanzhangError, match="log-behind-witness"):
            settle_on(restored, 11)
        assert restored.log.checkpoint_bytes() == before


def test_what_is_erased_while_a_backup_is_made_is_not_half_in_it(
    home: Home, quick: Path, place: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    share, erased = Backups.share, []

    def erasing(self: Backups, *args: Any) -> Any:
        if not erased:
            erased.append(erase(home, [identity(home.identity_key, CHILD, "cainiao", "p1")], now=on(9)))
        return share(self, *args)

    monkeypatch.setattr(Backups, "share", erasing)
    backup(home, quick / "backups", now=on(9), passphrase=WORDS)
    assert erased
    restored = again(quick / "backups", quick / "restored", place)
    assert_verified(restored)
    assert account(restored, "cainiao", "p1").bytes not in text_of(restored.storage / "records")  # type: ignore[arg-type]


def test_old_backups_go_with_the_files_that_only_they_name(home: Home, quick: Path) -> None:
    backup(home, quick / "backups", now=on(8))
    names = {path for path in (quick / "backups" / "files" / "records").rglob("*") if path.is_file()}
    erase(home, [identity(home.identity_key, CHILD, "cainiao", "p1")], now=on(9))
    backup(home, quick / "backups", now=on(9))
    assert all(path.is_file() for path in names)
    said = backup(home, quick / "backups", now=on(10), keep=1)
    assert said["removed"] == ["20250608T020000Z", "20250609T020000Z"]
    assert not all(path.is_file() for path in names)
    manifest = Backups(quick / "backups").manifest()
    Backups(quick / "backups").check(*manifest)


def test_files_in_a_bucket_are_backed_up_and_come_back_into_another(quick: Path, bucket: Bucket) -> None:
    home = new_home(quick / "home", storage=bucket.address("home"))
    intake(home, write(quick / "one.ndjson", [box("one")]), now=on(6))
    settle_on(home, 8)
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    restore(quick / "backups", quick / "restored", passphrase=WORDS, storage=bucket.address("other"))
    restored = Home(quick / "restored")
    assert str(restored.storage).endswith("/other")
    assert_verified(restored)
    restore(quick / "backups", quick / "local", passphrase=WORDS)
    assert_verified(Home(quick / "local"))


def test_the_commands_back_up_and_bring_back(quick: Path) -> None:
    new_home(quick / "home")

    def run(*arguments: Any, words: str = WORDS) -> dict[str, Any]:
        command = [sys.executable, "-m", "tanzhang", *map(str, arguments), "--json"]
        environment = os.environ | {"TANZHANG_BACKUP_PASSPHRASE": words}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    assert run("backup", "--to", quick / "b", "--with-keys", "--home", quick / "home")["keys"] == "sealed"
    assert run("restore", "--from", quick / "b", "--to", quick / "r", "--with-keys", words="")["code"] == (
        "passphrase-missing"
    )
    said = run("restore", "--from", quick / "b", "--to", quick / "r", "--with-keys")
    assert (said["status"], said["keys"]) == ("restored", ["identity.key", "log.key", "personal.key"])


def test_a_backup_that_dies_is_none_and_the_next_one_is_whole(
    home: Home, quick: Path, place: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Backups, "share", dying)
        with pytest.raises(KeyboardInterrupt):
            backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    assert Backups(quick / "backups").names() == []
    with pytest.raises(TanzhangError, match="backup-unknown"):
        restore(quick / "backups", quick / "restored")
    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    assert_verified(again(quick / "backups", quick / "restored", place))


def test_a_restore_that_dies_leaves_no_home(
    home: Home, quick: Path, place: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Any:
        raise KeyboardInterrupt

    backup(home, quick / "backups", now=on(8), passphrase=WORDS)
    with monkeypatch.context() as patched:
        patched.setattr(Book, "load", dying)
        with pytest.raises(KeyboardInterrupt):
            again(quick / "backups", quick / "restored", place)
    with pytest.raises(TanzhangError, match="home-missing"):
        Home(quick / "restored")
    with pytest.raises(TanzhangError, match="home-exists"):  # what is left is not written over
        again(quick / "backups", quick / "restored", place)
