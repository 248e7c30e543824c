"""A log and its witnesses: what they sign is kept, what they hold is never signed over."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tanzhang.core.checkpoint import open_checkpoint
from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import Signature, parse_note
from tanzhang.core.policy import parse_policy
from tanzhang.core.witness import SIZE_TYPE, Answer, origin_id
from tanzhang.engine.signing import NoteSigner, verifier_of
from tanzhang.service.accounts import action_named
from tanzhang.service.intake import intake
from tanzhang.service.log import ask_witnesses, set_policy, status, tidy
from tanzhang.service.receipt import check_receipt, create_receipt
from tanzhang.stores import files
from tanzhang.stores import witnesses as store
from tanzhang.stores.home import Home
from tanzhang.stores.log import Log
from tanzhang.stores.witnesses import Use

from ..homes import assert_verified, box, new_home, on, settle_on, write
from ..witnesses import RunningWitness, running_witness

if TYPE_CHECKING:
    from ..postgres import Server
    from ..s3 import Bucket


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """What a process remembers is gone when a test begins, and when it says so."""
    store._reached.clear()
    yield
    store._reached.clear()


@pytest.fixture
def home(quick: Path) -> Home:
    return new_home(quick / "home")


@pytest.fixture
def three(home: Home, quick: Path) -> Iterator[list[RunningWitness]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running_witness(quick, number, home.verifier.key)) for number in (1, 2, 3)]


def policy_text(home: Home, witnesses: list[RunningWitness], quorum: str = "2") -> str:
    lines = [f"log {home.values['vkey']}"]
    lines += [f"witness w{number} {each.key} {each.url}" for number, each in enumerate(witnesses, 1)]
    lines += [f"group all-of-them {quorum} {' '.join(f'w{n}' for n in range(1, len(witnesses) + 1))}"]
    return "\n".join([*lines, "quorum all-of-them", ""])


def use_policy(home: Home, witnesses: list[RunningWitness], quorum: str = "2", **use: object) -> Path:
    file = home.folder.parent / "policy.txt"
    file.write_text(policy_text(home, witnesses, quorum))
    set_policy(home, file, Use(**use))  # type: ignore[arg-type]
    return file


def grow(home: Home, number: int) -> None:
    """One more batch, and so one more entry of the log."""
    file = home.folder.parent / f"{number}.ndjson"
    intake(home, write(file, [box(f"b{number}")]), now=on(6 + number))
    settle_on(home, 7 + number)


def signers(home: Home) -> set[str]:
    return {line.name for line in parse_note(home.log.checkpoint_bytes()).signatures} - {home.values["origin"]}


def silent(_: bytes) -> Answer:
    return Answer(503, b"not today\n")


def test_every_publication_gets_the_cosignatures_of_its_witnesses(home: Home, three: list[RunningWitness]) -> None:
    use_policy(home, three)
    for number in range(3):
        grow(home, number)
        assert signers(home) == {"witness.example/1", "witness.example/2", "witness.example/3"}
        assert [each.held() for each in three] == [number + 2] * 3
    answer = status(home)
    assert answer["witnessing"]["met"]
    assert [row["last_size"] for row in answer["witnessing"]["witnesses"]] == [4, 4, 4]
    verifiers = [verifier_of(each.key) for each in three]
    _, opened = open_checkpoint(home.log.checkpoint_bytes(), home.values["origin"], home.verifier, verifiers)
    assert len(opened.verified) == 4
    assert_verified(home)


def test_a_receipt_carries_the_cosignatures_and_a_policy_is_held_against_them(
    home: Home, three: list[RunningWitness]
) -> None:
    file = use_policy(home, three, "2")
    three[2].answer = silent
    grow(home, 0)
    receipt = create_receipt(home, action_named(home, "cainiao:b0"))
    policy = parse_policy(file.read_bytes(), where="policy")
    answer = check_receipt(receipt, None, policy)
    assert [each["witness"] for each in answer["cosigned"]] == ["witness.example/1", "witness.example/2"]
    assert answer["cosigned"][0]["time"] == "2025-10-09T08:53:20+00:00"
    assert "quorum all-of-them" in answer["checks"][2]
    assert check_receipt(receipt, home.values["vkey"])["cosigned"] == []
    stricter = parse_policy(policy_text(home, three, "all").encode(), where="policy")
    with pytest.raises(TanzhangError, match="witness-quorum-missing"):
        check_receipt(receipt, None, stricter)
    changed = receipt.replace(receipt.splitlines()[-1][-20:], b"A" * 18 + b"==")
    with pytest.raises(TanzhangError, match="note-"):
        check_receipt(changed, None, policy)
    stranger = parse_policy(b"quorum none\n", where="policy")
    with pytest.raises(TanzhangError, match="log-not-in-policy"):
        check_receipt(receipt, None, stranger)
    assert check_receipt(receipt, home.values["vkey"], stranger)["status"] == "verified"
    with pytest.raises(TanzhangError, match="usage"):
        check_receipt(receipt)


def test_a_witness_that_joins_later_starts_from_nothing_and_one_that_missed_some_catches_up(
    home: Home, three: list[RunningWitness]
) -> None:
    for number in range(3):
        grow(home, number)
    use_policy(home, three[:2])
    assert ask_witnesses(home)["witnessing"]["met"]
    three[1].answer = silent
    for number in (3, 4):
        grow(home, number)
    assert [each.held() for each in three] == [6, 4, None]
    use_policy(home, three, "all")
    three[1].answer = three[1].honest
    assert ask_witnesses(home)["witnessing"]["met"]
    assert [each.held() for each in three] == [6, 6, 6]


def test_a_witness_whose_size_we_do_not_remember_is_asked_again_from_the_size_it_names(
    home: Home, three: list[RunningWitness]
) -> None:
    use_policy(home, three)
    grow(home, 0)
    (home.folder / "witnesses.json").unlink()
    store._reached.clear()
    grow(Home(home.folder), 1)
    assert [each.held() for each in three] == [3, 3, 3]
    assert b"old 2\n" in three[0].asked[-1]


def test_without_answers_a_checkpoint_is_published_all_the_same_where_the_operator_said_publish(
    home: Home, three: list[RunningWitness]
) -> None:
    use_policy(home, three)
    for each in three:
        each.answer = silent
    grow(home, 0)
    assert home.log.size == 2
    answer = status(home)["witnessing"]
    assert not answer["met"]
    assert {row["problem"]["code"] for row in answer["witnesses"]} == {"witness-failed"}
    for each in three:
        each.answer = each.honest
    assert ask_witnesses(home)["witnessing"]["met"]
    assert signers(home) == {"witness.example/1", "witness.example/2", "witness.example/3"}


def test_a_checkpoint_without_a_quorum_is_held_back_where_the_operator_said_wait(
    home: Home, three: list[RunningWitness]
) -> None:
    use_policy(home, three, "2", when_unmet="wait")
    grow(home, 0)
    assert home.log.size == 2
    before = home.log.checkpoint_bytes()
    three[0].answer = three[1].answer = silent
    with pytest.raises(TanzhangError, match="witness-quorum-missing"):
        grow(home, 1)
    assert three[2].held() == 3  # it signed; what is shown is still the smaller tree
    assert home.log.checkpoint_bytes() == before
    assert status(home)["waiting"] == 1
    assert len(home.log_entries()) == 3  # what was booked stays booked
    with pytest.raises(TanzhangError, match="witness-quorum-missing"):
        ask_witnesses(home)
    store._reached.clear()  # a process that starts now meets a witness that is ahead of what is shown
    for each in three:
        each.answer = each.honest
    grow(Home(home.folder), 2)
    assert home.log.size == 4
    assert status(home)["witnessing"]["met"]
    assert_verified(home)


def test_an_old_copy_of_a_home_signs_nothing_below_what_a_witness_holds(
    home: Home, three: list[RunningWitness], quick: Path
) -> None:
    use_policy(home, three)
    grow(home, 0)
    old = Path(shutil.copytree(home.folder, quick / "old copy"))
    for number in (1, 2):
        grow(home, number)
    home.book.close()
    shutil.rmtree(home.folder)
    restored = Home(Path(shutil.copytree(old, home.folder)))
    before = restored.log.checkpoint_bytes()
    for case in ("the process that saw the newer log", "a new one", "one that lost its notes"):
        with pytest.raises(TanzhangError, match="log-behind-witness") as refused:
            grow(restored, 5)
        assert refused.value.problems[0].message == ("witness w1 has signed size 4 of this log, which has 2 here"), case
        assert restored.log.checkpoint_bytes() == before
        store._reached.clear()
        if case == "a new one":
            (home.folder / "witnesses.json").unlink()
    assert [each.held() for each in three] == [4, 4, 4]
    shown = ask_or_problem(restored)
    assert shown == "log-behind-witness"


def ask_or_problem(home: Home) -> str:
    try:
        answer = ask_witnesses(home)
    except TanzhangError as error:
        return error.code
    return str(answer["witnessing"]["witnesses"][0]["problem"]["code"])


def test_an_old_copy_that_was_settled_apart_is_a_split_that_witnesses_see(
    home: Home, three: list[RunningWitness], quick: Path
) -> None:
    use_policy(home, three)
    grow(home, 0)
    old = Path(shutil.copytree(home.folder, quick / "old copy"))
    grow(home, 1)
    other = Home(old)
    for each in three:
        each.answer = silent  # nobody warns it
    store._reached.clear()
    file = write(quick / "other.ndjson", [box("another")])
    intake(other, file, now=on(8))
    settle_on(other, 9)
    assert other.log.size == home.log.size == 3
    for each in three:
        each.answer = each.honest
    answer = ask_witnesses(other)
    assert {row["problem"]["code"] for row in answer["witnessing"]["witnesses"]} == {"log-split"}
    assert not answer["witnessing"]["met"]
    with pytest.raises(TanzhangError, match="log-split"):
        grow(other, 4)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(200, b""), "witness-failed"),
        (Answer(200, b"\xff\xfe"), "witness-failed"),
        (Answer(200, "\u2014 witness.example/1 AAAAAAAA\n".encode()), "witness-failed"),
        (Answer(200, b"x" * 1_100_000), "witness-failed"),
        (Answer(409, b"2\n", SIZE_TYPE), "witness-failed"),
        (Answer(409, b"not a size\n"), "log-split"),
        (Answer(422, b""), "log-split"),
        (Answer(429, b"later\n"), "witness-failed"),
        (Answer(301, b""), "witness-failed"),
        (Answer(409, b"99\n", SIZE_TYPE), "log-behind-witness"),
    ],
)
def test_no_answer_of_a_witness_changes_what_is_published(
    home: Home, three: list[RunningWitness], answer: Answer, code: str
) -> None:
    for number in range(3):
        grow(home, number)
    use_policy(home, three[:1], "1")
    before = home.log.checkpoint_bytes()
    sizes = iter([2, 1])
    three[0].answer = lambda _: Answer(409, b"%d\n" % next(sizes), SIZE_TYPE) if answer.body == b"2\n" else answer
    shown = ask_witnesses(home)["witnessing"]
    assert shown["witnesses"][0]["problem"]["code"] == code
    assert not shown["met"]
    assert home.log.checkpoint_bytes() == before


def test_a_cosignature_of_another_text_or_key_is_not_taken(home: Home, three: list[RunningWitness]) -> None:
    use_policy(home, three[:1], "1")
    foreign = three[1].state.cosigner
    for signature in (
        three[0].state.cosigner.cosign("another text\n", 1),
        foreign.cosign(parse_note(home.log.checkpoint_bytes()).text, 1),
        Signature(three[0].state.cosigner.name, three[0].state.cosigner.key_id, bytes(72)),
    ):
        three[0].answer = lambda _, line=signature: Answer(200, line.to_line().encode())
        assert not ask_witnesses(home)["witnessing"]["met"]
        assert signers(home) == set()


def test_slow_witnesses_cost_no_more_than_the_deadline_together(home: Home, three: list[RunningWitness]) -> None:
    use_policy(home, three, "1", deadline_s=1)
    free = threading.Event()

    def slow(body: bytes) -> Answer:
        free.wait(20)
        return three[1].honest(body)

    three[1].answer = three[2].answer = slow
    start = time.monotonic()
    assert ask_witnesses(home)["witnessing"]["met"]
    assert time.monotonic() - start < 3
    free.set()
    assert signers(home) == {"witness.example/1"}


def test_a_witness_that_does_not_answer_is_left_in_peace_for_a_while(home: Home, three: list[RunningWitness]) -> None:
    use_policy(home, three)
    three[0].answer = silent
    for number in range(6):
        grow(home, number)
    assert len(three[0].asked) < len(three[1].asked) < 10


def test_a_policy_is_kept_only_if_it_is_sound_and_means_this_log(home: Home, three: list[RunningWitness]) -> None:
    file = home.folder.parent / "policy.txt"
    other = verifier_of(three[0].key)
    for text, code in (
        ("quorum nobody\n", "policy-invalid"),
        (policy_text(home, three).replace(home.values["vkey"], _other_log(home)), "log-not-in-policy"),
    ):
        file.write_text(text)
        with pytest.raises(TanzhangError, match=code):
            set_policy(home, file, Use())
    assert home.witnesses is None
    with pytest.raises(TanzhangError, match="witnesses-unset"):
        ask_witnesses(home)
    assert other.key_id != home.verifier.key_id
    use_policy(home, three)
    (home.folder / "keys" / "witness.use").write_text("{}")
    assert home.witnesses is not None
    (home.folder / "keys" / "witness.use").write_text('{"when_unmet": "maybe"}')
    with pytest.raises(TanzhangError, match="witness-use-malformed"):
        status(home)


def _other_log(home: Home) -> str:
    return NoteSigner(home.values["origin"], bytes(32)).verifier_key.to_text()


def test_a_log_whose_older_tiles_were_changed_is_published_and_says_why_it_is_not_witnessed(
    home: Home, three: list[RunningWitness]
) -> None:
    for number in range(3):
        grow(home, number)
    use_policy(home, three[:1], "1")
    assert ask_witnesses(home)["witnessing"]["met"]
    three[0].answer = lambda _: Answer(409, b"1\n", SIZE_TYPE)
    tile = home.folder / "log" / "tile" / "0" / "000.p" / "4"
    tile.write_bytes(bytes(128))
    problem = ask_witnesses(home)["witnessing"]["witnesses"][0]["problem"]
    assert problem["code"] == "tiles-not-of-tree"


@pytest.mark.parametrize("use", ["publish", "wait"])
def test_a_publication_with_witnesses_that_fails_at_any_step_is_finished_by_the_next(
    three: list[RunningWitness], home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    use_policy(home, three[:1], "1", when_unmet=use)
    log, signer = home.log, home.signer
    entries = home.log_entries()
    points = 1
    count = 0
    while count < points:  # each round adds an entry, fails at one step of it, and publishes again
        entries.append(b"entry %d" % len(entries))
        seen = 0

        def hook(point: str, path: Path) -> None:
            nonlocal seen
            seen += 1
            if seen - 1 == count:  # noqa: B023
                raise OSError(point)

        with monkeypatch.context() as patch:
            patch.setattr(files, "on_write", hook)
            try:
                publish(home, log, entries, signer)
            except OSError:
                points = max(points, seen + 1)
        store._reached.clear()
        publish(home, log, entries, signer)
        assert log.size == len(entries)
        assert log.check() == []
        assert three[0].held() == len(entries)
        assert signers(home) == {"witness.example/1"}
        count += 1
    assert points > 30


def publish(home: Home, log: Log, entries: list[bytes], signer: NoteSigner) -> None:
    """As a home does, from entries that are no batches."""
    witnesses = home.witnesses
    assert witnesses is not None
    first = log.size - 1
    log.publish(entries[first:], signer, first_index=first, release=witnesses)
    witnesses.collect(log, at_once=True)


def test_a_log_in_a_bucket_and_a_book_on_postgresql_are_witnessed_all_the_same(
    quick: Path, bucket: Bucket, postgres: Server
) -> None:
    book = postgres.address(postgres.database(), "witnessed")
    home = new_home(quick / "home", book=book, storage=bucket.address("there"))
    with running_witness(quick, 1, home.verifier.key) as witness:
        use_policy(home, [witness], "all")
        for number in range(2):
            grow(home, number)
        assert status(home)["witnessing"]["met"]
        assert witness.held() == 3
        receipt = create_receipt(home, action_named(home, "cainiao:b0"))
        assert len(check_receipt(receipt, None, home.witnesses.policy)["cosigned"]) == 1  # type: ignore[union-attr]
        assert tidy(home)["removed"] == 0
        assert_verified(home)
        witness.answer = lambda _: Answer(409, b"9\n", SIZE_TYPE)
        store._reached.clear()
        with pytest.raises(TanzhangError, match="log-behind-witness"):
            grow(home, 2)


def test_tidying_a_home_keeps_everything_verifiable(home: Home) -> None:
    assert tidy(home) == {"status": "tidied", "removed": 0}
    assert_verified(home)


def test_the_served_witness_signs_for_a_log_and_shows_it_to_monitors(home: Home, quick: Path) -> None:
    tanzhang = [sys.executable, "-m", "tanzhang", "witness"]
    folder = ["--folder", str(quick / "served")]
    made = subprocess.run(
        [*tanzhang, "init", *folder, "--name", "witness.example/served"], capture_output=True, text=True, check=True
    )
    assert "witness.example/served+" in made.stdout
    subprocess.run([*tanzhang, "add-log", home.values["vkey"], *folder], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([*tanzhang, "serve", *folder, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                assert httpx.get(f"{url}/{origin_id('nobody')}/checkpoint").status_code == 404
                break
            except httpx.TransportError:
                assert process.poll() is None
                time.sleep(0.1)
        key = (quick / "served" / "witness.vkey").read_text().strip()
        file = quick / "policy.txt"
        file.write_text(f"witness served {key} {url}/\nquorum served\n")
        set_policy(home, file, Use(deadline_s=20))
        grow(home, 0)
        grow(home, 1)
        assert status(home)["witnessing"]["met"]
        shown = httpx.get(f"{url}/{origin_id(home.values['origin'])}/checkpoint")
        assert shown.content == home.log.checkpoint_bytes()
        assert shown.headers["content-type"] == "text/plain; charset=utf-8"
    finally:
        process.terminate()
        process.wait()
    said = subprocess.run([*tanzhang, "status", *folder, "--json"], capture_output=True, text=True, check=True).stdout
    assert '"size": 3' in said
