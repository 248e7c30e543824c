"""Persons are erased: nothing of them is left in any file, everything sealed still verifies, others notice nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.core.receipt import verify_receipt
from tanzhang.engine.erase import LEFT
from tanzhang.engine.signing import verifier_of
from tanzhang.service.accounts import statement
from tanzhang.service.erase import erase
from tanzhang.service.history import History
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child, link_many
from tanzhang.service.receipt import create_receipt
from tanzhang.service.receive import Receiver, Request
from tanzhang.service.settle import settle
from tanzhang.service.spark.settle import ClusterSettlement
from tanzhang.stores.book import batch, erasure, link, posting, replacement
from tanzhang.stores.home import Home
from tanzhang.stores.records import digest_of
from tanzhang.stores.storage import files_under, parquet_file

from ..homes import (
    BOX_MG,
    account,
    assert_verified,
    balance,
    box,
    children_of,
    new_home,
    on,
    outcome,
    power,
    problems,
    records,
    ride,
    withdrawal,
    write,
)
from ..postgres import Server
from ..s3 import Bucket
from ..stages import LocalStages

ANNA, BOB = ("amap", "anna"), ("cainiao", "bob")


@pytest.fixture(params=["sqlite", "postgresql", "bucket", "parts"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return new_home(quick / "home", book=server.address(server.database()))
    if request.param == "bucket":
        bucket: Bucket = request.getfixturevalue("bucket")
        return new_home(quick / "home", storage=bucket.address())
    opened = new_home(quick / "home")
    if request.param == "parts":
        opened.in_parts = True  # type: ignore[attr-defined]
    return opened


def settled(home: Home, day: int) -> None:
    engine = ClusterSettlement(LocalStages(cores=4), rows_a_part=4) if hasattr(home, "in_parts") else None
    settle(home, now=on(day), engine=engine)


@pytest.fixture
def lived(home: Home, quick: Path) -> Home:
    """Anna on two linked platforms and Bob, over three batches, with all that can happen to a report."""
    link_child(
        home,
        account(home, "cainiao", "anna"),
        account(home, *ANNA),
        valid_from=date(2025, 1, 1),
        valid_until=None,
        now=on(1),
    )
    file = quick / "links.csv"
    file.write_text(
        "partner,subject,with_partner,with_subject,valid_from\n"
        "alipay,anna,amap,anna,2025-01-01\nalipay,bob,cainiao,bob,2025-01-01\n"
    )
    link_many(home, file, now=on(1))
    refused = {**box("b9"), "type": "use.nothing"}
    first = [
        box("b1"),
        box("b2"),
        ride("r1"),
        power("p1"),
        box("x1", "bob"),
        ride("y1", "bob"),
        power("q1", "bob"),
        refused,
    ]
    intake(home, write(quick / "a.ndjson", first), now=on(6))
    settled(home, 7)
    settled(home, 9)
    second = [
        withdrawal(box("b2"), "undo"), box("b1"), box("b9"), box("x2", "bob"), box("x3", "bob", number="YT-b1"),
        ride("r2", minute=10), box("x4", "bob", number="YT-b2"),
    ]  # fmt: skip
    intake(home, write(quick / "b.ndjson", second), now=on(9))
    settled(home, 20)
    assert_verified(home)
    return home


def actions(home: Home, *names: tuple[str, str]) -> list[uuid.UUID]:
    return [identity(home.identity_key, ACTION, *name) for name in names]


def of_bob(home: Home) -> dict[str, Any]:
    """All that Bob sees, and can prove."""
    known = [("cainiao", "x1"), ("amap", "y1"), ("alipay", "q1"), ("cainiao", "x2"), ("cainiao", "x3")]
    return {
        "statements": [statement(home, account(home, *name)) for name in (BOB, ("amap", "bob"))],
        "receipts": [create_receipt(home, action) for action in actions(home, *known)],
    }


def everything(home: Home) -> Iterator[bytes]:
    """All that the home's files and tables hold, unpacked."""
    for folder in ("records", "reports", "links"):
        for name, _ in files_under(home.storage / folder):
            path = home.storage / folder / name
            if path.name.endswith(".parquet"):
                for row in parquet_file(path).read().to_pylist():
                    yield b"|".join(
                        each
                        if isinstance(each, bytes)
                        else each.bytes
                        if isinstance(each, uuid.UUID)
                        else str(each).encode()
                        for each in row.values()
                    )
            else:
                yield path.read_bytes()
    for path in home.folder.rglob("*"):
        if path.is_file() and not path.name.startswith("book.sqlite"):
            yield path.read_bytes()
    for table in ("link", "submission", "delivery", "inbox", "erasure", "replacement"):
        yield from (
            repr(tuple(row)).encode() for row in home.book.query(sa.select(sa.text("*")).select_from(sa.text(table)))
        )


