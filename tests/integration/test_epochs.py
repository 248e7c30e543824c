"""Epochs of whole homes, on both databases: sealed once, provable by each person, computed again by everybody."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tanzhang.core.epoch import Epoch, Evidence, verify_epoch_proof
from tanzhang.core.errors import TanzhangError
from tanzhang.core.sum_tree import LEAST_LEAVES
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import verifier_of
from tanzhang.service.accounts import statement
from tanzhang.service.epoch import Prover, check, close, epochs, latest_epoch, prove
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.stores.catalogue import shipped_folder
from tanzhang.stores.home import Home

from ..homes import (
    BOX_MG,
    CREATED,
    METRO_MG_PER_M,
    account,
    as_attacker,
    assert_verified,
    box,
    on,
    power,
    problems,
    ride,
    settle_on,
    withdrawal,
    write,
)
from ..postgres import Server

PEOPLE = ("anna", "bo", "chen", "dan")
TOTAL_MG = 4 * BOX_MG + 10_000 * METRO_MG_PER_M


def small_programme(folder: Path, least: int = 3) -> Path:
    """Programme beijing for few people: a proof from three accounts on, a cell from two on."""
    data = yaml.safe_load((shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8"))
    data["disclosure"] = {"least_accounts_in_tree": least, "least_accounts_in_cell": 2}
    path = folder / "catalogue" / "programmes" / "beijing.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return folder / "catalogue"


def made(folder: Path, least: int = 3, book: str | None = None) -> Home:
    folder.mkdir(exist_ok=True)
    overlay = small_programme(folder, least)
    return Home.create(
        folder / "home",
        programme="beijing",
        origin="log.example/beijing",
        overlays=(overlay,),
        now=CREATED,
        seed=b"epochs",
        book=book,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Three days: boxes of four people, a footprint, an act taken back."""
    book = None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database(), "epochs")
    opened = made(tmp_path, book=book)
    days = [
        [box(f"a-{person}", person) for person in PEOPLE] + [power("p1", "anna"), ride("r1", "bo")],
        [box("b-anna", "anna", day=date(2025, 6, 6))],
        [withdrawal(box("a-dan", "dan"), "undo", day=date(2025, 6, 7))],
    ]
    for number, events in enumerate(days):
        intake(opened, write(tmp_path / f"{number}.ndjson", events), now=on(6 + number))
        settle_on(opened, 6 + number)
    return opened


def day(number: int) -> date:
    return date(2025, 6, number)


def own(home: Home, subject: str) -> uuid.UUID:
    return account(home, "cainiao", subject)


def vkey(home: Home) -> str:
    return home.values["vkey"]


def test_the_total_of_an_epoch_is_what_the_accounts_hold(home: Home) -> None:
    closed = close(home, day(7), now=on(8))
    assert closed["trees"]["co2e_mg"]["total"] == str(TOTAL_MG)  # five boxes, one taken back, and the ride
    assert closed["trees"]["co2e_mg"]["leaves"] == str(LEAST_LEAVES)
    assert closed["batches"] == {"first": 0, "last": 2}
    assert latest_epoch(home) == closed == close(home, day(7), now=on(9))
    assert json.loads(home.log.entry(closed["entry"]))["trees"] == closed["trees"]
    assert_verified(home)


def test_each_person_proves_their_share_without_the_home(home: Home) -> None:
    close(home, day(7), now=on(8))
    prover = Prover(home)
    for person, amount in (("anna", 2 * BOX_MG), ("bo", BOX_MG), ("dan", 0)):
        proved = check(prover.prove(own(home, person)), vkey(home))
        assert proved["shares"]["co2e_mg"] == {"amount": str(amount), "total": str(TOTAL_MG)}
        assert (proved["day"], proved["account"]) == ("2025-06-07", str(own(home, person)))
    with pytest.raises(TanzhangError, match="epoch-no-share"):
        prover.prove(uuid.uuid4())


def test_epochs_follow_the_days_and_later_batches_belong_to_later_ones(home: Home) -> None:
    first = close(home, day(5), now=on(8))
    assert first["batches"] == {"first": 0, "last": 0}
    assert first["trees"]["co2e_mg"]["total"] == str(4 * BOX_MG)
    with pytest.raises(TanzhangError, match="epoch-unsettled"):
        close(home, day(7), now=on(10)) if settle_waits(home) else None
    settle_on(home, 9)
    second = close(home, day(8), now=on(9))
    assert second["batches"] == {"first": 1, "last": 3}
    with pytest.raises(TanzhangError, match="epoch-passed"):
        close(home, day(6), now=on(9))
    empty = close(home, day(9), now=on(10))
    assert empty["batches"] == {"first": None, "last": 3}
    assert empty["trees"]["co2e_mg"]["total"] == second["trees"]["co2e_mg"]["total"]
    assert empty["trees"]["co2e_mg"]["root"] != second["trees"]["co2e_mg"]["root"]  # other salts, another order
    assert [each["day"] for each in epochs(home)] == ["2025-06-09", "2025-06-08", "2025-06-05"]
    early = check(prove(home, own(home, "anna"), day(5)), vkey(home))
    assert early["shares"]["co2e_mg"]["amount"] == str(BOX_MG)
    assert_verified(home)


