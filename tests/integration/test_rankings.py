"""Rankings against sorting every record by hand: fair to ties, without accounts, in any scope, batch after batch."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.region import contains
from tanzhang.engine.kernel import connect
from tanzhang.service import check_totals
from tanzhang.service.intake import intake
from tanzhang.service.ranking import Scope, _sums, current_board, pseudonym, ranking
from tanzhang.stores import boards
from tanzhang.stores.boards import Board
from tanzhang.stores.home import Home

from ..homes import BOX_MG, account, assert_verified, box, on, problems, records, ride, settle_on, withdrawal, write
from .test_epochs import made

DAY = date(2025, 6, 5)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two days: anna has three boxes, bo and chen two, dan one, taken back; a ride of eva by another partner."""
    opened = made(tmp_path_factory.mktemp("ranking"))
    boxes = {"anna": 3, "bo": 2, "chen": 2, "dan": 1}
    events = [box(f"{who}-{number}", who) for who, count in boxes.items() for number in range(count)]
    submit(opened, 6, [*events, ride("r1", "eva")])
    submit(opened, 7, [box("late", "dan", day=date(2025, 6, 6)), withdrawal(box("dan-0"), "undo")])
    settle_on(opened, 9)
    return opened


def submit(home: Home, day: int, events: list[Any]) -> None:
    intake(home, write(home.folder.parent / f"{day}.ndjson", events), now=on(day))
    settle_on(home, day)


def by_hand(home: Home, scope: Scope) -> dict[uuid.UUID, int]:
    sums: dict[uuid.UUID, int] = defaultdict(int)
    for row in records(home).to_pylist():
        chosen = scope.first <= row["day"] <= scope.last and row["kind"] == "reduction"
        chosen &= scope.partner in (None, row["partner"])
        chosen &= scope.region is None or contains(scope.region, row["region"])
        if chosen:
            own = row["account"] if isinstance(row["account"], uuid.UUID) else uuid.UUID(bytes=row["account"])
            sums[own] += row["granted_mg"] - row["reversed_mg"]
    return {own: amount for own, amount in sums.items() if amount > 0}


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["day", "week", "month"]),
    st.integers(1, 12),
    st.sampled_from([None, "CN-110000", "CN-110108", "CN-440000"]),
    st.sampled_from([None, "cainiao", "amap"]),
)
def test_every_rank_is_one_more_than_have_more(
    home: Home, period: str, day: int, region: str | None, partner: str | None
) -> None:
    scope = Scope.of(period, date(2025, 6, day), region, partner)
    expected = by_hand(home, scope)
    names = {own: str(own) for own in expected}
    found = ranking(home, scope, names=names)
    if len(expected) < home.programme.disclosure.least_accounts_in_cell:
        assert (found["hidden"], found["rows"], found["people"]) == (True, [], None)
        return
    assert {row["name"]: (row["rank"], row["mg"]) for row in found["rows"]} == {
        str(own): (1 + sum(other > amount for other in expected.values()), str(amount))
        for own, amount in expected.items()
    }
    assert [row["rank"] for row in found["rows"]] == sorted(row["rank"] for row in found["rows"])


def test_equal_amounts_share_a_rank_and_the_next_counts_them_all(home: Home) -> None:
    found = ranking(home, Scope.of("day", DAY, partner="cainiao"))
    assert [(row["rank"], row["mg"]) for row in found["rows"]] == [
        (1, str(3 * BOX_MG)),
        (2, str(2 * BOX_MG)),
        (2, str(2 * BOX_MG)),
    ]
    ranks = [row["rank"] for row in ranking(home, Scope.of("month", DAY, partner="cainiao"))["rows"]]
    assert ranks == [1, 2, 2, 4]  # dan has one box again


def test_equal_amounts_are_in_the_order_of_the_bytes_of_accounts() -> None:
    con, first = connect(), [0xFF, 0x00, 0x80, 0x7F, 0x01]
    accounts = [bytes([byte]) + bytes(15) for byte in first] + [bytes(15) + bytes([byte]) for byte in (0xFF, 0x7F)]
    con.register("tied", pa.table({"account": pa.array(accounts, pa.uuid()), "amount": [1] * len(accounts)}))
    board = Board(_sums(con, ["SELECT account, amount::BIGINT AS amount FROM tied"] * 2), 1, "")
    assert [each.tobytes() for each in board.accounts] == sorted(accounts)
    assert set(board.amounts.tolist()) == {2}


def test_ones_own_rank_is_told_and_who_has_nothing_has_none(home: Home) -> None:
    scope = Scope.of("day", DAY, partner="cainiao")
    own = ranking(home, scope, top=1, account=account(home, "cainiao", "bo"))
    assert own["own"] == {"rank": 2, "mg": str(2 * BOX_MG), "ahead_of": 0}
    assert len(own["rows"]) == 1
    assert ranking(home, scope, account=account(home, "cainiao", "dan"))["own"] is None
    assert ranking(home, Scope.of("day", DAY), account=account(home, "amap", "eva"))["own"]["rank"] == 1


