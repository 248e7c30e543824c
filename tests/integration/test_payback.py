"""Sales divided over the people whose reductions they were: shares, pay-outs, escrow, what is shown and checked."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payback import Divided, running_total
from tanzhang.service.erase import erase
from tanzhang.service.joining import join
from tanzhang.service.market import payback_payouts
from tanzhang.service.market.check_payback import check_payback
from tanzhang.service.market.deals import OfferSaid, accept, offer
from tanzhang.service.market.payback import end_escrow, owed, run_due, runs, sums
from tanzhang.service.market.payback_payouts import PAYBACKS
from tanzhang.service.market.payments import confirm
from tanzhang.service.parting import part
from tanzhang.service.payouts import file_data, files, new_file, take_answers
from tanzhang.service.privacy import rotate_keys
from tanzhang.service.work import chores
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.book import money_move, payback_run
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members
from tanzhang.stores.register.money import PAYBACK
from tanzhang.stores.register.payback import payback_escrow, payback_part, payback_payout

from ..homes import as_attacker, market_home, problems
from ..lots import LATER
from ..paybacks import after, issued_lot, people, sell, sold
from ..trading import OPERATOR, approved

GROSS = 10_001


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def owed_fen(home: Home, account: uuid.UUID) -> int:
    return sum(owed(home, account).values())


def ask(home: Home, account: uuid.UUID, reference: str = "1", payee: str | None = None) -> Any:
    return payback_payouts.ask(home, account, payee or f"wallet-{account.hex[:4]}", reference, now=after(2))


def made(home: Home) -> list[dict[str, str]]:
    """The rows of a new file."""
    name = new_file(home, "bank_file", actor=OPERATOR, now=after(3), of=PAYBACKS)["id"]
    return list(csv.DictReader(io.StringIO(file_data(home, name, of=PAYBACKS).decode("utf-8-sig"))))


def answer(home: Home, *lines: str) -> dict[str, Any]:
    data = "reference,status,reason\n" + "".join(f"{line}\n" for line in lines)
    return take_answers(home, "bank_file", data.encode(), "paid.csv", actor=OPERATOR, now=after(4), of=PAYBACKS)


def assert_sound(home: Home) -> None:
    assert check_payback(home)[1] == []
    assert sum(home.money.balances().values()) == 0


def resell(home: Home, lot: int) -> None:
    """A unit that its buyer sells on: nothing of it is peoples'."""
    approved(home, "glass")
    said = {"seller": "steel", "reference": "on", "lot": f"L{lot:06}", "units": "1", "price_fen": "5000"}
    made = offer(home, msgspec.convert({**said, "until": after(60)}, OfferSaid), actor=OPERATOR, now=LATER)
    deal = accept(home, int(made["number"]), "glass", 1, "on", actor=OPERATOR, now=LATER)
    line = Line("E-on", LATER.date(), 5_000, "Glass", "6222", "", "")
    confirm(home, int(deal["number"]), line, actor=OPERATOR, now=LATER)


def test_a_sale_is_divided_over_all_records_of_its_lot_less_fees_and_with_what_sponsors_add(
    home: Home, tmp_path: Path
) -> None:
    anna, bo, cai = people(home, tmp_path)
    deal = sold(home, GROSS, topup_fen=77)
    (row,) = home.payback.runs()
    divided = Divided.parse(row.text)
    assert [(fee.id, fee.fen) for fee in divided.fees] == [("platform", 300), ("exchange", 50)]
    assert (divided.deal, divided.units, divided.shared_fen) == (deal, 1, GROSS - 350 + 77)
    assert home.log.entry(row.entry).decode() == row.text
    _, mg = read_members(home.storage, home.lots.one(row.lot))
    payments = running_total(divided.shared_fen, mg.tolist())
    assert sum(payments) == divided.shared_fen == sum(owed_fen(home, each) for each in (anna, bo, cai))
    shares = home.lots.share_of([bo])
    assert abs(owed_fen(home, bo) - divided.exact_fen(shares[row.lot])) < 2
    assert home.money.balances() == {
        "bank": -GROSS,
        "fee:exchange": 50,
        "fee:platform": 300,
        PAYBACK: divided.shared_fen,
        "party:steel": 0,
        f"sale:{deal}": 0,
        "sponsor:hill": -77,
    }
    assert problems(home) == []


