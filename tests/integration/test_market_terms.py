"""Terms of a market: in the log once, public from that day on, and no lot before their notice is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import KIND, Published
from tanzhang.service.market.check_terms import check_terms
from tanzhang.service.market.rules import market_rules, market_rules_of
from tanzhang.service.market.terms import check_notice, publish_terms, terms_public_since, terms_shown
from tanzhang.stores.home import Home
from tanzhang.stores.register.lots import lot

from ..homes import account, assert_verified, market_home, new_home, on, ride
from ..lots import entrusted, frozen, report

ACTOR = Actor(Role.OPERATOR, "operator", "test")


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules, its book on either database."""
    return market_home(quick / "home", book=place("tests"))


def test_published_terms_stand_in_the_log_as_a_whole_and_a_repeat_is_the_first_answer(home: Home) -> None:
    rules = market_rules(home, date(2025, 6, 6))
    assert terms_public_since(home, rules.digest) is None
    first = publish_terms(home, actor=ACTOR, now=on(6))
    assert first == publish_terms(home, actor=ACTOR, now=on(9))
    assert (first["public_since"], first["lots_may_freeze_from"]) == ("2025-06-06", "2025-06-18")
    assert terms_public_since(home, rules.digest) == date(2025, 6, 6)
    said = Published.parse(home.log.entry(first["entry"]).decode())
    assert (said.digest, said.text, said.programme) == (rules.digest, rules.text, "beijing-market")
    assert len(home.market_terms.published()) == 1
    assert_verified(home)


def test_no_lot_freezes_before_the_notice_is_over(home: Home) -> None:
    rules = market_rules(home, date(2025, 6, 6))
    with pytest.raises(TanzhangError, match="are not public"):
        check_notice(home, rules, date(2025, 6, 30))
    publish_terms(home, actor=ACTOR, now=on(6))
    with pytest.raises(TanzhangError, match="7 working days of notice are not over on 2025-06-17") as refused:
        check_notice(home, rules, date(2025, 6, 17))
    assert refused.value.problems[0].code == "notice-too-short"
    assert check_notice(home, rules, date(2025, 6, 18)) == date(2025, 6, 6)


def test_an_entry_that_a_crash_kept_out_of_the_log_is_not_public_until_it_is_published(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = market_rules(home, date(2025, 6, 6))

    def crash() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(home, "publish", crash)
        with pytest.raises(KeyboardInterrupt):
            publish_terms(home, actor=ACTOR, now=on(6))
    assert home.market_terms.published() != []
    assert terms_public_since(home, rules.digest) is None
    answer = publish_terms(home, actor=ACTOR, now=on(6))
    assert (answer["public_since"], len(home.market_terms.published())) == ("2025-06-06", 1)
    assert terms_public_since(home, rules.digest) == date(2025, 6, 6)


def test_what_is_public_is_shown_with_the_day_from_which_lots_may_freeze(home: Home) -> None:
    assert terms_shown(home, on(6))["published"] == []
    publish_terms(home, actor=ACTOR, now=on(6))
    shown = terms_shown(home, on(7))
    (said,) = shown["published"]
    assert (said["version"], said["lots_may_freeze_from"]) == (1, "2025-06-18")
    assert shown["terms_digest"] == said["terms_digest"]
    assert market_rules_of(home, said["terms_digest"]).key == "example@1"
    with pytest.raises(TanzhangError, match="terms-unknown"):
        market_rules_of(home, "0" * 64)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("beijing-market", "shenzhen"), "of programme shenzhen"),
        (lambda text: text.replace('"days":7', '"days":8'), "not one of market terms"),
        (lambda text: text, "are entry"),
    ],
)
def test_terms_that_are_changed_or_stand_twice_are_found(home: Home, spoil: Callable[[str], str], message: str) -> None:
    publish_terms(home, actor=ACTOR, now=on(6))
    ((_, text),) = home.market_terms.texts()
    assert check_terms(home) == (1, [])
    home.book.add_entry(KIND, spoil(text))
    count, found = check_terms(home)
    assert (count, {each.code for each in found}) == (2, {"market-terms-changed"})
    assert any(message in each.message for each in found)


def test_a_lot_that_was_frozen_under_other_terms_than_public_ones_is_found(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [ride("r-1"), ride("r-2", hour=10)])
    entrusted(home, account(home, "amap", "anna"))
    frozen(home)
    assert check_terms(home) == (1, [])
    with home.book.transaction() as con:
        con.execute(lot.update().values(terms="0" * 64))
    _, (problem,) = check_terms(home)
    assert (problem.code, "lot 1" in problem.where) == ("market-terms-changed", True)


def test_a_programme_without_rules_has_no_market(quick: Path) -> None:
    home = new_home(quick / "home")
    with pytest.raises(TanzhangError, match="no-market"):
        publish_terms(home, actor=ACTOR, now=on(6))
