"""No cell of few people is shown, nor can it be found by taking what is shown from the total."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tanzhang.service.epoch import _shown_of

cells = st.dictionaries(
    st.tuples(st.sampled_from(["reduction", "emission"]), st.sampled_from("abcdefgh")), st.integers(1, 40)
)


@given(cells, st.integers(1, 20))
def test_what_is_hidden_is_nothing_or_enough(counts: dict[tuple[str, str], int], least: int) -> None:
    shown = _shown_of(counts, least)
    assert all(counts[cell] >= least for cell in shown)
    for kind in {kind for kind, _ in counts}:
        own = {cell: count for cell, count in counts.items() if cell[0] == kind}
        hidden = own.keys() - shown
        assert not hidden or hidden == own.keys() or (len(hidden) > 1 and sum(own[cell] for cell in hidden) >= least)


@given(cells)
def test_where_every_cell_has_enough_all_are_shown(counts: dict[tuple[str, str], int]) -> None:
    assert _shown_of(counts, 1) == set(counts)