def holding(home: Home, wanted: uuid.UUID) -> int:
    """How many places hold an account. Pages of postings do, as bytes; in the book's own file texts are looked for."""
    forms = (wanted.bytes, str(wanted).encode(), wanted.hex.encode())
    pages = [path.read_bytes() for path in home.folder.glob("book.sqlite*")]
    return sum(any(form in data for form in forms) for data in everything(home)) + sum(
        any(form in page for form in forms[1:]) for page in pages
    )


def test_nothing_of_the_person_is_left_and_all_that_was_sealed_verifies(lived: Home) -> None:
    persons = [account(lived, *name) for name in (ANNA, ("cainiao", "anna"), ("alipay", "anna"))]
    assert all(holding(lived, person) for person in persons)
    before = (
        of_bob(lived),
        [tuple(row) for row in lived.book.rows(batch)],
        sorted(map(tuple, lived.book.query(sa.select(posting)))),
    )
    said = erase(lived, persons[:1], reason="asked for on paper 17", now=on(21))
    assert (said["status"], said["accounts"], said["records"], said["batches"]) == ("erased", 3, 8, 3)
    assert (said["reports"], said["verdict_lines"], said["links"]) == (8, 2, 2)
    assert (said["open"], said["shared_children"]) == ([], [])
    assert_verified(lived)
    after = (
        of_bob(lived),
        [tuple(row) for row in lived.book.rows(batch)],
        sorted(map(tuple, lived.book.query(sa.select(posting)))),
    )
    assert after == before
    assert [holding(lived, person) for person in persons] == [0, 0, 0]
    assert children_of(lived, lived.connect(), persons[0]) == []
    left = [row for row in records(lived).to_pylist() if row["outcome"] == "erased"]
    assert len(left) == 8
    assert all(value is None for row in left for name, value in row.items() if name not in (*LEFT, "outcome"))


def test_the_same_call_again_erases_nothing_more(lived: Home) -> None:
    erase(lived, [account(lived, *ANNA)], now=on(21))
    rows = (lived.book.rows(erasure), lived.book.rows(replacement), sorted(files_under(lived.storage / "records")))
    again = erase(lived, [account(lived, *ANNA)], now=on(22))
    assert (again["status"], again["erasure"], again["records"]) == ("nothing", None, 0)
    assert rows == (
        lived.book.rows(erasure),
        lived.book.rows(replacement),
        sorted(files_under(lived.storage / "records")),
    )


def test_a_second_person_is_erased_from_files_that_were_written_anew(lived: Home) -> None:
    erase(lived, [account(lived, *ANNA)], now=on(21))
    before = statement(lived, account(lived, *BOB))
    assert before["by_behaviour"]
    erase(lived, [account(lived, "amap", "bob")], now=on(22))
    assert statement(lived, account(lived, *BOB)) == before
    said = erase(lived, [account(lived, *BOB)], now=on(23))
    assert (said["erasure"], said["records"]) == (2, 5)
    assert_verified(lived)
    assert set(records(lived)["outcome"].to_pylist()) == {"erased"}
    assert lived.book.leftovers("file") == []


def test_a_receipt_of_an_erased_record_is_refused_and_one_made_before_still_verifies(lived: Home) -> None:
    (action,) = actions(lived, ("cainiao", "b1"))
    kept = create_receipt(lived, action)
    erase(lived, [account(lived, *ANNA)], now=on(21))
    with pytest.raises(TanzhangError) as refused:
        create_receipt(lived, action)
    assert refused.value.code == "record-erased"
    assert verify_receipt(kept, verifier_of(lived.values["vkey"])).record.granted_mg == BOX_MG
    with pytest.raises(TanzhangError) as gone:
        statement(lived, account(lived, *ANNA))
    assert gone.value.code == "account-erased"


