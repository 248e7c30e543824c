"""Whatever is done in a market, in any order, repeated, refused, broken off or at once: the books hold after each step.

A walk is a sequence of steps (market_walk.py); after each that changed anything, everything that has to hold
(market_holds.py) is looked at. docs/market.md says what always holds. ``TANZHANG_EXAMPLES`` sets how many walks.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.lot import LotState
from tanzhang.service.donations import load_projects
from tanzhang.service.market.lots import freeze
from tanzhang.service.market.pass_on import load_schemes
from tanzhang.service.market.verifiers import VerifierSaid, put_verifier

from ..homes import account, assert_verified, market_home
from ..lots import LATER, drafted, entrusted, report
from ..market_holds import Holds
from ..market_steps import HOWS
from ..market_walk import AUDIT, KINDS, PARTIES, PEOPLE, PROJECT, RIDES, SCHEME, Market, copied, ride_of
from ..memory import folder_in_memory
from ..trading import OPERATOR, approved

Step = tuple[str, dict[str, Any]]
EXAMPLES = os.environ.get("TANZHANG_EXAMPLES")
GIVING = f"""
format: tanzhang.donation-projects/1
projects:
  {PROJECT}:
    title: A wood on the hill
    title_zh: 山上的树林
    text: An example of ours.
    text_zh: 本平台示例。
    recipient: Hill Trust (invented)
    takes: [grams]
    open: {{from: 2025-06-01, until: null}}
    source: none, an example
    status: example
"""
PASSING = f"""
format: tanzhang.passing-schemes/1
schemes:
  {SCHEME}:
    title: An outside market
    title_zh: 外部市场
    text: An example of ours.
    text_zh: 本平台示例。
    holder: a market (invented)
    takes: true
    gives: false
    open: {{from: 2025-06-01, until: null}}
    source: none, an example
    status: example
