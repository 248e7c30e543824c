"""Which milligrams of which record a gift is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.allocation import Counted, Taking, allocate


def act(name: str, batch: int, day: str, mg: int) -> Counted:
    return Counted(batch, (day, f"{day}T10:00", name), mg)


def back(name: str, batch: int, mg: int) -> Counted:
    return Counted(batch, ("2026-07-09", "2026-07-09T10:00", f"~{name}"), 0, mg, name)


def test_the_oldest_day_is_given_first_of_what_was_settled_by_then() -> None:
    records = [act("new", 0, "2026-07-02", 50), act("old", 0, "2026-07-01", 30), act("older", 1, "2026-06-01", 99)]
    found = allocate(records, [Taking("a", 1, 40), Taking("b", 2, 100)])
    assert found.taken == {"a": {"old": 30, "new": 10}, "b": {"older": 99, "new": 1}}
    assert found.owed == {}


def test_what_is_taken_back_is_owed_by_the_last_gift_until_another_act_makes_up_for_it() -> None:
    records = [act("old", 0, "2026-07-01", 30), back("old", 1, 30), act("new", 2, "2026-07-05", 12)]
    gifts = [Taking("a", 1, 10), Taking("b", 1, 20)]
    assert allocate(records[:2], gifts).owed == {"b": 20, "a": 10}
    found = allocate(records, gifts)
    assert sum(sum(parts.values()) for parts in found.taken.values()) == 12
    assert sum(found.owed.values()) == 18


def test_milligrams_that_nobody_gave_are_taken_back_first() -> None:
    found = allocate([act("old", 0, "2026-07-01", 30), back("old", 1, 30)], [Taking("a", 1, 10)])
    assert found.owed == {"a": 10}
    part = [act("old", 0, "2026-07-01", 30), back("old", 1, 20)]
    assert allocate(part, [Taking("a", 1, 10)]).owed == {}


@given(
    acts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 100), st.booleans()), max_size=12),
    amounts=st.lists(st.tuples(st.integers(0, 7), st.integers(1, 120)), max_size=6),
)
def test_a_gift_is_always_whole_and_no_milligram_is_given_twice(
    acts: list[tuple[int, int, int, bool]], amounts: list[tuple[int, int]]
) -> None:
    records, standing = [], {}
    for number, (batch, day, mg, taken_back) in enumerate(acts):
        records.append(act(f"r{number}", batch, f"2026-07-0{day}", mg))
        standing[f"r{number}"] = 0 if taken_back else mg
        if taken_back:
            records.append(back(f"r{number}", batch + 1, mg))
    gifts = [Taking(f"g{number}", batches, mg) for number, (batches, mg) in enumerate(sorted(amounts))]
    found = allocate(records, gifts)
    for gift in gifts:
        assert sum(found.taken[gift.gift].values()) + found.owed.get(gift.gift, 0) == gift.amount_mg
    used: dict[str, int] = {}
    for parts in found.taken.values():
        for action, mg in parts.items():
            used[action] = used.get(action, 0) + mg
    assert all(0 < mg <= standing[action] for action, mg in used.items())
    assert sum(found.owed.values()) == max(0, sum(mg for _, mg in amounts) - sum(standing.values()))
    assert allocate(records[::-1], gifts) == found