def test_a_sale_is_divided_once_in_the_order_of_delivery_and_what_others_sold_is_not_peoples(
    home: Home, tmp_path: Path
) -> None:
    anna, bo, _ = people(home, tmp_path)
    lot = issued_lot(home)
    first = sell(home, lot, 100)
    resell(home, lot)
    second = sell(home, lot, 3)
    assert run_due(home, now=after(1)) == {"status": "divided", "sales": 2, "fen": "100"}
    assert run_due(home, now=after(2)) == {"status": "divided", "sales": 0, "fen": "0"}
    assert [row["deal"] for row in runs(home)] == [second, first]
    assert home.money.balance(PAYBACK) == 100
    assert set(home.payback.shares_of(anna)) >= {0}
    assert owed_fen(home, anna) > owed_fen(home, bo)
    assert_sound(home)


def test_a_worker_divides_what_was_delivered_and_ends_what_was_long_enough_in_escrow(
    home: Home, tmp_path: Path
) -> None:
    by_name = {each.name: each for each in chores()}
    divides, ends = by_name["payback"], by_name["escrow"]
    _, bo, _ = people(home, tmp_path)
    assert not divides.wanted(home)
    sell(home, issued_lot(home), GROSS)
    assert divides.wanted(home)
    assert divides.do(home, after(1)) == {"sales": 1, "fen": str(GROSS - 350)}
    assert not divides.wanted(home)
    assert not ends.wanted(home)
    fen = owed_fen(home, bo)
    erase(home, [bo], now=after(2))
    assert ends.wanted(home)
    assert ends.do(home, after(3)) is None
    assert ends.do(home, after(1_200)) == {"amounts": 1, "fen": str(fen)}


def test_a_sale_whose_money_is_not_there_is_not_divided(home: Home, tmp_path: Path) -> None:
    people(home, tmp_path)
    deal = sell(home, issued_lot(home), 100)
    with home.book.transaction() as con:
        home.money.post(con, "mistake", {f"sale:{deal}": -1, "bank": 1}, "m-1", "2026-01-20T05:00:00+00:00")
    with pytest.raises(TanzhangError, match="brought 100 fen, and 99 fen") as refused:
        run_due(home, now=after(1))
    assert refused.value.code == "sale-unfunded"
    assert home.payback.runs() == []


def test_members_that_are_not_the_lots_are_never_divided_over(home: Home, tmp_path: Path) -> None:
    people(home, tmp_path)
    lot = issued_lot(home)
    sell(home, lot, 100)
    path = home.folder / home.lots.one(lot).file
    table = pq.read_table(path)
    amounts = table["amount_mg"].to_pylist()
    turned = table.set_column(2, "amount_mg", [amounts[::-1]])  # the same sum, other shares
    pq.write_table(turned.cast(table.schema), path)
    for _ in range(2):
        with pytest.raises(TanzhangError) as refused:
            run_due(home, now=after(1))
        assert refused.value.code == "lot-file-changed"
        path.unlink(missing_ok=True)
    assert home.payback.runs() == []


def test_what_is_owed_is_paid_out_once_in_a_file_and_asked_for_again_if_it_failed(home: Home, tmp_path: Path) -> None:
    anna, bo, cai = people(home, tmp_path)
    sold(home, GROSS)
    anna_fen, bo_fen = owed_fen(home, anna), owed_fen(home, bo)
    first = ask(home, anna)
    assert (first.value, owed_fen(home, anna)) == (anna_fen, 0)
    assert ask(home, anna).id == first.id
    for again in (lambda: ask(home, anna, payee="other-wallet"), lambda: ask(home, anna, "2")):
        with pytest.raises(TanzhangError, match=r"another pay-out|no less than"):
            again()
    ask(home, bo)
    rows = made(home)
    assert [(row["payee"], row["amount_fen"]) for row in rows] == [
        (f"wallet-{anna.hex[:4]}", str(anna_fen)),
        (f"wallet-{bo.hex[:4]}", str(bo_fen)),
    ]
    with pytest.raises(TanzhangError, match="in no file yet"):
        made(home)
    names = [row["reference"] for row in rows]
    assert answer(home, f"{names[0]},paid,", f"{names[1]},failed,no such wallet")["failed"] == 1
    assert answer(home, f"{names[0]},paid,")["known"] == 1
    assert home.money.balance("bank") == anna_fen - GROSS
    assert (owed_fen(home, anna), owed_fen(home, bo)) == (0, bo_fen)
    assert [each["open"] for each in files(home, of=PAYBACKS)] == [0]
    assert files(home) == []
    assert ask(home, bo).state == "failed"
    assert ask(home, bo, "2").value == bo_fen
    said = sums(home)
    assert (said["paid_fen"], said["asked_fen"]) == (str(anna_fen), str(bo_fen))
    assert said["owed_fen"] == str(owed_fen(home, cai))
    assert problems(home) == []


