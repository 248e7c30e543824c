"""Red packets: limits, a sponsor's budget and rate, files that are paid once, what failed goes back."""

from __future__ import annotations

import csv
import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.service.benefits import about_uses, buy
from tanzhang.service.check_benefits import check_benefits
from tanzhang.service.payouts import file_data, files, new_file, take_answers
from tanzhang.service.privacy import rotate_keys
from tanzhang.stores.home import Home
from tanzhang.stores.register.benefits import Benefits, payout_file

from ..homes import on
from .test_benefits import ANNA, BO, COMMON, OPERATOR, grant, load, points_of

RATES = """
      - {from: 2025-06-01, until: 2025-06-10, points: 10, gets: 1}
      - {from: 2025-06-10, until: 2025-06-12, points: 10, gets: 3, sponsor: hill_trust, budget: "70"}
"""
LIMITS = "{least: 5, per_person_day: 50, per_day: 80}"


def packet(limits: str = LIMITS) -> str:
    return f"""
  packet:
    kind: red_packet{COMMON}    adapter: bank_file
    fen: {limits}
    rates:{RATES}"""


def ask(home: Home, points: int, reference: str, own: uuid.UUID = ANNA, day: int = 8) -> Any:
    return buy(home, own, "packet", reference, points=points, payee=f"wallet-{own.hex[:4]}", now=on(day))


def code_of(home: Home, points: int, reference: str, own: uuid.UUID = ANNA, day: int = 8) -> str:
    try:
        return str(ask(home, points, reference, own, day).state)
    except TanzhangError as error:
        return error.code


def set_up(home: Home, tmp_path: Path, limits: str = LIMITS) -> None:
    load(home, tmp_path, packet(limits))
    for own in (ANNA, BO):
        grant(home, own, 2_000)


def made(home: Home, day: int = 9) -> tuple[str, list[dict[str, str]]]:
    """A new file and its rows."""
    name = new_file(home, "bank_file", actor=OPERATOR, now=on(day))["id"]
    return name, rows_of(file_data(home, name))


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def answer(home: Home, *lines: str, day: int = 10) -> dict[str, Any]:
    data = "reference,status,reason\n" + "".join(f"{line}\n" for line in lines)
    return take_answers(home, "bank_file", data.encode(), "paid.csv", actor=OPERATOR, now=on(day))


