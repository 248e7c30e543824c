"""Grams that go to another scheme: taken in there once, by the one they are for, and counted nowhere as its own."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.passing import PASSED, RECEIVED, Passing
from tanzhang.service.donations import allocation
from tanzhang.service.epoch import close
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.market.check_passings import check_passings
from tanzhang.service.market.pass_on import (
    check_file,
    load_schemes,
    looked_up,
    pass_on,
    passed_file,
    passings,
    scheme_page,
    schemes,
    take_in,
)
from tanzhang.service.own import overview
from tanzhang.service.privacy import about
from tanzhang.service.reading import Reader
from tanzhang.stores.book import transfer
from tanzhang.stores.home import Home
from tanzhang.stores.register.passings import passing

from ..homes import BOX_MG, account, assert_verified, box, new_home, on, settle_on, withdrawal, write

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
SCHEMES = """
format: tanzhang.passing-schemes/1
schemes:
  {id}:
    title: Another city
    title_zh: 另一座城市
    text: An example of ours.
    text_zh: 本平台示例。
    holder: a city (invented)
    takes: {takes}
    gives: {gives}
    open: {{from: 2025-06-01, until: 2025-07-01}}
    source: none, an example
    status: example
    {log}
"""


def say(home: Home, folder: Path, name: str, *, takes: bool, gives: bool, other: Home | None) -> dict[str, Any]:
    log = "" if other is None else f"log: {other.values['vkey']}\n    programme: {other.programme.id}"
    path = folder / f"{uuid.uuid4()}.yaml"
    text = SCHEMES.format(id=name, takes=str(takes).lower(), gives=str(gives).lower(), log=log)
    path.write_text(text, encoding="utf-8")
    return load_schemes(home, path, actor=OPERATOR, now=on(2))


def two(folder: Path, place: Callable[[str], str | None]) -> tuple[Home, Home]:
    """Two homes of other programmes that say each other as schemes, and somebody in the first who has three boxes."""
    there = new_home(folder / "there", "beijing", seed=b"other", book=place("there"))
    report(there, folder, box("there", "bo"), day=7)
    home = new_home(folder / "home", "cainiao", book=place("tests"))
    say(home, folder, "beijing", takes=True, gives=False, other=there)
    say(there, folder, "cainiao", takes=False, gives=True, other=home)
    report(home, folder, *(box(f"anna-{n}") for n in range(3)), day=7)
    return home, there


@pytest.fixture
def both(place: Callable[[str], str | None], quick: Path) -> tuple[Home, Home]:
    """The home that gives and the one that takes in, their books on either database."""
    return two(quick, place)


@pytest.fixture
def home(both: tuple[Home, Home]) -> Home:
    return both[0]


@pytest.fixture
def there(both: tuple[Home, Home]) -> Home:
    return both[1]


@pytest.fixture(scope="module")
def kept(in_memory: Path) -> tuple[Home, Home, bytes]:
    """The same for tests that change nothing in them, and a file that was passed on."""
    home, there = two(Path(tempfile.mkdtemp(dir=in_memory)), lambda _: None)
    return home, there, given_file(home, there)


def report(home: Home, folder: Path, *events: Any, day: int) -> None:
    intake(home, write(folder / f"{uuid.uuid4()}.ndjson", events), now=on(day))
    settle_on(home, day + 1)


def anna(home: Home) -> uuid.UUID:
    return account(home, "cainiao", "anna")


def give(home: Home, there: Home, mg: int = 30_000, reference: str = "1") -> dict[str, Any]:
    return pass_on(home, anna(home), "beijing", reference, grams_mg=mg, to=anna(there), now=on(9))


def given_file(home: Home, there: Home, mg: int = 30_000, reference: str = "1") -> bytes:
    made = give(home, there, mg, reference)
    if reference == "1":
        close(home, now=on(10))
    else:
        report(home, home.folder.parent, box(f"more-{reference}", "carol"), day=11)
    return passed_file(home, anna(home), made["id"])


def own(home: Home) -> dict[str, Any]:
    return overview(Reader(home), anna(home), now=on(12))


def test_passed_grams_are_used_here_and_received_there_and_no_reduction_of_the_other_city(
    home: Home, there: Home
) -> None:
    data = given_file(home, there)
    taken = take_in(there, anna(there), data, now=on(11))
    assert (taken["way"], taken["grams_mg"], taken["log"]) == ("received", "30000", "log.example/cainiao")
    here, over = own(home), own(there)
    assert (here["held"]["co2e_mg"], here["passed_mg"], here["available_mg"]) == (
        str(3 * BOX_MG),
        "30000",
        str(3 * BOX_MG - 30_000),
    )
    assert (over["held"]["co2e_mg"], over["received_mg"], over["available_mg"]) == ("0", "30000", "0")
    assert over["transferred"] == here["transferred"] == {}
    with pytest.raises(TanzhangError, match="unknown-scheme"):
        pass_on(there, anna(there), "hebei", "x", grams_mg=1, now=on(11))
    closed = close(there, now=on(12))
    assert closed["trees"]["co2e_mg"]["total"] == str(BOX_MG)
    assert [each["passed_mg"] for each in scheme_page(home, "beijing")["sealed"]] == ["30000"]
    assert [each["received_mg"] for each in scheme_page(there, "cainiao")["sealed"]] == ["30000"]
    assert [(each["id"], each["received_mg"]) for each in schemes(there)] == [("cainiao", "30000")]
    statement = Reader(home).statement(anna(home))
    assert statement["passed_on"] == {"reduction_mg": "30000"}
    assert statement["confirmed"]["reduction_mg"] == str(3 * BOX_MG)
    assert_verified(home)
    assert_verified(there)


def test_a_file_is_taken_in_once_and_the_same_again_has_the_same_answer(
    home: Home, there: Home, tmp_path: Path
) -> None:
    data = given_file(home, there)
    first = take_in(there, anna(there), data, now=on(11))
    assert take_in(there, anna(there), data, now=on(12)) == first
    say(there, tmp_path, "cainiao", takes=True, gives=False, other=home)
    assert take_in(there, anna(there), data, now=on(13)) == first
    assert own(there)["received_mg"] == "30000"
    assert [each["way"] for each in passings(there, anna(there))] == ["received"]


def test_many_who_pass_on_and_take_in_at_once_move_each_gram_once(home: Home, there: Home) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda number: give(home, there, BOX_MG, f"g-{number % 3}"), range(6)))
    assert [made[n] == made[n + 3] for n in range(3)] == [True] * 3
    assert own(home)["available_mg"] == "0"
    close(home, now=on(10))
    data = passed_file(home, anna(home), made[0]["id"])
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda _: take_in(there, anna(there), data, now=on(11)), range(6)))
    assert taken == [taken[0]] * 6
    assert own(there)["received_mg"] == str(BOX_MG)
    assert_verified(home)
    assert_verified(there)


def test_a_file_is_good_for_one_account_of_one_home_that_says_its_giver(
    kept: tuple[Home, Home, bytes], tmp_path: Path, quick: Path
) -> None:
    home, there, data = kept
    with pytest.raises(TanzhangError, match="passing-of-another"):
        take_in(there, account(there, "cainiao", "bo"), data, now=on(11))
    third = new_home(quick / "third", "green-life-season-2022", seed=b"third")
    with pytest.raises(TanzhangError, match="giver-unknown"):
        take_in(third, account(third, "cainiao", "anna"), data, now=on(11))
    say(third, tmp_path, "cainiao", takes=False, gives=True, other=home)
    with pytest.raises(TanzhangError, match="passing-elsewhere"):
        take_in(third, account(third, "cainiao", "anna"), data, now=on(11))
    with pytest.raises(TanzhangError, match="scheme-closed"):
        take_in(there, anna(there), data, now=on(30, 17))
    assert (third.passings.rows(), there.passings.rows()) == ([], [])


def test_a_file_that_was_changed_is_refused_wherever_it_was_changed(
    kept: tuple[Home, Home, bytes],
) -> None:
    _, there, file = kept
    data = file.decode()
    lines = data.splitlines(keepends=True)
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        changed = line[:-2] + ("A" if line[-2] != "A" else "B") + "\n"
        with pytest.raises(TanzhangError):
            take_in(there, anna(there), "".join([*lines[:number], changed, *lines[number + 1 :]]).encode(), now=on(11))
    with pytest.raises(TanzhangError, match="passing-malformed"):
        take_in(there, anna(there), data.encode() + b" " * 200_000, now=on(11))
    assert there.passings.rows() == []


def test_the_file_holds_without_a_home_and_names_neither_person(
    kept: tuple[Home, Home, bytes],
) -> None:
    home, there, data = kept
    said = check_file(data, home.values["vkey"])
    assert (said["amount"], said["unit"], said["log"], said["programme"]) == (
        "30000",
        PASSED,
        "log.example/cainiao",
        "cainiao",
    )
    assert not {str(anna(home)), str(anna(there))} & {str(value) for value in said.values()}
    with pytest.raises(TanzhangError, match="note-not-trusted"):
        check_file(data, there.values["vkey"])


def test_anybody_with_the_id_sees_on_both_sides_what_became_of_it(home: Home, there: Home) -> None:
    data = given_file(home, there)
    name = check_file(data, home.values["vkey"])["id"]
    assert [each["way"] for each in looked_up(home, name)["items"]] == ["passed_on"]
    with pytest.raises(TanzhangError, match="not-found"):
        looked_up(there, name)
    take_in(there, anna(there), data, now=on(11))
    (said,) = looked_up(there, name)["items"]
    assert (said["way"], said["grams_mg"]) == ("received", "30000")
    assert str(anna(there)) not in str(said)


def test_more_than_is_free_is_not_passed_on_and_a_reference_is_one_passing_on(
    home: Home, there: Home, tmp_path: Path
) -> None:
    first = give(home, there)
    assert give(home, there) == first
    say(home, tmp_path, "beijing", takes=False, gives=True, other=there)
    assert give(home, there) == first
    say(home, tmp_path, "beijing", takes=True, gives=False, other=there)
    with pytest.raises(TanzhangError, match="reference-taken"):
        give(home, there, 30_001)
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, there, 3 * BOX_MG - 29_999, "2")
    with pytest.raises(TanzhangError, match="not-sealed"):
        passed_file(home, anna(home), first["id"])
    with pytest.raises(TanzhangError, match="not-found"):
        passed_file(home, account(home, "cainiao", "bo"), first["id"])
    for wrong, code in (
        ({"grams_mg": 0}, "passing-incomplete"),
        ({"to": None}, "passing-incomplete"),
        ({"now": on(30, 17)}, "scheme-closed"),
        ({"scheme": "hebei"}, "unknown-scheme"),
    ):
        asked = {"scheme": "beijing", "reference": "3", "grams_mg": 1, "to": anna(there), "now": on(9), **wrong}
        with pytest.raises(TanzhangError, match=code):
            pass_on(home, anna(home), **asked)
    assert len(home.passings.rows()) == 1


def test_an_outside_market_takes_grams_that_name_no_account(home: Home, tmp_path: Path) -> None:
    say(home, tmp_path, "exchange", takes=True, gives=False, other=None)
    made = pass_on(home, anna(home), "exchange", "1", grams_mg=10, now=on(9))
    assert (made["scheme"], made["log"]) == ("exchange", None)
    close(home, now=on(10))
    assert check_file(passed_file(home, anna(home), made["id"]), home.values["vkey"])["to"] == ""
    assert_verified(home)


def test_what_is_passed_on_takes_from_records_as_gifts_do(home: Home, there: Home, tmp_path: Path) -> None:
    give(home, there, 2 * BOX_MG)
    (said,) = allocation(Reader(home), anna(home))["gifts"]
    assert [each["mg"] for each in said["records"]] == [str(BOX_MG)] * 2
    taken_back = [withdrawal(box(f"anna-{n}"), f"w-{n}") for n in range(2)]
    report(home, tmp_path, *taken_back, day=10)
    assert own(home)["available_mg"] == str(-BOX_MG)
    (said,) = allocation(Reader(home), anna(home))["gifts"]
    assert said["owed_mg"] == str(BOX_MG)
    assert_verified(home)


def test_what_was_received_goes_along_when_accounts_are_joined(home: Home, there: Home) -> None:
    data = given_file(home, there)
    bo = account(there, "cainiao", "bo")
    join(there, anna(there), bo, since=date(2025, 6, 9), now=on(11))
    taken = take_in(there, bo, data, now=on(11))
    assert take_in(there, anna(there), data, now=on(11)) == taken
    assert overview(Reader(there), bo, now=on(12))["received_mg"] == "30000"
    assert own(there)["received_mg"] == "0"
    assert_verified(there)


def test_erased_persons_leave_what_went_and_came_and_nothing_says_whose(home: Home, there: Home) -> None:
    data = given_file(home, there)
    take_in(there, anna(there), data, now=on(11))
    close(there, now=on(12))
    for each in (home, there):
        who = anna(each)
        assert len(about(each, str(who))["passings"]) == 1
        erase(each, [who], now=on(13))
        assert about(each, str(who))["passings"] == []
        assert str(who) not in str(each.passings.rows()) + str(each.book.query(sa.select(transfer)))
    assert scheme_page(home, "beijing")["passed_mg"] == scheme_page(there, "cainiao")["received_mg"] == "30000"
    assert check_file(data, home.values["vkey"])["status"] == "verified"
    assert_verified(home)
    assert_verified(there)


def test_what_was_changed_is_found(home: Home, there: Home) -> None:
    take_in(there, anna(there), given_file(home, there), now=on(11))
    other = given_file(home, there, 40_000, "2")
    close(there, now=on(12))
    assert check_passings(there)[1] == []
    row = there.passings.rows()[0]
    for values in (
        {"amount": 1},
        {"file": other.decode()},
        {"file": "nothing"},
        {"log": "log.example/third"},
        {"unit": PASSED},
        {"scheme": "hebei"},
    ):
        with there.book.transaction() as con:
            con.execute(passing.update().values(**values))
        assert {each.code for each in check_passings(there)[1]} == {"passing-mismatch"}
        with there.book.transaction() as con:
            con.execute(passing.update().values(**{name: getattr(row, name) for name in values}))
    with there.book.transaction() as con:
        con.execute(passing.delete())
    assert {each.code for each in check_passings(there)[1]} == {"passing-mismatch"}


def test_every_mistake_of_a_file_of_schemes_is_said_and_nothing_of_it_is_kept(home: Home, tmp_path: Path) -> None:
    before = schemes(home)
    for takes, gives, other in ((False, False, None), (True, True, None), (True, False, home)):
        with pytest.raises(TanzhangError, match="scheme-malformed"):
            say(home, tmp_path, "hebei", takes=takes, gives=gives, other=other)
    assert schemes(home) == before


def test_a_row_is_read_as_it_was_written_and_an_amount_that_no_book_holds_is_none() -> None:
    row = Passing("id", "s", "log", "to", RECEIVED, 1, False, "2025-06-01T00:00:00")
    assert Passing.read(row.as_dict()) == row
    for wrong in ({"amount": "0"}, {"amount": str(2**63)}, {"rehearsal": "no"}, {"to": None}):
        with pytest.raises(ValueError, match=r"amount|type"):
            Passing.read({**row.as_dict(), **wrong})