def test_less_than_the_least_pay_out_waits_for_the_next_sale(home: Home, tmp_path: Path) -> None:
    _, _, cai = people(home, tmp_path)
    lot = issued_lot(home)
    waited = 0
    for fen in (200, 200):
        sell(home, lot, fen)
        run_due(home, now=after(1))
        assert owed_fen(home, cai) > waited
        waited = owed_fen(home, cai)
    with pytest.raises(TanzhangError, match=f"{waited} fen are owed") as refused:
        ask(home, cai)
    assert refused.value.code == "payback-least"


def test_shares_of_a_joined_account_are_paid_to_the_person_and_part_as_far_as_they_are_left(
    home: Home, tmp_path: Path
) -> None:
    anna, bo, _ = people(home, tmp_path)
    sold(home, GROSS)
    both, mine = owed_fen(home, anna) + owed_fen(home, bo), owed_fen(home, bo)
    made_id = join(home, bo, anna, now=after(1))["id"]
    assert (owed_fen(home, anna), owed_fen(home, bo)) == (both, 0)
    part(home, made_id, now=after(1, 5))
    assert (owed_fen(home, anna), owed_fen(home, bo)) == (both - mine, mine)
    join(home, bo, anna, now=after(1, 6))
    assert ask(home, anna).value == both
    ended = home.joinings.of_source(str(bo))
    assert ended is not None
    part(home, ended.id, now=after(2, 6))
    assert (owed_fen(home, anna), owed_fen(home, bo)) == (0, 0)
    (row, *_) = made(home)
    answer(home, f"{row['reference']},failed,closed")
    assert (owed_fen(home, anna), owed_fen(home, bo)) == (both - mine, mine)
    assert_sound(home)


def test_what_an_erased_person_was_owed_waits_in_escrow_and_ends_at_the_declared_purpose(
    home: Home, tmp_path: Path
) -> None:
    anna, bo, cai = people(home, tmp_path)
    sold(home, GROSS)
    fen = {each: owed_fen(home, each) for each in (anna, bo, cai)}
    ask(home, anna)
    ask(home, bo)
    (row,) = [row for row in made(home) if row["payee"].endswith(anna.hex[:4])]
    erase(home, [anna], now=after(4))
    erase(home, [cai], now=after(4, 5))
    assert [owed_fen(home, each) for each in (anna, cai)] == [0, 0]
    assert home.money.balance("escrow") == fen[cai]
    assert home.payback.payouts_of([str(anna)]) == []
    assert problems(home) == []
    answer(home, f"{row['reference']},failed,unknown")
    assert home.money.balance("escrow") == fen[cai] + fen[anna]
    assert end_escrow(home, actor=OPERATOR, now=after(30))["amounts"] == 0
    end = after(1_200)
    assert end_escrow(home, actor=OPERATOR, now=end)["fen"] == str(fen[cai] + fen[anna])
    assert end_escrow(home, actor=OPERATOR, now=end)["amounts"] == 0
    assert home.money.balance("public:tree_planting") == fen[cai] + fen[anna]
    assert_sound(home)


