from __future__ import annotations

from fractions import Fraction

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.formula import parse_formula
from tanzhang.engine.sql import compile_condition, compile_mg

from ...agreement.test_formula_engines import INPUTS, recipe


def test_whole_numbers_stay_narrow_where_the_ranges_allow_it():
    narrow = compile_mg(
        recipe("saving * count", dict.fromkeys(INPUTS, (0, 10**6)), parameters={"saving": Fraction("46.7")})
    )
    wide = compile_mg(
        recipe("saving * count", dict.fromkeys(INPUTS, (0, 10**17)), parameters={"saving": Fraction("46.7")})
    )
    assert narrow == "(((467::BIGINT * count::BIGINT) // 10::BIGINT)::BIGINT)"
    assert "HUGEINT" in wide


def test_a_formula_without_inputs_is_a_constant():
    assert compile_mg(recipe("max(2, 3) * 1.5", {})) == "((9::BIGINT // 2::BIGINT)::BIGINT)"


def test_a_refusal_names_the_formula_and_its_place():
    guard = parse_formula("count * count * count > 1", where="test")
    with pytest.raises(TanzhangError, match=r"count \* count \* count > 1 can exceed") as caught:
        compile_condition(guard, {}, {"count": (0, 10**15)}, where="some.methodology@1")
    assert caught.value.problems[0].where == "some.methodology@1"
    assert "narrow the ranges" in caught.value.problems[0].remedy
