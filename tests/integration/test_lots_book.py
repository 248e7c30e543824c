"""The registers of lots and authorisations, on both databases: states, shares, what the database refuses."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotState
from tanzhang.stores.book import entry, lot_event
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.home import Home
from tanzhang.stores.register.authorisations import PERSON
from tanzhang.stores.register.lots import COMPENSATED, lot_share

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
ANNA, BO, CAI = (uuid.UUID(int=n << 100) for n in (7, 8, 9))
AT = "2026-07-01T04:00:00+00:00"
FROZEN = {
    "market": "beijing@1", "terms": "t", "methodologies": "{}", "unit_mass_mg": 1_000, "units": 3, "total_mg": 3_000,
    "members": 2, "accounts": 2, "leaves": 1_024, "root": "00", "batches": 1, "first_batch": 0, "last_batch": 0,
    "file": "lots/L000001/members.parquet", "file_digest": "d", "subtrees": "s", "subtrees_digest": "d",
}  # fmt: skip


def draft(home: Home, reference: str = "d-1") -> int:
    values = {"reference": reference, "vintage": 2025, "region": "CN", "behaviours": None, "wanted": None}
    with home.book.transaction() as con:
        return home.lots.draft(con, {**values, "early": None}, actor=OPERATOR, at=AT)


def shares(amounts: dict[uuid.UUID, int]) -> pa.Table:
    accounts = pa.array([each.bytes for each in sorted(amounts)], pa.uuid())
    return pa.table({"account": accounts, "amount": pa.array([amounts[each] for each in sorted(amounts)], pa.int64())})


def freeze(home: Home, number: int, amounts: dict[uuid.UUID, int]) -> int:
    with home.book.transaction() as con:
        return home.lots.freeze(con, number, FROZEN, "the entry", shares(amounts), actor=OPERATOR, at=AT)


def advance(home: Home, number: int, *states: LotState) -> None:
    for state in states:
        with home.book.transaction() as con:
            home.lots.advance(con, number, state, detail={"why": "a test", "count": 3}, actor=OPERATOR, at=AT)


def test_a_lot_is_drafted_frozen_and_released_and_its_events_say_so(home: Home) -> None:
    assert (draft(home), draft(home, "d-2")) == (1, 2)
    index = freeze(home, 1, {ANNA: 2_000, BO: 1_000})
    assert home.book.query(sa.select(entry.c.text).where(entry.c.seq == index))[0].text == "the entry"
    assert home.lots.sealed() == [(index, "the entry")]
    row = home.lots.one(1)
    assert (row.state, row.units, row.entry, row.frozen_at) == ("frozen", 3, index, AT)
    assert home.lots.share_of([ANNA, BO, CAI]) == {1: 3_000}
    assert home.lots.share_of([BO]) == {1: 1_000}
    assert home.lots.shares(1).column("amount").to_pylist() == [2_000, 1_000]
    advance(home, 1, LotState.DISSOLVED)
    assert home.lots.share_of([ANNA]) == {}
    assert [each.kind for each in home.lots.events(1)] == ["draft", "frozen", "dissolved"]
    assert json.loads(home.lots.events(1)[-1].detail) == {"why": "a test", "count": "3"}
    assert [row.act for row in home.audit.page(None, 3)] == ["lot dissolved", "lot frozen", "lot draft"]
    assert [row.number for row in home.lots.all(states=["draft"])] == [2]
    assert check_chains(home.book)[1] == []


def test_what_is_no_transition_changes_nothing(home: Home) -> None:
    draft(home)
    with pytest.raises(TanzhangError, match="lot-state"):
        advance(home, 1, LotState.ISSUED)
    with pytest.raises(TanzhangError, match="unknown-lot"):
        advance(home, 2, LotState.FROZEN)
    freeze(home, 1, {ANNA: 3_000})
    with pytest.raises(TanzhangError, match="lot-state"):
        freeze(home, 1, {ANNA: 3_000})
    assert [each.kind for each in home.lots.events(1)] == ["draft", "frozen"]
    assert len(home.lots.sealed()) == 1


def test_what_was_compensated_is_no_longer_in_a_lot(home: Home) -> None:
    draft(home)
    freeze(home, 1, {ANNA: 2_000, BO: 1_000})
    for amounts in ({ANNA: 500}, {ANNA: 100, CAI: 5}):
        with home.book.transaction() as con:
            home.lots.add_shares(con, 1, COMPENSATED, shares(amounts))
    assert home.lots.share_of([ANNA]) == {1: 1_400}
    assert home.lots.share_of([BO]) == {1: 1_000}
    assert home.lots.shares(1, COMPENSATED).column("amount").to_pylist() == [500, 100, 5]


def test_an_account_is_found_in_whichever_page_it_is(home: Home) -> None:
    draft(home)
    people = {uuid.UUID(int=(n + 1) << 90): n + 1 for n in range(3_000)}
    freeze(home, 1, people)
    for n in (0, 1_023, 1_024, 2_999):
        assert home.lots.share_of([uuid.UUID(int=(n + 1) << 90)]) == {1: n + 1}
    assert home.lots.share_of([uuid.UUID(int=5), uuid.UUID(int=1 << 127)]) == {}


@pytest.mark.parametrize(
    "change",
    [
        lot_event.update().values(kind="issued"),
        lot_event.delete(),
        lot_share.update().values(amount=1),
        lot_share.delete(),
    ],
)
def test_events_and_shares_refuse_to_change(home: Home, change: Any) -> None:
    draft(home)
    freeze(home, 1, {ANNA: 3_000})
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:  # the driver's own error
        con.execute(change)


def said(account: uuid.UUID, **more: Any) -> dict[str, Any]:
    values = {"account": account.bytes, "from_day": "2025-01-01", "until_day": None, "behaviours": None}
    return {**values, "terms": "t", "source": PERSON, "made_at": AT, **more}


def test_an_authorisation_stands_once_until_it_is_revoked(home: Home) -> None:
    register = home.authorisations
    with home.book.transaction() as con:
        first = register.grant(con, said(ANNA))
        assert register.grant(con, said(ANNA)).id == first.id
        other = register.grant(con, said(ANNA, until_day="2026-01-01"))
    assert other.id != first.id
    seen = register.revision()
    with home.book.transaction() as con:
        assert register.revoke(con, [BO], first.id, AT) is None
        assert register.revoke(con, [ANNA], 10**30, AT) is None
        assert register.revoke(con, [BO, ANNA], first.id, AT).revoked_at == AT
        assert register.revoke(con, [ANNA], first.id, "later").revoked_at == AT
        assert register.narrowed_since(con, seen) == [ANNA]
    assert register.standing().column("until_day").to_pylist() == ["2026-01-01"]
    assert [row.id for row in register.of([ANNA])] == [other.id, first.id]
    with home.book.transaction() as con:
        assert register.forget(con, [ANNA]) == 2
    assert not register.has_of([ANNA])


def test_a_file_of_authorisations_is_kept_with_its_answer(home: Home) -> None:
    people = [uuid.UUID(int=n << 90) for n in range(1, 1_200)]
    rows = pa.table(
        {
            "account": pa.array([each.bytes for each in people], pa.binary(16)),
            "from_day": ["2025-01-01"] * len(people),
            "until_day": pa.array([None] * len(people), pa.string()),
            "behaviours": ['["travel.metro"]'] * len(people),
            "terms": ["t"] * len(people),
            "source": ["partner:cainiao"] * len(people),
            "made_at": [AT] * len(people),
        }
    )
    answer = {"rows": "1199"}
    with home.book.transaction() as con:
        file = {"fingerprint": "f", "partner": "cainiao", "name": "a.csv", "made_at": AT}
        home.authorisations.add_file(con, rows, {**file, "answer": answer})
    standing = home.authorisations.standing()
    assert (standing.num_rows, standing["until_day"].null_count) == (1_199, 1_199)
    assert set(standing["account"].to_pylist()) == {each.bytes for each in people}
    assert home.authorisations.file("f") == answer
    assert home.authorisations.file("g") is None
    assert home.authorisations.spoken_for().to_pylist() == []
