"""A lot that is frozen by a process that dies: before its row nothing is taken, after it the log follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tanzhang.service.market import lots as service
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.lots import freeze
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import FOLDER

from ..homes import BOX_MG, account, assert_verified, box, market_home
from ..lots import LATER, UNIT_MG, drafted, entrusted, report
from ..trading import OPERATOR


class Died(BaseException):
    """The process is gone."""


def die(*_: Any, **__: Any) -> Any:
    raise Died


@pytest.fixture
def home(quick: Path, tmp_path: Path) -> Home:
    made = market_home(quick / "home")
    report(made, tmp_path, [box(f"anna-{number}") for number in range(30)])
    entrusted(made, account(made, "cainiao", "anna"))
    return made


def test_a_crash_before_the_lot_is_booked_takes_nothing_and_the_same_call_freezes_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, number = account(home, "cainiao", "anna"), drafted(home)
    with monkeypatch.context() as patched:
        patched.setattr(home.lots, "freeze", die)
        with pytest.raises(Died):
            freeze(home, number, actor=OPERATOR, now=LATER)
    assert list((home.storage / FOLDER).iterdir())
    assert (home.lots.one(number).state, available_mg(home, own)) == ("draft", 30 * BOX_MG)
    assert_verified(home)
    assert freeze(home, number, actor=OPERATOR, now=LATER)["total_mg"] == str(UNIT_MG)
    assert_verified(home)


def test_a_crash_after_the_lot_is_booked_leaves_the_log_to_the_next_call(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = drafted(home)
    with monkeypatch.context() as patched:
        publish, calls = home.publish, []

        def dying() -> None:
            calls.append(1)
            if len(calls) == 2:  # the first one is before the lot is built
                raise Died
            publish()

        patched.setattr(home, "publish", dying)
        with pytest.raises(Died):
            freeze(home, number, actor=OPERATOR, now=LATER)
    entry = home.lots.one(number).entry
    assert home.log.size == entry
    said = freeze(home, number, actor=OPERATOR, now=LATER)
    assert (said["state"], home.log.size) == ("frozen", entry + 1)
    assert_verified(home)


def test_who_always_gives_at_the_last_moment_keeps_a_lot_from_freezing_and_loses_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = drafted(home)
    monkeypatch.setattr(service, "_moved", lambda *_: True)
    with pytest.raises(Exception, match="book-moved"):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert home.lots.one(number).state == "draft"
