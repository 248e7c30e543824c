"""Auctions, for any bids: nothing is oversold, nobody pays above a bid, and only price and place decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.auction import Bid, clear, commitment, published_digest

SALT = bytes(32)
AMOUNT = st.integers(1, 12)


@st.composite
def auctions(draw: st.DrawFn) -> tuple[int, int, list[Bid]]:
    """Units offered, reserve price, bids; few prices, so that there are ties."""
    count = draw(st.integers(0, 9))
    bids = [Bid(place, draw(AMOUNT), draw(st.integers(1, 5))) for place in range(1, count + 1)]
    return draw(st.integers(1, 30)), draw(st.integers(1, 4)), draw(st.permutations(bids))


@given(auctions())
def test_never_more_is_sold_than_offered_and_nobody_pays_above_the_bid_or_below_the_reserve(
    asked: tuple[int, int, list[Bid]],
) -> None:
    offered, reserve, bids = asked
    found = clear(offered, reserve, bids)
    wanted = sum(bid.units for bid in bids if bid.price_fen >= reserve)
    assert found.sold == min(offered, wanted)
    assert (found.price_fen is None) == (found.sold == 0)
    by_place = {bid.place: bid for bid in bids}
    for place, units in found.units.items():
        assert found.price_fen is not None
        assert 0 < units <= by_place[place].units
        assert reserve <= found.price_fen <= by_place[place].price_fen
    if found.marginal is not None:
        assert by_place[found.marginal].price_fen == found.price_fen


@given(auctions())
def test_only_the_marginal_bid_gets_less_than_it_asked_for_and_no_better_bid_goes_without(
    asked: tuple[int, int, list[Bid]],
) -> None:
    offered, reserve, bids = asked
    found = clear(offered, reserve, bids)
    by_place = {bid.place: bid for bid in bids}
    partly = [place for place, units in found.units.items() if units < by_place[place].units]
    assert partly in ([], [found.marginal])
    for winner in found.units:
        for loser in {*by_place} - {*found.units}:
            mine, other = by_place[winner], by_place[loser]
            assert (mine.price_fen, -mine.place) > (other.price_fen, -other.place)


@given(auctions(), st.randoms())
def test_the_order_in_which_bids_are_looked_at_changes_nothing(
    asked: tuple[int, int, list[Bid]], random: object
) -> None:
    offered, reserve, bids = asked
    shuffled = [*bids]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert clear(offered, reserve, shuffled) == clear(offered, reserve, bids)


@given(auctions(), st.data())
def test_whoever_bids_more_for_a_unit_never_gets_fewer(asked: tuple[int, int, list[Bid]], data: st.DataObject) -> None:
    offered, reserve, bids = asked
    if not bids:
        return
    one = data.draw(st.sampled_from(bids))
    raised = [replace(bid, price_fen=bid.price_fen + 1) if bid is one else bid for bid in bids]
    before, after = (clear(offered, reserve, each).units.get(one.place, 0) for each in (bids, raised))
    assert after >= before


def test_a_tie_goes_to_whoever_came_first_and_the_rest_of_it_is_filled_in_part() -> None:
    found = clear(10, 50, [Bid(3, 6, 60), Bid(1, 6, 60), Bid(2, 6, 70)])
    assert (found.units, found.price_fen, found.marginal) == ({2: 6, 1: 4}, 60, 1)


def test_where_too_little_is_asked_for_all_are_filled_at_the_lowest_bid_above_the_reserve() -> None:
    found = clear(100, 50, [Bid(1, 6, 60), Bid(2, 6, 50), Bid(3, 6, 49)])
    assert (found.sold, found.price_fen) == (12, 50)


@pytest.mark.parametrize(
    ("offered", "reserve", "bids"),
    [(0, 1, []), (1, 0, []), (1, 1, [Bid(1, 0, 1)]), (1, 1, [Bid(1, 1, 0)]), (1, 1, [Bid(1, 1, 1), Bid(1, 2, 2)])],
)
def test_what_no_register_keeps_is_not_cleared(offered: int, reserve: int, bids: list[Bid]) -> None:
    with pytest.raises(ValueError, match=r"above zero|one place"):
        clear(offered, reserve, bids)


def test_a_commitment_holds_every_word_of_a_bid() -> None:
    said = (1, "steel", 10, 6_000, SALT)
    others = [(2, "steel", 10, 6_000, SALT), (1, "iron", 10, 6_000, SALT), (1, "steel", 11, 6_000, SALT)]
    others += [(1, "steel", 10, 6_001, SALT), (1, "steel", 10, 6_000, SALT[:-1] + b"1")]
    found = {commitment(*each) for each in (said, *others)}
    assert len(found) == 6
    assert commitment(*said) == commitment(*said)
    assert published_digest(["a", "b"]) != published_digest(["b", "a"])
