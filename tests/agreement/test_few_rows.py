"""Few rows, one at a time, and many in columns get the same verdicts: every accepted value, every letter said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.formula import Exact, holds
from tanzhang.core.methodology import Plan
from tanzhang.core.programme import Partner, Programme
from tanzhang.core.recipe import compute, read_recipe
from tanzhang.engine.exact import compile_amount, compile_test
from tanzhang.engine.few import BLANKS, FewRows, accepted_table
from tanzhang.engine.kernel import connect
from tanzhang.engine.screen import OBJECTION_COLUMNS, PROBLEM_ORDER, RAW_COLUMNS, Question, screen
from tanzhang.stores.catalogue import Catalogue

from .plans import PLANS, PROGRAMME

KEY = bytes(range(32))
NOW = datetime(2026, 3, 10, 4, 0, 0, 7, tzinfo=UTC)
CATALOGUE = Catalogue()
RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck))
Resolve = Callable[[Question], Plan | Problem]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def con():
    return connect()


def of_catalogue(programme: Programme) -> Resolve:
    def resolve(question: Question) -> Plan | Problem:
        try:
            choice = CATALOGUE.choose(question.behaviour, question.region, question.day, list(programme.methodologies))
            return CATALOGUE.plan(
                choice.methodology, question.region, question.day, question.variant, question.evidence
            )
        except TanzhangError as error:
            return error.problems[0]

    return resolve


def of_plans(question: Question) -> Plan | Problem:
    found = PLANS.get(question)
    return Problem("no-methodology", f"nothing for {question}", "test", "none") if found is None else found


def columns_of(rows: Sequence[Row]) -> pa.Table:
    """The rows as a reader would hand them over: columns of whole numbers alone are typed, all others are text."""
    columns: dict[str, pa.Array] = {}
    for name in RAW_COLUMNS:
        values = [row.get(name) for row in rows]
        if name in ("row", *INPUT_NAMES) and all(value is None or type(value) is int for value in values):
            columns[name] = pa.array(values, pa.int64())
        else:
            columns[name] = pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.table(columns)


def agree(
    con: Any, rows: Sequence[Row], programme: Programme, resolve: Resolve, partner: str | None = None
) -> tuple[list[Row], list[tuple[Any, ...]]]:
    """Accepted rows and problems, after both ways gave the same."""
    numbered = [{**row, "row": number} for number, row in enumerate(rows, start=1)]
    taken: list[pa.Table] = []
    con.register("raw_rows", columns_of(numbered))
    common = {"programme": programme, "identity_key": KEY, "resolve": resolve}
    many = screen(con, "raw_rows", partner=partner, now=NOW, accept=taken.append, **common)
    accepted = [row for table in taken for row in table.to_pylist()]
    problems = con.execute(f"FROM problems ORDER BY {PROBLEM_ORDER}").fetchall()
    few = FewRows(programme, KEY, resolve).screen(
        [tuple(row.get(name) for name in RAW_COLUMNS) for row in numbered], partner=partner, now=NOW
    )
    assert accepted_table(few.accepted).to_pylist() == accepted
    assert few.problems == problems
    assert few.plans == many.plans
    assert {row["row"] for row in accepted} | {line[0] for line in problems} == set(range(1, len(rows) + 1))
    return accepted, problems


# -- every shipped methodology --------------------------------------------------------------------------------


def rows_of_plan(question: Question, values: dict[str, int], elapsed_s: int | None, number: object) -> Row:
    ended = datetime.combine(question.day, datetime.min.time(), UTC) + timedelta(hours=4)
    started = None if elapsed_s is None else ended - timedelta(seconds=elapsed_s)
    return {
        "id": f"r{number}",
        "source": "p0",
        "type": question.behaviour,
        "subject": "s",
        "time": ended.isoformat(),
        "started_at": None if started is None else started.isoformat(),
        "region": question.region,
        "variant": question.variant,
        "evidence": question.evidence,
        "claim_issuer": "issuer",
        "claim_identifier": f"n {number}",
        **values,
    }


@pytest.mark.parametrize("elapsed_s", [None, 1, 3_600, 86_400 * 30])
def test_every_shipped_plan_agrees_at_and_beyond_the_limits_of_its_inputs(con, elapsed_s):
    rows = []
    for number, (question, plan) in enumerate(PLANS.items()):
        rules = plan.methodology.inputs
        limits: tuple[dict[str, int], ...] = (
            {},
            {name: rule.minimum - 1 for name, rule in rules.items()},
            {name: rule.minimum for name, rule in rules.items()},
            {name: (rule.minimum + rule.maximum) // 2 for name, rule in rules.items()},
            {name: rule.maximum for name, rule in rules.items()},
            {name: rule.maximum + 1 for name, rule in rules.items()},
        )
        rows += [rows_of_plan(question, values, elapsed_s, number) for values in limits]
    accepted, problems = agree(con, rows, PROGRAMME, of_plans)
    assert len(accepted) > len(PLANS) / 2
    assert {line[2] for line in problems} >= {"missing-input", "out-of-range"}


def test_compiled_amounts_and_guards_equal_the_exact_definition():
    checked = 0
    for plan in PLANS.values():
        recipe, parameters = read_recipe(plan.document), {n: each.value for n, each in plan.parameters.items()}
        amount, rules = compile_amount(recipe), plan.methodology.inputs
        for share in (Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)):
            values = {n: rule.minimum + int((rule.maximum - rule.minimum) * share) for n, rule in rules.items()}
            assert amount(values) == compute(recipe, values).mg
            for guard in plan.methodology.guards:
                act = {**values, "elapsed_s": 600}
                if guard.formula.names <= act.keys() | parameters.keys():
                    exact = Exact({**parameters, **{name: Fraction(value) for name, value in act.items()}})
                    assert compile_test(guard.formula, parameters)(act) == holds(guard.formula.tree, exact)
                    checked += 1
    assert checked > 20


# -- anything that may stand in a row -------------------------------------------------------------------------

BLANK = st.text(st.sampled_from(BLANKS + "\t\n\u200b"), max_size=3)
ANY_TEXT = st.one_of(
    st.sampled_from(
        ["", "'", "''", '"', "\\", "%", "x" * 256, "x" * 257, "车" * 256, "车" * 257, "🚲" * 300, "\0", "a\0b"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=70),
)
TEXT = st.builds("{}{}{}".format, BLANK, ANY_TEXT, BLANK)
TIMES = st.one_of(
    st.sampled_from(
        [
            "2025-03-01T08:40:00+08:00",
            "2025-03-01t08:40:00z",
            "2025-03-01 08:40:00.5+08:00",
            "2025-03-01T08:40:00.000001-00:00",
            "2025-03-01T08:40:00.1234567Z",
            "2025-03-01T08:40:00",
            "2025-03-01T08:40:60Z",
            "2025-03-01T24:00:00Z",
            "2025-02-29T00:00:00Z",
            "2024-02-29T23:59:59.999999-23:59",
            "1970-01-01T00:00:00+23:59",
            "1969-12-31T23:59:59Z",
            "2999-12-31T23:59:59-23:00",
            "3000-01-01T00:00:00Z",
            "２０２５-03-01T08:40:00Z",
            "2026-03-10T04:05:00.000007Z",
            "2026-03-10T04:05:00.000008Z",
            "2026-03-12T04:00:00.000007Z",
            "2026-03-12T04:00:00.000008Z",
            "1988-07-01T00:00:00+09:00",
            "yesterday",
            "2025-03-01T08:40:00Z\n",
        ]
    ),
    st.datetimes(datetime(2024, 1, 1), datetime(2026, 4, 1), timezones=st.just(UTC)).map(datetime.isoformat),  # noqa: DTZ001
)
WHOLES = st.one_of(
    st.integers(0, 200_000),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**70), 2**70).map(str),
    st.builds("{}{}{}".format, BLANK, st.integers(-5, 100_000), BLANK),
    st.sampled_from(
        ["", "0", "-0", "007", "+5", "5.0", "1e3", "--5", "-", "5-", "٣", "５", "1_000", "0x10", "9" * 5000]
    ),
    st.sampled_from(["0" * 30 + "12000", "-" + "0" * 30, str(2**63), str(2**63 - 1), str(-(2**63)), str(-(2**63) - 1)]),
    TEXT,
)
PLACES = ["CN", "CN-440300", "CN-440305", "CN-440000", "CN-110000", "CN-110101", "cn-440300", "CN-44030", "CN-044030"]
WRONG: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("id", "subject", "group", "claim_issuer", "claim_identifier"), TEXT | st.none()),
    "source": st.sampled_from([None, "shenzhen_metro", "alipay", "cainiao", "amap", "acme", " amap "]) | TEXT,
    "type": st.sampled_from([None, "travel.metro", "travel.bus", "finance.e_invoice", "travel.jet", "use.barter"])
    | TEXT,
    **dict.fromkeys(("time", "started_at"), TIMES | TEXT | st.none()),
    "region": st.sampled_from([None, *PLACES]) | TEXT,
    "variant": st.sampled_from([None, "battery_bus", "diesel_bus", "steam_bus"]) | TEXT,
    "evidence": st.sampled_from([None, "measured", "sensed", "declared", "guessed"]) | TEXT,
    "withdraws": st.sampled_from([None, "r1", "r2"]) | TEXT,
    **dict.fromkeys(INPUT_NAMES, WHOLES | st.none()),
}
RIGHT = [
    {"source": "shenzhen_metro", "type": "travel.metro", "region": "CN-440300", "distance_m": 12000},
    {"source": "shenzhen_tong", "type": "travel.bus", "variant": "battery_bus", "distance_m": "9000"},
    {"source": "meituan", "type": "travel.bicycle", "distance_m": 3000},
    {"source": "alipay", "type": "finance.e_invoice", "claim_issuer": "tax", "claim_identifier": "No 7"},
    {
        "source": "alipay",
        "type": "finance.online_bill_payment",
        "amount_fen": 5000,
        "claim_issuer": "电网",
        "claim_identifier": "ｍ 9",
    },
    {"source": "cainiao", "type": "use.parcel_box_return", "claim_issuer": "cainiao", "claim_identifier": "YT-1"},
    {"source": "amap", "type": "travel.metro", "distance_m": 5000, "group": "car 4"},
    {"source": "shenzhen_metro", "type": "travel.metro", "withdraws": "r0"},
]


@st.composite
def objections(draw: st.DrawFn) -> Row:
    code = draw(st.sampled_from(["unknown-field", "malformed-row", "not-a-cloudevent"]))
    values = (code, draw(st.none() | st.just("data.x")), draw(st.sampled_from(["why", "it's"])))
    return dict(zip(OBJECTION_COLUMNS, values, strict=True))


@st.composite
def any_row(draw: st.DrawFn) -> Row:
    row: Row = {"id": f"r{draw(st.integers(0, 3))}", "subject": "u1", "time": "2025-03-01T08:40:00+08:00"}
    row |= {"started_at": "2025-03-01T08:10:00+08:00"} | draw(st.sampled_from(RIGHT))
    for name in draw(st.lists(st.sampled_from(list(WRONG)), max_size=4)):
        row[name] = draw(WRONG[name])
    if not draw(st.integers(0, 19)):
        row |= draw(objections())
    return row


@pytest.mark.parametrize("name", ["shenzhen", "beijing"])
@settings(RELAXED, max_examples=50)
@given(rows=st.lists(any_row(), min_size=1, max_size=25), partner=st.sampled_from([None, "amap", "alipay", "o'x"]))
def test_any_rows_of_a_programme_agree_in_every_value_and_every_letter(con, name, rows, partner):
    programme = CATALOGUE.programme(name)
    agree(con, rows, programme, of_catalogue(programme), partner)


@settings(RELAXED, max_examples=30)
@given(data=st.data())
def test_any_rows_of_any_shipped_plan_agree(con, data):
    rows = []
    for number in range(data.draw(st.integers(1, 20))):
        question = data.draw(st.sampled_from(list(PLANS)))
        values: Row = {}
        for name, rule in PLANS[question].methodology.inputs.items():
            if data.draw(st.integers(0, 9)):
                values[name] = data.draw(st.integers(rule.minimum, rule.maximum) | WHOLES)
        elapsed_s = data.draw(st.none() | st.integers(-5, 7200) | st.integers(0, 401 * 86_400))
        rows.append(rows_of_plan(question, values, elapsed_s, number))
    agree(con, rows, PROGRAMME, of_plans)


AGREED = replace(
    CATALOGUE.programme("shenzhen"),
    partners={
        **CATALOGUE.programme("shenzhen").partners,
        "amap": Partner("amap", "Amap", "高德", frozenset({"travel.metro"}), evidence="sensed"),
        "alipay": Partner("alipay", "Alipay", "支付宝", None, evidence="declared", suspended=True),
        "o'x": Partner("o'x", "O'X", "欧", None, evidence="measured", suspended=True),
    },
)


@settings(RELAXED, max_examples=40)
@given(rows=st.lists(any_row(), min_size=1, max_size=25), partner=st.sampled_from([None, "amap", "alipay", "o'x"]))
def test_what_an_agreement_does_not_cover_is_refused_in_the_same_words(con, rows, partner):
    agree(con, rows, AGREED, of_catalogue(AGREED), partner)


def test_an_act_that_begins_less_than_a_second_after_its_end_agrees_on_its_guards(con):
    """Whole seconds are cut towards zero, so that it lasts 0 seconds and no speed is plausible."""
    begun = {"started_at": "2025-03-01T08:40:00.500000+08:00", "time": "2025-03-01T08:40:00+08:00"}
    _, problems = agree(
        con,
        [{"id": "r1", "subject": "u"} | RIGHT[0] | begun, {"id": "r2", "subject": "u"} | RIGHT[2] | begun],
        CATALOGUE.programme("shenzhen"),
        of_catalogue(CATALOGUE.programme("shenzhen")),
    )
    assert [line[2] for line in problems if line[0] == 1] == ["implausible-speed", "started-after-end"]


def test_no_plan_is_asked_for_an_act_more_than_two_days_ahead(con):
    shenzhen = CATALOGUE.programme("shenzhen")
    times = ("2026-03-12T04:00:00.000007Z", "2026-03-12T04:00:00.000008Z")
    asked = []
    for time in times:
        _, problems = agree(
            con, [RIGHT[3] | {"id": "r", "subject": "u", "time": time}], shenzhen, of_catalogue(shenzhen)
        )
        assert [line[2] for line in problems] == ["time-in-future"]
        few = FewRows(shenzhen, KEY, of_catalogue(shenzhen))
        row = RIGHT[3] | {"row": 1, "id": "r", "subject": "u", "time": time}
        asked.append(len(few.screen([tuple(row.get(name) for name in RAW_COLUMNS)], partner=None, now=NOW).plans))
    assert asked == [1, 0]


def test_blanks_are_the_same_in_both():
    con = connect()
    found = con.execute(
        "SELECT chr(i::INTEGER) AS char FROM range(1, 65536) r(i) "
        "WHERE i NOT BETWEEN 55296 AND 57343 AND trim(char) = ''"
    ).fetchall()
    assert "".join(char for (char,) in found) == BLANKS


@pytest.mark.parametrize("name", ["started_at", "distance_m", "count", "time", "id"])
@pytest.mark.parametrize("blank", ["\u3000", " \u00a0", "\t"])
def test_a_value_of_blanks_alone_is_not_given_and_another_one_is_refused_with_a_reason(con, name, blank):
    row = RIGHT[0] | {"id": "r1", "subject": "u", "time": "2025-03-01T08:40:00+08:00", name: blank}
    agree(con, [row], CATALOGUE.programme("shenzhen"), of_catalogue(CATALOGUE.programme("shenzhen")))
