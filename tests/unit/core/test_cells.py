"""Small cells of open data are hidden, and cannot be computed from what stands beside them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.cells import Cell, Shown, hidden, published

LEAST = 10
accounts_of = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=1)


@given(accounts_of)
def test_what_is_hidden_has_the_accounts_of_a_cell_or_is_everything(accounts: dict[str, int]) -> None:
    out = hidden(accounts, LEAST)
    assert all(accounts[name] >= LEAST for name in accounts.keys() - out)
    if out and len(out) < len(accounts):
        assert max(accounts[name] for name in out) >= LEAST, "even if all of them are the same persons"
        assert len(out) >= 2, "one alone would be the difference of the total and the others"


cells_of = st.dictionaries(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("wxyz")),
    st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(1, 10**6)),
    min_size=1,
)


@given(cells_of)
def test_published_levels_add_up_and_no_small_cell_is_published(
    given_cells: dict[tuple[str, str], tuple[int, int, int]],
) -> None:
    cells = [Cell(key, records + accounts, accounts, mg) for key, (records, accounts, mg) in given_cells.items()]
    parts = {name: max(each.accounts for each in cells if each.key[0] == name) for name, _ in given_cells}
    found = published(parts, cells, LEAST)
    totals = [each for each in found if each.is_total]
    assert sum(each.amount_mg for each in totals) == sum(each.amount_mg for each in cells)
    for total in totals:
        below = [each for each in found if not each.is_total and each.part == total.part]
        if total.part is None:
            assert not [each for each in below if each.part is None], "nothing is said below what is hidden"
        else:
            assert _sums(below) == _sums([total])
    assert all(each.accounts is None or each.accounts >= LEAST for each in found)


@given(cells_of)
def test_a_hidden_cell_changes_nothing_published_but_the_sums_it_is_in(
    given_cells: dict[tuple[str, str], tuple[int, int, int]],
) -> None:
    """Two lots that differ only in how a sum is spread over hidden cells are published alike."""
    cells = [Cell(key, records + accounts, accounts, mg) for key, (records, accounts, mg) in given_cells.items()]
    parts = {name: max(each.accounts for each in cells if each.key[0] == name) for name, _ in given_cells}
    found = published(parts, cells, LEAST)
    for part in parts:
        shown = {each.below for each in found if each.part == part and not each.is_total}
        inside = [each for each in cells if each.key[0] == part and each.key[1] not in shown]
        if len(inside) < 2 or inside[0].amount_mg < 2:
            continue
        moved = {inside[0].key: inside[0].amount_mg - 1, inside[1].key: inside[1].amount_mg + 1}
        spread = [Cell(each.key, each.records, each.accounts, moved.get(each.key, each.amount_mg)) for each in cells]
        assert published(parts, spread, LEAST) == found


def _sums(rows: Iterable[Shown]) -> tuple[int, int]:
    listed = list(rows)
    return sum(each.records for each in listed), sum(each.amount_mg for each in listed)
