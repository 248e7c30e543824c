from __future__ import annotations

import itertools
import uuid
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.claim import (
    ACTION,
    CHILD,
    CLAIM,
    Span,
    identity,
    identity_text,
    keep_greedily,
    normal_identifier,
    overlap_conflict,
)
from tanzhang.engine.kernel import connect, identity_sql, identity_text_sql, normal_identifier_sql, quote

KEY, OTHER_KEY = bytes(32), bytes(31) + b"\1"
HALF = Fraction(1, 2)


@pytest.fixture(scope="module")
def con():
    return connect()


def test_an_identity_depends_on_key_purpose_and_every_part():
    found = {
        identity(KEY, ACTION, "a", "b"),
        identity(OTHER_KEY, ACTION, "a", "b"),
        identity(KEY, CHILD, "a", "b"),
        identity(KEY, ACTION, "ab"),
        identity(KEY, ACTION, "a", "b", ""),
        identity(KEY, ACTION, "", "a", "b"),
        identity(KEY, ACTION, "b", "a"),
    }
    assert len(found) == 7


@given(first=st.lists(st.text(max_size=4), max_size=4), second=st.lists(st.text(max_size=4), max_size=4))
def test_two_lists_of_parts_never_read_alike(first, second):
    assert (identity_text("p", *first) == identity_text("p", *second)) == (first == second)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(parts=st.lists(TEXTS, min_size=1, max_size=4))
def test_identities_in_columns_are_those_of_the_definition(con, parts):
    ((found,),) = con.execute(f"SELECT {identity_sql(KEY, identity_text_sql(CLAIM, *map(quote, parts)))}").fetchall()
    assert found == identity(KEY, CLAIM, *parts)


def test_an_identity_with_a_missing_part_is_missing(con):
    assert con.execute(
        f"SELECT {identity_sql(KEY, identity_text_sql(CLAIM, quote('a'), 'NULL::VARCHAR'))}"
    ).fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("SZ-0012a", "SZ-0012A"),
        (" ｓｚ－００１２Ａ ", "SZ-0012A"),
        ("a\tb\nc\u3000d", "ABCD"),
        ("京A·12345", "京A·12345"),
        ("straße", "STRAßE"),  # nothing but ASCII letters changes case
        ("", ""),
        ("~!{}", "~!{}"),
    ],
)
def test_identifiers_are_compared_in_half_width_capitals_without_blanks(con, written, compared):
    assert normal_identifier(written) == compared
    ((found,),) = con.execute(f"SELECT {normal_identifier_sql(quote(written))}").fetchall()
    assert found == compared


@given(text=TEXTS)
def test_identifiers_in_columns_are_normalised_like_the_definition(con, text):
    ((found,),) = con.execute(f"SELECT {normal_identifier_sql(quote(text))}").fetchall()
    assert found == normal_identifier(text) == normal_identifier(normal_identifier(text))


@pytest.mark.parametrize(
    ("first", "second", "threshold", "conflict"),
    [
        ((0, 10), (10, 20), Fraction(1, 1000), False),  # the end is exclusive
        ((0, 10), (9, 20), Fraction(1, 10), True),
        ((0, 10), (9, 20), Fraction(2, 10), False),
        ((0, 10), (3, 13), Fraction(7, 10), True),  # exactly the threshold
        ((0, 1000), (10, 20), Fraction(1), True),  # the shorter one lies inside
        ((0, 10), (0, 10), Fraction(1), True),
        ((0, 10), (9, 19), Fraction(0), True),
        ((0, 10), (30, 40), Fraction(0), False),
        ((0, 3), (1, 4), Fraction(2, 3), True),
        ((0, 3), (1, 4), Fraction(667, 1000), False),
    ],
)
def test_acts_conflict_when_enough_of_the_shorter_is_shared(first, second, threshold, conflict):
    assert overlap_conflict(Span(*first), Span(*second), threshold) is conflict
    assert overlap_conflict(Span(*second), Span(*first), threshold) is conflict


def test_declared_companions_do_not_conflict():
    car, other = uuid.UUID(int=1), uuid.UUID(int=2)
    assert not overlap_conflict(Span(0, 9, car), Span(0, 9, car), HALF)
    assert overlap_conflict(Span(0, 9, car), Span(0, 9, other), HALF)
    assert overlap_conflict(Span(0, 9, car), Span(0, 9), HALF)


def test_overlap_is_not_transitive_so_the_declared_order_decides():
    rivals = {"a": ["b"], "b": ["a", "c"], "c": ["b"]}
    assert keep_greedily("abc", rivals.__getitem__) == {"a": None, "b": "a", "c": None}
    assert keep_greedily("bac", rivals.__getitem__) == {"b": None, "a": "b", "c": "b"}


def test_the_loser_names_the_first_winner_in_the_order():
    rivals = {"a": ["c"], "b": ["c"], "c": ["b", "a"]}
    assert keep_greedily("abc", rivals.__getitem__)["c"] == "a"


@given(edges=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_what_is_kept_is_independent_and_cannot_be_extended(edges):
    pairs = {(a, b) for a, b in edges if a != b}
    rivals = {n: [b for a, b in pairs if a == n] + [a for a, b in pairs if b == n] for n in range(8)}
    lost_to = keep_greedily(range(8), rivals.__getitem__)
    kept = {n for n, winner in lost_to.items() if winner is None}
    assert not any(a in kept and b in kept for a, b in pairs)
    for n, winner in lost_to.items():
        assert winner is None or (winner in kept and winner < n and winner in rivals[n])
    assert all(n in kept or set(rivals[n]) & kept for n in itertools.chain(range(8)))