def settle_waits(home: Home) -> bool:
    """A report that came in and closed on the 7th, and is not settled."""
    file = write(home.folder / "late.ndjson", [box("late", "bo", day=day(7))])
    assert intake(home, file, now=on(7, 14))["accepted"] == 1
    return True


def test_what_cannot_be_closed_is_refused(home: Home, tmp_path: Path) -> None:
    with pytest.raises(TanzhangError, match="day-not-over"):
        close(home, day(8), now=on(8))
    with pytest.raises(TanzhangError, match="epoch-empty"):
        close(home, day(3), now=on(8))
    with pytest.raises(TanzhangError, match="epoch-unknown"):
        prove(home, own(home, "anna"))
    assert latest_epoch(home) is None
    assert epochs(home) == []


def test_a_footprint_has_a_tree_of_its_own(home: Home) -> None:
    settle_on(home, 20)
    closed = close(home, day(19), now=on(20))
    anna = account(home, "alipay", "anna")
    amount = statement(home, anna)["confirmed"]["footprint_mg"]
    assert int(amount) > 0
    assert closed["trees"]["footprint_mg"]["total"] == amount
    with pytest.raises(TanzhangError, match="epoch-too-few"):  # one account only: its path would show nothing but zero
        prove(home, anna)


def test_in_a_tree_of_few_accounts_nobody_gets_a_path(tmp_path: Path) -> None:
    few = made(tmp_path, least=4)
    intake(few, write(tmp_path / "few.ndjson", [box(f"b-{person}", person) for person in PEOPLE[:3]]), now=on(6))
    settle_on(few, 6)
    close(few, day(5), now=on(6))
    with pytest.raises(TanzhangError, match="epoch-too-few"):
        prove(few, own(few, "anna"))
    assert_verified(few)


def test_cells_with_few_accounts_are_hidden_together_with_another(home: Home) -> None:
    settle_on(home, 20)
    closed = close(home, day(19), now=on(20))
    cells = closed["cells"]
    assert cells["least_accounts"] == "2"
    # One person's ride and four people's boxes: by the total, the ride would be known from the boxes.
    assert [cell for cell in cells["behaviour"] if cell["kind"] == "reduction"] == []
    assert int(cells["behaviour_hidden"]) == 3
    (region,) = cells["region"]
    assert region["kind"] == "reduction"


# -- what is changed on the way


def parts(data: bytes) -> tuple[TlogProof, dict[str, Any]]:
    proof = TlogProof.parse(data)
    assert proof.extra is not None
    return proof, json.loads(proof.extra)


def repacked(proof: TlogProof, members: dict[str, Any]) -> bytes:
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return TlogProof(proof.index, proof.path, proof.checkpoint, text.encode()).to_bytes()