def test_a_pay_out_in_no_file_is_not_paid_once_its_person_is_erased_and_gives_back_what_is_anothers(
    home: Home, tmp_path: Path
) -> None:
    anna, bo, _ = people(home, tmp_path)
    sold(home, GROSS)
    annas, bos = owed_fen(home, anna), owed_fen(home, bo)
    made_id = join(home, bo, anna, now=after(1))["id"]
    name = ask(home, anna).id
    part(home, made_id, now=after(2, 6))
    person = uuid.UUID(int=7 << 100)
    join(home, bo, person, now=after(3))
    erase(home, [anna], now=after(4))
    assert [row.state for row in home.payback.payouts(payback_payout.c.id == name)] == ["erased"]
    with pytest.raises(TanzhangError, match="in no file yet"):
        made(home)
    assert (home.money.balance("escrow"), owed_fen(home, person)) == (annas, bos)
    assert_sound(home)


def test_a_person_is_erased_with_all_accounts_that_are_theirs(home: Home, tmp_path: Path) -> None:
    anna, bo, _ = people(home, tmp_path)
    sold(home, GROSS)
    both = owed_fen(home, anna) + owed_fen(home, bo)
    join(home, bo, anna, now=after(1))
    ask(home, anna)
    erase(home, [anna], now=after(4))
    assert (home.money.balance("escrow"), owed_fen(home, bo)) == (both, 0)
    assert_sound(home)


def test_records_that_are_erased_before_the_sale_are_divided_to_escrow(home: Home, tmp_path: Path) -> None:
    anna, bo, cai = people(home, tmp_path)
    lot = issued_lot(home)
    sell(home, lot, GROSS)
    erase(home, [bo], now=after(0))
    run_due(home, now=after(1))
    (row,) = home.payback.runs()
    assert 0 < row.nobodys_fen == home.money.balance("escrow")
    assert owed_fen(home, anna) + owed_fen(home, cai) + row.nobodys_fen == row.shared_fen
    assert owed_fen(home, bo) == 0
    assert problems(home) == []


def test_wallets_are_sealed_anew_with_a_new_key(home: Home, tmp_path: Path) -> None:
    anna, _, _ = people(home, tmp_path)
    sold(home, GROSS)
    before = ask(home, anna).payee
    rotate_keys(home)
    assert home.payback.payout(ask(home, anna).id).payee != before
    assert made(home)[0]["payee"] == f"wallet-{anna.hex[:4]}"


@pytest.mark.parametrize(
    "change",
    [
        payback_payout.update().values(state="paid"),
        payback_payout.update().values(value=payback_payout.c.value + 1),
        payback_payout.delete(),
        payback_part.update().values(fen=payback_part.c.fen + 1),
        payback_part.delete(),
        payback_escrow.insert().values(
            seq=0, reason="erased", fen=1, since="2025-06-20", state="held", made_at="2025-06-20T00:00:00+00:00"
        ),
    ],
)
def test_a_pay_out_or_an_amount_that_was_changed_is_found(quick: Path, change: Any) -> None:
    home = market_home(quick / "home")
    anna, _, _ = people(home, quick)
    sold(home, GROSS)
    ask(home, anna)
    assert_sound(home)
    with home.book.transaction() as con:
        con.execute(change)
    assert {problem.code for problem in check_payback(home)[1]} == {"payback-mismatch"}


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM payback_run",
        "DELETE FROM payback_share",
        "DELETE FROM market_deal_event; UPDATE market_deal SET gross_fen = gross_fen + 1",
        "UPDATE payback_run SET shared_fen = shared_fen + 1",
        "UPDATE payback_run SET nobodys_fen = 1",
        "UPDATE payback_run SET accounts = accounts + 1",
        "UPDATE payback_run SET deal = 7",
        "UPDATE payback_run SET entry = 0",
        "UPDATE payback_share SET amount = amount + 1",
        "UPDATE payback_share SET data = zeroblob(length(data))",
        "DELETE FROM money_move WHERE kind = 'payback'",
    ],
)
def test_a_run_that_was_changed_behind_the_book_is_found(quick: Path, change: str) -> None:
    home = market_home(quick / "home")
    people(home, quick)
    sold(home, GROSS)
    as_attacker(quick / "home").executescript(change)
    assert {problem.code for problem in check_payback(home)[1]} == {"payback-mismatch"}


@pytest.mark.parametrize("table", [payback_run, money_move])
def test_runs_refuse_to_change(home: Home, tmp_path: Path, table: sa.Table) -> None:
    people(home, tmp_path)
    sold(home, GROSS)
    for change in (table.update().values(made_at="now"), table.delete()):
        with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:
            con.execute(change)