"""

# -- steps ------------------------------------------------------------------------------------------------------

_small, _places, _people = st.integers(1, 6), st.integers(0, 30), st.integers(0, PEOPLE - 1)
_how, _party = st.sampled_from(HOWS), st.sampled_from(PARTIES)
_share, _price = st.sampled_from(["part", "part", "all", "more"]), st.integers(1, 9_999)
_scheme = st.sampled_from(["ets_surrender", "event_neutrality", "ccer", "article_6"])


def _step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


_TRADE = (
    _step("agree", place=_places, buyer=_party, count=_small, price=_price, how=_how),
    _step("offer", place=_places, count=_small, price=_price, buyer=st.none() | _party, how=_how),
    _step("accept", place=_places, buyer=_party, count=_small, how=_how),
    _step("auction", place=_places, count=_small, reserve=_price, how=_how),
    _step("bid", place=_places, party=_party, count=_small, above=st.integers(-1, 3), how=_how),
    _step("bid", place=_places, party=_party, count=_small, above=st.integers(0, 3), how=_how),
    _step("close_auction", place=_places, early=st.sampled_from([False, False, True]), how=_how),
    _step("pay", place=_places, share=st.sampled_from(["all", "all", "less", "more", "half"]), how=_how),
    _step("pay", place=_places, share=st.just("all"), how=_how),
)
_ENDS = (
    _step("end_offer", place=_places, how=_how),
    _step("withdraw", place=_places, other=_places, how=_how),
    _step("call_auction_off", place=_places, how=_how),
    _step("call_off", place=_places, how=_how),
    _step("hand_over", place=_places, how=_how),
    _step("end_pledge", place=_places, how=_how),
    _step("give_up", place=_places, how=_how),
    _step("end_export", place=_places, back=st.booleans(), how=_how),
    _step("revoke_label", place=_places, how=_how),
    _step("stand", party=_party, state=st.sampled_from(["suspended", "approved", "approved", "approved"]), how=_how),
)
_MONEY = (
    _step(
        "pledge",
        sponsor=_party,
        fen=st.integers(1, 900),
        cap=st.integers(1, 3_000),
        per=st.sampled_from(["unit", "tonne"]),
        how=_how,
    ),
    _step("top_up", place=_places, share=st.sampled_from(["all", "half", "more"]), how=_how),
    _step("use", place=_places, other=_places, how=_how),
    _step("give_back", place=_places, how=_how),
    _step("pay_out", party=_party, share=st.integers(1, 3), how=_how),
    _step("bank", paid=st.booleans(), how=_how),
    _step("pay_back", how=_how),
    _step("pay_back", how=_how),
)
_LOTS = (
    _step("freeze", units=st.integers(1, 50), how=_how),
    *[_step("go_on", place=_places, material=st.sampled_from([False, False, False, True]), how=_how)] * 3,
    _step("take_back", place=_places),
    _step("make_good", place=_places, how=_how),
)
_UNITS = (
    _step("split", place=_places, cuts=st.lists(_small, min_size=1, max_size=3), how=_how),
    _step("merge", place=_places, how=_how),
    *[_step("move", kind=st.sampled_from([*KINDS]), place=_places, first=st.integers(0, 3), count=_small, how=_how)]
    * 2,
    _step(
        "bring_in",
        holder=st.sampled_from(["programme", *(f"party:{each}" for each in PARTIES)]),
        count=_small,
        vintage=st.integers(2023, 2024),
        known=st.booleans(),
        how=_how,
    ),
    *[
        _step(
            "label",
            place=_places,
            first=st.integers(0, 3),
            count=_small,
            scheme=_scheme,
            days=st.sampled_from([0, 0, 2, 9]),
            how=_how,
        )
    ]
    * 2,
    *[_step("retire", party=_party, place=_places, count=_small, how=_how)] * 2,
)
_PERSONS = (
    _step("give", person=_people, share=_share, how=_how),
    _step("pass_on", person=_people, share=_share, how=_how),
    _step("join", source=_people, target=_people, carry=st.sampled_from([True, True, True, False]), how=_how),
    _step("part", place=_places, how=_how),
    _step("let_go", person=_people, how=_how),
    _step("entrust", person=_people, how=_how),
    _step(
        "ride",
        person=_people,
        hour=st.integers(0, RIDES - 1),
        kind=st.sampled_from(["new", "new", "the same", "another"]),
    ),
    _step("erase", person=_people, how=_how),
)
_TIME = (_step("time_passes", days=st.integers(1, 12)),)
_KINDS = [*_TRADE * 2, *_ENDS, *_MONEY, *_LOTS, *_UNITS, *_PERSONS, *_TIME]
_STEPS = st.sampled_from(_KINDS).flatmap(lambda kind: kind)  # as often as it is named, which one_of does not keep to

# -- where ------------------------------------------------------------------------------------------------------

Walking = Callable[[], Any]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def walking(request: pytest.FixtureRequest) -> Iterator[Walking]:
    """Gives a walk over a market of its own, its book on either database, each copied from one that was made once."""
    server = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    with folder_in_memory("walk") as place:
        template = made(place, None if server is None else server.address(server.database(), "walk"))

        @contextmanager
        def walk() -> Iterator[Market]:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                home = copied(template, Path(folder) / "home", server)
                market = Market(home)
                try:
                    yield market
                finally:
                    market.close()
                    if server is not None:
                        server.drop(home.book.place.url.database)  # type: ignore[union-attr]

        yield walk


def made(folder: Path, book: str | None) -> Path:
    """A home with a market, two parties, people who entrusted 81.5 kg, and a lot of 40 that is issued."""
    home = market_home(folder / "template", book=book)
    for name in PARTIES:
        approved(home, name)
    (folder / "projects.yaml").write_text(GIVING, encoding="utf-8")
    load_projects(home, folder / "projects.yaml", actor=OPERATOR, now=LATER)
    (folder / "schemes.yaml").write_text(PASSING, encoding="utf-8")
    load_schemes(home, folder / "schemes.yaml", actor=OPERATOR, now=LATER)
    report(home, folder, [ride_of(each, hour) for each in range(PEOPLE) for hour in range(RIDES)])
    entrusted(home, *(account(home, "amap", f"person-{each}") for each in range(PEOPLE)))
    put_verifier(home, AUDIT, VerifierSaid("Audit", "核查", "nobody", "none"), actor=OPERATOR, now=LATER)
    walk = Market(home)
    number = drafted(home, "lot-0", units="40")
    freeze(home, number, actor=OPERATOR, now=LATER)
    while home.lots.one(number).state != LotState.ISSUED:
        for verb in walk.steps_of(home.lots.one(number), material=False):
            verb(home)
    walk.close()
    return folder / "template"


def walked(market: Market, steps: list[Step]) -> None:
    holds = Holds(market.home, [market.person(each) for each in range(PEOPLE)])
    holds.check(market.now)
    for name, arguments in steps:
        if market.take(name, arguments):
            holds.check(market.now)
    assert_verified(market.home)


_OF_NONE = {"time_passes", "take_back", "ride", "erase"}
"""Steps that are several verbs, with no answer of their own."""
_TOUR: list[Step] = [
    ("auction", {"place": 0, "count": 3, "reserve": 10}),
    ("bid", {"place": 1, "party": "steel", "count": 2, "above": 1}),
    ("withdraw", {"place": 1, "other": 0}),
    ("close_auction", {"place": 1, "early": False}),
    ("auction", {"place": 0, "count": 3, "reserve": 10}),
    ("call_auction_off", {"place": 1}),
    ("offer", {"place": 0, "count": 5, "price": 7, "buyer": None}),
    ("accept", {"place": 0, "buyer": "paper", "count": 2}),
    ("end_offer", {"place": 0}),
    ("call_off", {"place": 0}),
    ("pledge", {"sponsor": "paper", "fen": 9, "cap": 20, "per": "unit"}),
    ("agree", {"place": 0, "buyer": "steel", "count": 4, "price": 900}),
    ("pay", {"place": 1, "share": "all"}),
    ("pay_back", {}),
    ("top_up", {"place": 0, "share": "all"}),
    ("end_pledge", {"place": 0}),
    ("agree", {"place": 1, "buyer": "paper", "count": 1, "price": 900}),
    ("hand_over", {"place": 1}),
    ("use", {"place": 1, "other": 0}),
    ("give_back", {"place": 1}),
    ("bank", {"paid": True}),
    ("label", {"place": 1, "first": 0, "count": 1, "scheme": "ccer", "days": 0}),
    ("revoke_label", {"place": 1}),
    ("retire", {"party": "steel", "place": 1, "count": 1}),
    ("move", {"kind": "cancel", "place": 1, "first": 1, "count": 1}),
    ("end_export", {"place": 1, "back": False}),
    ("bring_in", {"holder": "party:steel", "count": 4, "vintage": 2023, "known": True}),
    ("agree", {"place": -1, "buyer": "paper", "count": 1, "price": 900}),
    ("pay", {"place": 1, "share": "all"}),
    ("pay_out", {"party": "steel", "share": 1}),
    ("split", {"place": 5, "cuts": [1]}),
    ("merge", {"place": 5}),
    ("freeze", {"units": 4}),
    ("give_up", {"place": 0}),
    *[("go_on", {"place": 1, "material": False})] * 4,
    ("pass_on", {"person": 2, "share": "part"}),
    ("give", {"person": 2, "share": "part"}),
    ("join", {"source": 0, "target": 1, "carry": True}),
    ("part", {"place": 0}),
    ("let_go", {"person": 0}),
    ("entrust", {"person": 0}),
    ("ride", {"person": 0, "hour": 1, "kind": "new"}),
    *[("take_back", {"place": place}) for place in (0, 4, 8)],
    ("make_good", {"place": 1}),
    ("erase", {"person": 3}),
    ("agree", {"place": 1, "buyer": "paper", "count": 1, "price": 900}),
    ("stand", {"party": "steel", "state": "suspended"}),
    ("time_passes", {"days": 12}),
]


def test_every_step_of_a_walk_does_something_when_two_do_it_at_once(walking: Walking) -> None:
    """A walk made by hand: otherwise refusals could hide that nothing ever happens."""
    with walking() as market:
        holds = Holds(market.home, [market.person(each) for each in range(PEOPLE)])
        for name, arguments in _TOUR:
            if name in ("retire", "take_back", "erase"):
                holds.check(market.now)  # what was done to labels and the reserve shows; what is erased is remembered
            market.last = None
            how = {} if name in _OF_NONE - {"erase"} else {"how": "at once"}
            assert market.take(name, {**arguments, **how}), name
            assert market.last is not None or name in _OF_NONE, name
        holds.check(market.now)


@settings(max_examples=int(EXAMPLES or 5), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_STEPS, min_size=20, max_size=45))
def test_the_books_of_a_market_hold_after_each_step_of_any_walk(walking: Walking, steps: list[Step]) -> None:
    with walking() as market:
        walked(market, steps)