def test_points_become_fen_by_the_rate_of_the_day_and_a_sponsor_raises_it(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    plain, raised = ask(home, 100, "a"), ask(home, 100, "b", day=10)
    assert (plain.value, plain.sponsor) == (10, None)
    assert (raised.value, raised.sponsor) == (30, "hill_trust")
    assert points_of(home, ANNA) == 1_800
    assert code_of(home, 100, "c", day=12) == "benefit-closed"


def test_limits_in_fen_by_person_day_and_least_amount(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    assert code_of(home, 40, "a") == "benefit-limit"
    assert [code_of(home, 300, "b"), code_of(home, 300, "c"), code_of(home, 200, "d")] == [
        "asked",
        "benefit-limit",
        "asked",
    ]
    assert [code_of(home, 400, "e", BO), code_of(home, 300, "f", BO)] == ["benefit-limit", "asked"]
    assert code_of(home, 300, "g", day=9) == "asked"


def test_a_sponsors_budget_stops_it_and_what_failed_is_there_again(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path, "{}")
    assert [code_of(home, 200, "a", day=10), code_of(home, 100, "b", BO, day=10)] == ["asked", "budget-spent"]
    (row,) = made(home, 10)[1]
    answer(home, f"{row['reference']},failed,no such wallet", day=11)
    assert points_of(home, ANNA) == 2_000
    assert code_of(home, 200, "c", BO, day=11) == "asked"


def test_a_pay_out_is_in_one_file_and_paid_once_however_often_the_answer_is_read(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    ask(home, 100, "a")
    ask(home, 200, "b", BO)
    name, rows = made(home)
    assert [(row["payee"], row["amount_fen"]) for row in rows] == [
        (f"wallet-{ANNA.hex[:4]}", "10"),
        (f"wallet-{BO.hex[:4]}", "20"),
    ]
    assert rows_of(file_data(home, name)) == rows  # made again after a crash
    with pytest.raises(TanzhangError, match="nothing-to-pay"):
        made(home, 10)
    one, two = (row["reference"] for row in rows)
    assert answer(home, f"{one},paid,", f"{two},failed,closed") == {
        "status": "taken",
        "paid": 1,
        "refunded": 1,
        "known": 0,
    }
    assert answer(home, f"{one},paid,", f"{two},failed,closed")["known"] == 2
    assert (points_of(home, ANNA), points_of(home, BO)) == (1_900, 2_000)
    assert rows_of(file_data(home, name)) == []
    assert [row.payee for row in home.benefits.uses()] == [None, None]
    assert [(each["id"], each["open"], each["fen"]) for each in files(home)] == [(name, 0, "30")]
    assert check_benefits(home) == (3, [])


def test_a_file_of_answers_with_any_mistake_books_nothing(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    ask(home, 100, "a")
    ask(home, 100, "b")
    _, rows = made(home)
    one, two = (row["reference"] for row in rows)
    waiting = ask(home, 100, "c", day=9).id
    answer(home, f"{one},paid,")
    with pytest.raises(TanzhangError) as error:
        answer(home, f"{one},failed,", f"{two},paid,", "stranger,paid,", f"{waiting},paid,")
    assert [each.code for each in error.value.problems] == ["payout-conflict", "payout-unknown", "payout-conflict"]
    with pytest.raises(TanzhangError) as error:
        answer(home, f"{two},paid", f"{two},sent,", f"{two},paid,", f"{two},paid,")
    assert [each.where for each in error.value.problems] == ["paid.csv:2", "paid.csv:3", "paid.csv:5"]
    assert [row.state for row in home.benefits.uses()] == ["paid", "in_file", "asked"]
    for broken in (b"", b"\xff\xfe", b"a,b\n"):
        with pytest.raises(TanzhangError, match="confirmation-malformed"):
            take_answers(home, "bank_file", broken, "x", actor=OPERATOR, now=on(10))
    with pytest.raises(TanzhangError, match="adapter-unknown"):
        new_file(home, "by_hand", actor=OPERATOR, now=on(10))


def test_whom_it_is_for_is_sealed_opened_for_the_person_and_sealed_again_with_a_new_key(
    home: Home, tmp_path: Path
) -> None:
    set_up(home, tmp_path)
    row = ask(home, 100, "a")
    assert "wallet" not in str(row)
    assert rotate_keys(home)["sealed_again"] == 1
    assert [each["payee"] for each in about_uses(home, ANNA)] == [f"wallet-{ANNA.hex[:4]}"]


def test_a_pay_out_of_somebody_who_is_erased_is_not_paid_unless_it_was_in_a_file(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    ask(home, 100, "a")
    name, rows = made(home)
    ask(home, 100, "b", day=9)
    with home.book.transaction() as con:
        Benefits(home.book).forget(con, [str(ANNA)])
    assert [row.state for row in home.benefits.uses()] == ["in_file", "erased"]
    assert rows_of(file_data(home, name)) == []
    assert answer(home, f"{rows[0]['reference']},paid,")["paid"] == 1


def test_a_file_that_says_other_than_its_rows_is_found(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path)
    ask(home, 100, "a")
    made(home)
    for change in (payout_file.update().values(fen=1), payout_file.delete()):
        with home.book.transaction() as con:
            con.execute(change)
        assert {each.code for each in check_benefits(home)[1]} == {"benefit-mismatch"}


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["ask", "file", "paid", "failed"]), st.integers(1, 60)), max_size=10))
def test_no_sequence_pays_what_no_points_were_spent_for(
    home: Home, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    if not home.benefits.said.all():
        set_up(home, tmp_path, "{}")
    own, paid_fen, asked_fen, in_files = uuid.uuid4(), 0, 0, dict[str, int]()
    grant(home, own, 1_000)
    for number, (what, amount) in enumerate(steps):
        if what == "ask":
            if code_of(home, amount * 10, f"r-{number}", own) == "asked":
                asked_fen += amount
        elif what == "file" and asked_fen:
            in_files |= {row["reference"]: int(row["amount_fen"]) for row in made(home)[1]}
            asked_fen = 0
        elif in_files and what in ("paid", "failed"):
            name, fen = in_files.popitem()
            answer(home, f"{name},{what},")
            paid_fen += fen if what == "paid" else 0
        spent = 1_000 - points_of(home, own)
        assert spent == 10 * (paid_fen + asked_fen + sum(in_files.values()))
    for name in in_files:
        answer(home, f"{name},failed,")
    if asked_fen:  # the next example has files of its own
        for row in made(home, 11)[1]:
            answer(home, f"{row['reference']},failed,", day=11)
    assert points_of(home, own) == 1_000 - 10 * paid_fen
    assert check_benefits(home)[1] == []