def changes(members: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        again: dict[str, Any] = json.loads(json.dumps(members))
        change(again)
        return again

    share = ("shares", "co2e_mg")

    def set_share(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda every: every[share[0]][share[1]].__setitem__(name, value)

    own = members["shares"]["co2e_mg"]
    yield "amount", changed(set_share("amount", str(int(own["amount"]) + 1)))
    yield "salt", changed(set_share("salt", "00" * 16))
    yield "index", changed(set_share("index", str(int(own["index"]) ^ 1)))
    yield "a path cut short", changed(set_share("path", own["path"][:-1]))
    yield "a negative sum", changed(set_share("path", [["-1", own["path"][0][1]], *own["path"][1:]]))
    yield "another account", changed(lambda every: every.__setitem__("account", str(uuid.UUID(int=7))))
    yield "no shares", changed(lambda every: every.__setitem__("shares", {}))
    epoch = json.loads(members["epoch"])
    epoch["trees"]["co2e_mg"]["total"] = str(int(epoch["trees"]["co2e_mg"]["total"]) + 1)
    text = json.dumps(epoch, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    yield "another total", changed(lambda every: every.__setitem__("epoch", text))
    epoch = json.loads(members["epoch"])
    epoch["day"] = "2025-06-08"
    text = json.dumps(epoch, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    yield "another day", changed(lambda every: every.__setitem__("epoch", text))


def test_whatever_is_changed_in_a_proof_it_is_refused(home: Home) -> None:
    close(home, day(7), now=on(8))
    data = prove(home, own(home, "anna"))
    proof, members = parts(data)
    assert repacked(proof, members) == data
    found = list(changes(members))
    assert len(found) == 9
    for what, changed in found:
        with pytest.raises(TanzhangError, match=r"sum-proof-invalid|epoch-proof-malformed|inclusion-proof-invalid"):
            pytest.fail(f"{what} was believed: {check(repacked(proof, changed), vkey(home))}")
    another = vkey(made(home.folder.parent / "other"))  # the same origin and seed: the same key
    assert check(data, another)["status"] == "verified"
    with pytest.raises(TanzhangError, match=r"note-not-trusted|checkpoint"):
        check(data, "log.carbon.example/vectors+0023a426+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea")
    with pytest.raises(TanzhangError, match="epoch-proof-malformed"):
        check(home.log.prove(latest_epoch(home)["entry"]), vkey(home))  # type: ignore[index]


def test_a_proof_is_written_in_one_way_only(home: Home) -> None:
    close(home, day(7), now=on(8))
    data = prove(home, own(home, "anna"))
    verified = verify_epoch_proof(data, verifier_of(vkey(home)))
    proof = TlogProof.parse(data)
    assert proof.extra is not None
    assert Evidence.parse(proof.extra).to_bytes() == proof.extra
    assert Epoch.parse(verified.epoch.to_text()) == verified.epoch
    spaced = json.dumps(json.loads(proof.extra), indent=1).encode()
    with pytest.raises(TanzhangError, match="epoch-proof-malformed"):
        check(TlogProof(proof.index, proof.path, proof.checkpoint, spaced).to_bytes(), vkey(home))


# -- the same book, the same bytes


def test_both_databases_and_every_copy_close_the_same_epoch(
    home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = made(tmp_path_factory.mktemp("again"))
    for number in range(3):
        intake(other, home.folder.parent / f"{number}.ndjson", now=on(6 + number))
        settle_on(other, 6 + number)
    for opened in (home, other):
        close(opened, day(6), now=on(8))
        close(opened, day(7), now=on(9))
    assert home.log.entries()[-2:] == other.log.entries()[-2:]  # manifests name folders that differ by chance
    proofs = [parts(prove(each, own(each, "anna")))[1] for each in (home, other)]
    assert proofs[0] == proofs[1]


# -- a person who is forgotten


def test_a_forgotten_person_leaves_every_root_and_total_and_no_way_back(home: Home) -> None:
    close(home, day(5), now=on(8))
    close(home, day(7), now=on(8))
    anna, secret = own(home, "anna"), home.epochs.secret(own(home, "anna"))
    assert secret is not None
    before = [home.log.entry(index) for index in range(home.log.size)]
    erase(home, [anna], now=on(8))
    erase(home, [anna], now=on(8))
    assert home.epochs.secret(anna) is None
    assert secret not in home.epochs.secrets().secrets.tobytes()
    assert_verified(home)
    with pytest.raises(TanzhangError, match="epoch-no-share"):
        prove(home, anna)
    assert check(prove(home, own(home, "bo")), vkey(home))["status"] == "verified"
    assert [home.log.entry(index) for index in range(home.log.size)] == before
    settle_on(home, 9)
    later = close(home, day(8), now=on(9))
    assert later["trees"]["co2e_mg"]["total"] == str(sum(amounts(home)))
    check(prove(home, own(home, "bo")), vkey(home))
    erase(home, [own(home, "dan")], now=on(9))
    assert_verified(home)


def amounts(home: Home) -> Iterator[int]:
    for source, subject in [*(("cainiao", person) for person in PEOPLE), ("amap", "bo")]:
        yield home.book.balance(account(home, source, subject)).get("co2e_mg", 0)


# -- what somebody changed in the book


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE epoch_secret SET data = CAST(substr(data, 1, length(data) - 1) || x'00' AS BLOB)",
        "DELETE FROM epoch_secret",
        "INSERT INTO forgotten_leaf SELECT seq, 'co2e_mg', zeroblob(32), 1 FROM entry WHERE kind = 'epoch'",
        "UPDATE entry SET text = replace(text, '148000', '149000') WHERE kind = 'epoch'",
        "UPDATE entry SET text = 'nothing' WHERE kind = 'epoch'",
    ],
)
def test_a_changed_secret_leaf_or_entry_is_found_by_verification(tmp_path: Path, statement: str) -> None:
    opened = made(tmp_path)
    intake(opened, write(tmp_path / "a.ndjson", [box(f"a-{person}", person) for person in PEOPLE]), now=on(6))
    settle_on(opened, 6)
    close(opened, day(5), now=on(6))
    assert_verified(opened)
    opened.book.close()
    copy = Path(shutil.copytree(opened.folder, tmp_path / "copy"))
    with as_attacker(copy) as con:
        assert con.execute(statement).rowcount == 1
    wrong = {problem["code"] for problem in problems(Home(copy))}
    assert wrong & {"epoch-mismatch", "epoch-secret-missing", "epoch-negative"}, wrong