def test_an_erased_act_is_not_credited_to_anyone_again(lived: Home, quick: Path) -> None:
    erase(lived, [account(lived, *ANNA)], now=on(21))
    again = [box("b1"), box("other", "bob", number="YT-b1"), withdrawal(box("b1"), "undo b1"), box("b2"), box("new")]
    intake(lived, write(quick / "c.ndjson", again), now=on(21))
    settled(lived, 29)
    assert outcome(lived, again[0]) == ["erased", "repeat"]
    assert outcome(lived, again[1]) == ["duplicate_of"]
    assert outcome(lived, again[2]) == ["withdrawal"]
    assert outcome(lived, again[4]) == ["granted"]
    assert_verified(lived)


def test_a_later_report_begins_a_new_life_of_the_platform_account_alone(lived: Home, quick: Path) -> None:
    before = balance(lived, *ANNA)
    erase(lived, [account(lived, *ANNA)], now=on(21))
    intake(lived, write(quick / "c.ndjson", [box("later", day=date(2025, 6, 22))]), now=on(23))
    settled(lived, 30)
    assert balance(lived, *ANNA) == before
    own = statement(lived, account(lived, "cainiao", "anna"))
    assert own["confirmed"]["reduction_mg"] == str(BOX_MG)
    assert [each["records"] for each in own["by_behaviour"]] == [1]
    said = erase(lived, [account(lived, "cainiao", "anna")], now=on(30))
    assert said["records"] == 1
    assert_verified(lived)


def test_what_is_not_settled_yet_stays_and_is_named(lived: Home, quick: Path) -> None:
    events = [box("open", day=date(2025, 6, 20)), box("of bob", "bob", day=date(2025, 6, 20))]
    intake(lived, write(quick / "c.ndjson", events), now=on(21))
    said = erase(lived, [account(lived, *ANNA)], now=on(21))
    child = str(account(lived, "cainiao", "anna"))
    assert said["open"] == [{"account": child, "reports": 1, "last_closes_on": "2025-06-20"}]
    assert_verified(lived)
    settled(lived, 29)
    assert outcome(lived, events[0]) == ["granted"]
    later = erase(lived, [uuid.UUID(child)], now=on(29))
    assert (later["records"], later["reports"], later["open"]) == (1, 1, [])
    assert outcome(lived, events[1]) == ["granted"]
    assert_verified(lived)


def test_answers_to_partners_lose_the_rows_of_the_person_and_no_others(lived: Home) -> None:
    events = [
        box("s1", day=date(2025, 6, 19)),
        box("s2", "bob", day=date(2025, 6, 19)),
        {**box("s3"), "type": "use.nothing"},
    ]
    sent = Request("cainiao", [json.dumps(each).encode() for each in events], "key-1")
    receiver = Receiver(lived)
    (first,) = receiver.receive([sent], now=on(20))
    settled(lived, 29)
    intake(lived, write(lived.folder.parent / "c.ndjson", [box("s3")]), now=on(29))
    settle(lived, now=on(30, 20))
    said = erase(lived, [account(lived, *ANNA)], now=on(30, 21))
    assert said["answers"] == 2
    (again,) = receiver.receive([sent], now=on(30, 22))
    assert again.repeated
    verdicts, before = json.loads(again.body)["verdicts"], json.loads(first.body)["verdicts"]
    assert verdicts == [
        {"position": 1, "id": None, "verdict": "erased"}, before[1], {"position": 3, "id": None, "verdict": "erased"}
    ]  # fmt: skip
    assert_verified(lived)


def test_keys_of_the_person_are_gone_and_those_of_references_and_claims_stay(lived: Home) -> None:
    erase(lived, [account(lived, *ANNA)], now=on(21))
    history = History(lived)
    kept = sorted(entry for run in history._known._runs for entry in run.entries.tolist())
    made = sorted(entry for row in lived.book.batches() for entry in history._made(row.seq).tolist())
    assert kept == made
    erase(lived, [account(lived, *BOB), account(lived, "amap", "bob")], now=on(22))
    without_trips = sorted(entry for row in lived.book.batches() for entry in History(lived)._made(row.seq).tolist())
    assert 0 < len(without_trips) < len(made)


def test_a_platform_account_whose_acts_are_booked_elsewhere_is_not_erased_alone(lived: Home) -> None:
    with pytest.raises(TanzhangError) as refused:
        erase(lived, [account(lived, "cainiao", "anna")], now=on(21))
    assert refused.value.code == "account-is-linked"
    assert str(account(lived, *ANNA)) in str(refused.value)
    assert lived.book.rows(erasure) == []


