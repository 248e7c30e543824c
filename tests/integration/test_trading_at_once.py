"""Many at one moment, and processes that die: nothing is sold or delivered twice, and no money is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.payment_reference import payment_reference
from tanzhang.service.market.check_deals import check_deals
from tanzhang.service.market.deals import accept, lapse_due
from tanzhang.service.market.payments import confirm, take_statement
from tanzhang.service.market.returns import send_back
from tanzhang.stores.bank_statements import Line
from tanzhang.stores.home import Home

from ..homes import DAY, on
from ..trading import OPERATOR, approved, bought, held, market_home, money, offered, paid, statement

ROOT = Path(__file__).parents[2]
REF = payment_reference("D", 1)
LINE = ("E1", 9, 60_000, REF)


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A home with a market, 1,000 units of lot 1 and an approved buyer."""
    home = market_home(quick / "home", place("crowd"))
    approved(home, "steel")
    return home


def all_at_once(home: Home, *calls: Callable[[Home], Any]) -> list[Any]:
    """What each call came to, all of them running at once, each on a home that it opened itself."""

    def run(call: Callable[[Home], Any]) -> Any:
        own = Home(home.folder)
        try:
            return call(own)
        except TanzhangError as error:
            return error.code
        finally:
            own.book.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_many_who_accept_at_once_never_get_more_than_the_seller_has(home: Home) -> None:
    for number in (1, 2):  # each of them says that all of it is there
        offered(home, 1_000, reference=f"o-{number}")

    def buy(number: int) -> Callable[[Home], Any]:
        return lambda own: accept(own, 1 + number % 2, "steel", 150, f"r-{number}", actor=OPERATOR, now=on(8))["number"]

    answers = all_at_once(home, *map(buy, range(12)))
    numbers = [each for each in answers if isinstance(each, int)]
    assert Counter(str(each) for each in answers if isinstance(each, str)) == {"units-short": 6}
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    reserved = [block.count for block in home.units.blocks(lot=1) if block.state == "reserved"]
    assert (len(reserved), sum(reserved), held(home, "programme")) == (6, 900, 1_000)
    assert check_deals(home)[1] == []


def test_one_key_asked_many_times_at_once_is_one_deal(home: Home) -> None:
    offered(home)
    asked = [lambda own: accept(own, 1, "steel", 10, "r-1", actor=OPERATOR, now=on(8))] * 6
    answers = all_at_once(home, *asked)
    assert answers == [answers[0]] * 6
    assert [row.id for row in home.deals.all()] == [1]


def test_a_payment_that_several_take_in_while_its_deal_lapses_delivers_once_or_stays_the_payers(home: Home) -> None:
    offered(home)
    bought(home, "steel", 10)
    file = statement(LINE)

    def read(own: Home) -> Any:
        return take_statement(own, "bank_statement", file, "june.csv", actor=OPERATOR, now=on(25))["status"]

    def by_hand(own: Home) -> Any:
        return confirm(own, 1, Line("E1", DAY.replace(day=9), 60_000, "", "", "", "manual"), actor=OPERATOR, now=on(25))

    def lapse(own: Home) -> Any:
        return lapse_due(own, now=on(25))

    all_at_once(home, read, lapse, read, by_hand, lapse, read)
    (payment,) = home.payments.all()
    deal = home.deals.deal(1)
    assert deal is not None
    assert money(home, "bank") == -60_000
    if deal.state == "delivered":
        assert (payment.state, held(home, "party:steel"), money(home, "sale:1")) == ("settled", 10, 60_000)
    else:
        assert (deal.state, payment.state, payment.reason) == ("lapsed", "surplus", "deal-over")
        assert money(home, "party:steel") == 60_000
    assert check_deals(home)[1] == []


def test_money_that_several_send_back_at_once_goes_back_once(home: Home) -> None:
    paid(home, ("E1", 9, 777, "hello"))
    answers = all_at_once(home, *[lambda own: send_back(own, "E1", "x", actor=OPERATOR, now=on(10))] * 5)
    assert answers == [answers[0]] * 5
    assert (money(home, "returning"), len(home.payments.returns())) == (777, 1)
    assert check_deals(home)[1] == []


DYING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.homes import on
from tests.trading import OPERATOR, statement
from tanzhang.service.market.payments import take_statement
from tanzhang.stores.home import Home
from tanzhang.stores.register.audit import Audit
from tanzhang.stores.register.deals import Deals
from tanzhang.stores.register.money import Money

def die_after(kind, name, when=lambda arguments: True):
    before = getattr(kind, name)

    def dying(self, *arguments, **named):
        before(self, *arguments, **named)
        if when(arguments):
            os._exit(77)

    setattr(kind, name, dying)

points = [
    lambda: die_after(Money, "post", lambda arguments: arguments[1] == "sale"),
    lambda: die_after(Deals, "advance"),
    lambda: die_after(Audit, "write"),
]
for number, point in enumerate(points):
    child = os.fork()
    if child == 0:
        point()
        data = statement((f"E{number + 1}", 9, 60_000, sys.argv[3 + number]))
        take_statement(Home(Path(sys.argv[2])), "bank_statement", data, "june.csv", actor=OPERATOR, now=on(10))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_dies_between_money_units_and_its_answer_leaves_all_or_nothing(home: Home) -> None:
    """The first dies when the price is booked, the second when the deal is delivered, the third with its answer."""
    offered(home)
    references = [bought(home, "steel", 10, reference=f"r-{n}")["payment_reference"] for n in (1, 2, 3)]
    command = [sys.executable, "-c", DYING, str(ROOT), str(home.folder), *references]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert ended.stdout.split() == ["77"] * 3, ended.stderr
    assert [row.entry for row in home.payments.all()] == ["E3"]
    assert [row.state for row in home.deals.all()] == ["agreed", "agreed", "delivered"]
    assert (held(home, "party:steel"), money(home, "bank")) == (10, -60_000)
    assert check_deals(home)[1] == []
    again = paid(home, *((f"E{n}", 9, 60_000, reference) for n, reference in enumerate(references, 1)))
    assert (again["reasons"], again["delivered"]) == ({"exact": 2, "known": 1}, [1, 2])
    assert (held(home, "party:steel"), money(home, "bank")) == (30, -180_000)
    assert check_deals(home)[1] == []