def test_no_account_is_shown_and_two_boards_have_no_name_in_common(home: Home) -> None:
    boards_shown = [ranking(home, Scope.of(period, DAY)) for period in ("day", "week", "month")]
    everyone = {str(own) for own in by_hand(home, Scope.of("month", DAY))}
    seen = [{row["name"] for row in found["rows"]} for found in boards_shown]
    assert all(len(names) >= 4 for names in seen)
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert not any(
        own in str(found) or own.replace("-", "") in str(found) for own in everyone for found in boards_shown
    )
    anna = account(home, "cainiao", "anna")
    assert pseudonym(home.identity_key, Scope.of("day", DAY), anna) in seen[0]
    assert pseudonym(b"another key", Scope.of("day", DAY), anna) not in seen[0]
    named = ranking(home, Scope.of("day", DAY), names={anna: "安娜"})
    assert "安娜" in {row["name"] for row in named["rows"]}


def test_a_board_grows_by_new_batches_and_is_made_again_when_it_fits_no_longer(tmp_path: Path) -> None:
    opened = made(tmp_path)
    submit(opened, 6, [box("b1", "anna"), box("b2", "bo")])
    scope = Scope.of("month", DAY)
    path = boards.board_path(opened.folder, scope.name)
    assert current_board(opened, scope).batches == 1
    first = path.stat().st_ino
    submit(opened, 7, [box("b3", "anna", day=date(2025, 6, 6))])
    assert ranking(opened, scope)["rows"][0]["mg"] == str(2 * BOX_MG)
    assert path.stat().st_ino != first
    day = Scope.of("day", DAY)
    current_board(opened, day)
    submit(opened, 8, [box("b4", "bo", day=date(2025, 6, 7))])
    kept = boards.board_path(opened.folder, day.name).stat().st_mtime_ns
    assert current_board(opened, day).batches == 3  # the new batch has nothing of that day: nothing is read or written
    assert boards.board_path(opened.folder, day.name).stat().st_mtime_ns == kept
    for damage in (b"", path.read_bytes()[:-40], b"ARROW1\0\0"):
        path.write_bytes(damage)
        assert ranking(opened, scope)["rows"][0]["mg"] == str(2 * BOX_MG)
    board = current_board(opened, scope)
    boards.write_board(path, boards.Board(board.table.slice(0, 1), board.batches, "another root"))
    assert ranking(opened, scope)["people"] == 2
    assert_verified(opened)
    boards.drop(opened.folder)
    assert boards.kept_boards(opened.folder) == []


def test_a_changed_board_is_found_by_verification(tmp_path: Path) -> None:
    opened = made(tmp_path)
    submit(opened, 6, [box("b1", "anna"), box("b2", "bo")])
    scope = Scope.of("month", DAY)
    board = current_board(opened, scope)
    assert check_totals.check_boards(opened, opened.connect()) == (2, [])
    path = boards.board_path(opened.folder, scope.name)
    boards.write_board(path, boards.Board(board.table.slice(0, 1), board.batches, board.last_root))
    assert [problem["code"] for problem in problems(opened)] == ["board-mismatch"]
    path.rename(path.with_name("nonsense.arrow"))
    assert [problem["where"] for problem in problems(opened)] == ["boards/nonsense.arrow"]


def test_what_is_no_period_region_or_partner_is_refused(home: Home) -> None:
    with pytest.raises(TanzhangError, match="unknown-period"):
        Scope.of("year", DAY)
    with pytest.raises(TanzhangError, match="region-malformed"):
        Scope.of("day", DAY, "Beijing")
    with pytest.raises(TanzhangError, match="unknown-partner"):
        ranking(home, Scope.of("day", DAY, partner="nobody"))


@pytest.mark.parametrize(
    ("period", "day", "first", "last"),
    [
        ("day", date(2025, 1, 1), date(2025, 1, 1), date(2025, 1, 1)),
        ("week", date(2025, 1, 1), date(2024, 12, 30), date(2025, 1, 5)),
        ("week", date(2025, 1, 5), date(2024, 12, 30), date(2025, 1, 5)),
        ("month", date(2024, 2, 29), date(2024, 2, 1), date(2024, 2, 29)),
        ("month", date(2025, 12, 31), date(2025, 12, 1), date(2025, 12, 31)),
    ],
)
def test_a_week_begins_on_monday_and_a_month_has_its_days(period: str, day: date, first: date, last: date) -> None:
    scope = Scope.of(period, day)
    assert (scope.first, scope.last) == (first, last)
    assert Scope.named(scope.name) == scope