def test_a_platform_account_that_another_person_was_linked_to_stays(home: Home, quick: Path) -> None:
    card = account(home, "yikatong", "card")
    days = (date(2025, 6, 1), date(2025, 6, 3), None)
    for owner, since, until in zip((ANNA, BOB), days, days[1:], strict=False):
        link_child(home, card, account(home, *owner), valid_from=since, valid_until=until, now=on(1))
    trips = [ride(f"t{n}", "card", source="yikatong", day=date(2025, 6, n)) for n in (1, 4)]
    intake(home, write(quick / "a.ndjson", trips), now=on(5))
    settled(home, 10)
    before = statement(home, account(home, *BOB))
    said = erase(home, [account(home, *ANNA)], now=on(11))
    assert (said["records"], said["shared_children"]) == (1, [str(card)])
    assert statement(home, account(home, *BOB)) == before
    assert outcome(home, trips[1]) == ["granted"]
    assert_verified(home)


def test_a_damaged_file_is_not_made_good_by_writing_it_anew(lived: Home) -> None:
    row = lived.book.batches()[0]
    name, _ = next(each for each in files_under(lived.storage / row.folder) if each[0].name.endswith(".parquet"))
    if not isinstance(lived.storage, Path):
        pytest.skip("files in a bucket are damaged in the same way")
    path = lived.storage / row.folder / name
    data = path.read_bytes()
    table = parquet_file(path).read()
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="none")
    before = digest_of(path)
    with pytest.raises(TanzhangError) as refused:
        erase(lived, [account(lived, *ANNA)], now=on(21))
    assert refused.value.code == "record-file-changed"
    assert (digest_of(path), lived.book.rows(erasure)) == (before, [])
    path.write_bytes(data)
    erase(lived, [account(lived, *ANNA)], now=on(21))
    assert_verified(lived)


def test_links_that_were_made_meanwhile_let_the_erasing_begin_again(
    lived: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lived.book.replace_files

    def linked_first(*arguments: Any, **named: Any) -> Any:
        link_child(
            lived,
            account(lived, "jd", "anna"),
            account(lived, *ANNA),
            valid_from=date(2025, 6, 1),
            valid_until=None,
            now=on(21),
        )
        return whole(*arguments, **named)

    monkeypatch.setattr(lived.book, "replace_files", linked_first)
    with pytest.raises(TanzhangError) as refused:
        erase(lived, [account(lived, *ANNA)], now=on(21))
    assert refused.value.code == "book-moved"
    monkeypatch.undo()
    assert_verified(lived)
    assert erase(lived, [account(lived, *ANNA)], now=on(21))["links"] == 3
    assert_verified(lived)


def test_the_book_lets_a_link_say_no_more_whose_it_was_and_nothing_else(lived: Home) -> None:
    for values in ({"child": "x"}, {"account": ""}, {"child": "", "account": "", "valid_from": "2020-01-01"}):
        with pytest.raises(Exception, match="append-only"), lived.book.transaction() as con:
            con.execute(link.update().values(values))
    assert_verified(lived)
    with lived.book.transaction() as con:  # without a row that says so it is a changed book
        con.execute(link.update().values(child="", account=""))
    assert [problem["code"] for problem in problems(lived)] == ["book-row-changed"]


def test_verify_tells_a_record_that_was_changed_under_a_kept_leaf(lived: Home) -> None:
    """Whoever may rewrite files and append rows could claim that a record was erased; what is not empty is hashed."""
    erase(lived, [account(lived, *ANNA)], now=on(21))
    row = lived.book.batches()[0]
    assert row.erased > 0
    totals = json.loads(row.totals)
    assert sum(int(each[3]) for each in totals) == row.erased
    heads = lived.book.heads()
    other = [[*each[:4], str(int(each[4]) + 1), each[5]] for each in totals]
    values = {"kind": "records", "number": row.seq, "file": row.records_file, "file_digest": row.records_digest}
    lived.book.replace_files(
        heads, [{**values, "erased": row.erased, "totals": json.dumps(other), "recorded_at": "now"}], []
    )
    assert {problem["code"] for problem in problems(lived)} == {"totals-mismatch", "posting-mismatch", "tally-mismatch"}
    lived.book.replace_files(
        lived.book.heads(), [{**values, "erased": row.erased + 1, "totals": row.totals, "recorded_at": "now"}], []
    )
    assert {problem["code"] for problem in problems(lived)} == {"erasure-mismatch"}
