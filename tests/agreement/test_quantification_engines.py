"""Every shipped methodology gives the same milligrams, or the same refusals, in SQL and in exact arithmetic."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import TanzhangError
from tanzhang.core.recipe import LARGEST_MG, compute, read_recipe
from tanzhang.engine.kernel import connect
from tanzhang.engine.reference import quantify_act
from tanzhang.engine.screen import RAW_COLUMNS, Question, screen
from tanzhang.engine.sql import compile_mg
from tanzhang.stores.catalogue import Catalogue

from .plans import PLANS, PROGRAMME

NOW = datetime(2030, 1, 1, tzinfo=UTC)
Row = tuple[Question, dict[str, int], int | None]  # inputs, elapsed seconds


@pytest.fixture(scope="module")
def con():
    return connect()


def screen_rows(con: Any, rows: list[Row]) -> list[int | set[str]]:
    """Milligrams of each row, or the codes of its refusal."""
    columns: dict[str, list[Any]] = {name: [] for name in RAW_COLUMNS}
    for number, (question, inputs, elapsed_s) in enumerate(rows, start=1):
        ended = datetime.combine(question.day, datetime.min.time(), UTC) + timedelta(hours=12)
        started = None if elapsed_s is None else ended - timedelta(seconds=elapsed_s)
        known: dict[str, Any] = {
            "row": number,
            "id": str(number),
            "source": "p0",
            "type": question.behaviour,
            "subject": "s",
            "time": ended.isoformat(),
            "started_at": None if started is None else started.isoformat(),
            "region": question.region,
            "variant": question.variant,
            "evidence": question.evidence,
            "claim_issuer": "issuer",
            "claim_identifier": str(number),
            **{name: str(value) for name, value in inputs.items()},
        }
        for name in RAW_COLUMNS:
            columns[name].append(known.get(name))
    types = {"row": pa.int64()}
    con.register("given", pa.table({n: pa.array(v, types.get(n, pa.string())) for n, v in columns.items()}))
    con.execute("CREATE OR REPLACE TEMP TABLE raw AS SELECT * FROM given")
    con.unregister("given")
    taken: list[pa.Table] = []
    screened = screen(
        con,
        "raw",
        programme=PROGRAMME,
        partner=None,
        identity_key=bytes(32),
        now=NOW,
        resolve=PLANS.__getitem__,
        accept=taken.append,
    )
    con.register("accepted", pa.concat_tables(taken))
    found: dict[int, int | set[str]] = dict(con.execute("SELECT row, quantified_mg FROM accepted").fetchall())
    codes: defaultdict[int, set[str]] = defaultdict(set)
    for row, code in con.execute("SELECT row, code FROM problems").fetchall():
        codes[row].add(code)
    assert not found.keys() & codes.keys()
    assert screened.rows == len(rows) == len(found) + len(codes)
    found |= codes
    return [found[number] for number in range(1, len(rows) + 1)]


def reference_answer(row: Row) -> int | set[str]:
    question, inputs, elapsed_s = row
    plan = PLANS[question]
    codes = {"missing-field"} if plan.methodology.needs_start and elapsed_s is None else set()
    try:
        mg = quantify_act(plan, inputs, elapsed_s).mg
    except TanzhangError as error:
        return codes | {problem.code for problem in error.problems}
    return codes or mg


def agree(con: Any, rows: list[Row]) -> list[int | set[str]]:
    found = screen_rows(con, rows)
    for row, answer in zip(rows, found, strict=True):
        assert answer == reference_answer(row), (row, answer)
    return found


def test_there_is_a_plan_for_every_methodology_that_has_all_its_factors():
    keys = {question.behaviour for question in PLANS}
    assert len(keys) > 50
    refused = {methodology.key for methodology in Catalogue().all_methodologies()} - keys
    assert refused <= {
        "cace.use.second_hand_trade@1",
        "ccaa.travel.ride_sharing@1",
        "shenzhen.living.electricity_saving@1",
        "wuhan_tantan.travel.metro@1",
    }


def test_all_shipped_plans_agree_at_both_limits_of_every_input_and_just_outside(con):
    rows: list[Row] = []
    for question, plan in PLANS.items():
        rules = plan.methodology.inputs
        edges = [
            (None, rule.minimum - 1, rule.minimum, rule.minimum + 1, rule.maximum - 1, rule.maximum, rule.maximum + 1)
            for rule in rules.values()
        ]
        for values in itertools.product(*edges):
            inputs = {name: value for name, value in zip(rules, values, strict=True) if value is not None}
            rows += [(question, inputs, elapsed) for elapsed in (None, 1, 3_600, 86_400)]
    answers = agree(con, rows)
    quantified = {row[0].behaviour for row, answer in zip(rows, answers, strict=True) if isinstance(answer, int)}
    assert quantified == {question.behaviour for question in PLANS}
    assert all(0 <= answer <= LARGEST_MG for answer in answers if isinstance(answer, int))
    types = {kind.split("(")[0] for _, kind, *_ in con.execute("DESCRIBE accepted").fetchall()}
    assert types <= {"BIGINT", "VARCHAR", "ENUM", "UUID", "TIMESTAMP", "DATE"}  # no float on the way


@st.composite
def rows_of_any_plan(draw: st.DrawFn) -> Row:
    question = draw(st.sampled_from(list(PLANS)))
    inputs = {}
    for name, rule in PLANS[question].methodology.inputs.items():
        width = rule.maximum - rule.minimum
        inside = st.integers(0, width) | st.integers(0, min(width, 1000))
        if draw(st.integers(0, 9)):
            inputs[name] = (
                rule.minimum + draw(inside) if draw(st.integers(0, 9)) else draw(st.integers(-(2**63), 2**63 - 1))
            )
    return question, inputs, draw(st.none() | st.integers(1, 400 * 86_400) | st.integers(1, 7200))


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(rows_of_any_plan(), min_size=1, max_size=30))
def test_any_shipped_plan_agrees_on_any_inputs(con, rows: list[Row]):
    agree(con, rows)


def test_every_formula_and_guard_compiles_without_a_float():
    for plan in PLANS.values():
        text = compile_mg(read_recipe(plan.document))
        assert "DOUBLE" not in text
        assert " / " not in text
        assert "." not in text


def test_a_record_recomputes_from_its_plan_document_and_its_stored_inputs(con):
    """Defaults are stored with the record, so the document and the record alone are enough."""
    rows: list[Row] = []
    for question, plan in PLANS.items():
        inputs = {n: rule.minimum for n, rule in plan.methodology.inputs.items() if rule.default is None}
        rows.append((question, inputs, 86_400 * 30))
    screen_rows(con, rows)
    documents = {plan.digest: plan.document for plan in PLANS.values()}
    found = con.execute(f"SELECT plan, quantified_mg, {', '.join(INPUT_NAMES)} FROM accepted").fetchall()
    assert len(found) == len(rows)
    for digest, mg, *values in found:
        assert json.loads(documents[digest])["format"] == "tanzhang.plan/1"
        stored = {name: value for name, value in zip(INPUT_NAMES, values, strict=True) if value is not None}
        assert compute(read_recipe(documents[digest]), stored).mg == mg
