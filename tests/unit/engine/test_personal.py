"""Sealed fields open with their keys, in their place, and nowhere else; a changed key file is refused."""

from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.engine.personal import PersonalKeys, key_of, personal_keys

KEYS = personal_keys(bytes(range(32)))


def test_a_text_opens_where_it_was_sealed_for() -> None:
    sealed = KEYS.seal("+8613800138000", "person.phone:1")
    assert KEYS.open(sealed, "person.phone:1") == "+8613800138000"
    assert sealed != KEYS.seal("+8613800138000", "person.phone:1")
    assert "138" not in sealed.partition(".")[2]
    with pytest.raises(TanzhangError, match="personal-field-changed"):
        KEYS.open(sealed, "person.phone:2")


@pytest.mark.parametrize("change", [lambda text: text[:-2] + "AA", lambda text: text[:12], lambda text: f"{text}é"])
def test_a_changed_text_does_not_open(change: object) -> None:
    sealed = KEYS.seal("somebody", "place")
    with pytest.raises(TanzhangError, match="personal-field-changed"):
        KEYS.open(change(sealed), "place")  # type: ignore[operator]


def test_a_new_key_seals_and_the_one_before_still_opens() -> None:
    both = KEYS.with_new()
    old, new = KEYS.seal("a", "place"), both.seal("b", "place")
    assert key_of(old) != key_of(new) == both.current
    assert (both.open(old, "place"), both.open(new, "place")) == ("a", "b")
    with pytest.raises(TanzhangError, match="personal-key-unknown"):
        KEYS.open(new, "place")


def test_a_key_file_says_the_same_again_and_shows_no_key() -> None:
    both = KEYS.with_new()
    assert PersonalKeys.parse(both.to_text(), where="file") == both
    assert [*PersonalKeys.parse(both.to_text(), where="file").keys] == [*both.keys]
    assert bytes(range(32)).hex() not in repr(both)


@pytest.mark.parametrize("place", range(0, 74, 7))
def test_a_key_file_in_which_anything_changed_is_refused(place: int) -> None:
    text = KEYS.to_text()
    changed = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
    for bad in (changed, text * 2, "", text.upper(), f" {text}"):
        with pytest.raises(TanzhangError, match="personal-key-malformed"):
            PersonalKeys.parse(bad, where="file")
