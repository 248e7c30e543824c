"""Numbers are compared in one form; what names no line is refused."""

from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.phone import masked, normal_phone


@pytest.mark.parametrize("text", ["13800138000", "138 0013 8000", "+86-138-0013-8000", "0086 13800138000"])
def test_one_line_has_one_form_however_it_is_written(text: str) -> None:
    assert normal_phone(text) == "+8613800138000"


def test_numbers_of_other_countries_keep_their_code() -> None:
    assert normal_phone("+44 20 7946 0958") == "+442079460958"


@pytest.mark.parametrize(
    "text", ["", "12345678901", "1380013800", "+0123456789", "+861380013800a", "１３８００１３８０００", "+" + "1" * 16]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(TanzhangError, match="phone-malformed"):
        normal_phone(text)


def test_only_the_end_of_a_number_is_shown() -> None:
    assert masked("+8613800138000") == "***8000"
