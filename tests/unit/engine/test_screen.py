from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from tanzhang.core.action import INPUT_NAMES
from tanzhang.core.claim import ACTION, CHILD, CLAIM, GROUP, identity
from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.methodology import Plan
from tanzhang.engine.kernel import connect
from tanzhang.engine.screen import RAW_COLUMNS, Question, screen
from tanzhang.stores.catalogue import Catalogue

KEY = bytes(range(32))
NOW = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
CATALOGUE = Catalogue()
SHENZHEN = CATALOGUE.programme("shenzhen")

METRO = {
    "id": "m1",
    "source": "shenzhen_metro",
    "type": "travel.metro",
    "subject": "u1",
    "time": "2025-03-01T08:40:00+08:00",
    "started_at": "2025-03-01T08:10:00+08:00",
    "region": "CN-440300",
    "distance_m": "12000",
}
INVOICE = {
    "id": "i1",
    "source": "alipay",
    "type": "finance.e_invoice",
    "subject": "u1",
    "time": "2025-03-01T08:40:00+08:00",
    "claim_issuer": "tax",
    "claim_identifier": "No 7",
}
BUS = METRO | {"source": "shenzhen_tong", "type": "travel.bus", "variant": "battery_bus"}
RIDE = METRO | {"source": "meituan", "type": "travel.bicycle", "distance_m": "3000"}
TAKEN_BACK = {key: METRO[key] for key in ("id", "source", "type", "subject", "time")} | {"withdraws": "m0"}


@pytest.fixture(scope="module")
def con():
    return connect()


class Verdicts:
    """Accepted rows and problems of a submission, by row number from 1."""

    def __init__(
        self,
        con: Any,
        *rows: dict[str, Any],
        partner: str | None = None,
        programme: Any = SHENZHEN,
        types: dict[str, pa.DataType] | None = None,
        now: datetime = NOW,
    ) -> None:
        self.questions: list[Question] = []

        def resolve(question: Question) -> Plan | Problem:
            self.questions.append(question)
            try:
                choice = CATALOGUE.choose(
                    question.behaviour, question.region, question.day, list(programme.methodologies)
                )
                return CATALOGUE.plan(
                    choice.methodology, question.region, question.day, question.variant, question.evidence
                )
            except TanzhangError as error:
                return error.problems[0]

        kinds = {"row": pa.int64(), **(types or {})}
        numbered = [{"row": number, **row} for number, row in enumerate(rows, start=1)]
        columns = {
            name: pa.array([row.get(name) for row in numbered], kinds.get(name, pa.string())) for name in RAW_COLUMNS
        }
        con.register("given", pa.table(columns))
        con.execute("CREATE OR REPLACE TEMP TABLE raw AS SELECT * FROM given")
        con.unregister("given")
        taken: list[pa.Table] = []
        screened = screen(
            con,
            "raw",
            programme=programme,
            partner=partner,
            identity_key=KEY,
            now=now,
            resolve=resolve,
            accept=taken.append,
        )
        assert not taken[0].num_rows
        con.register("accepted", pa.concat_tables(taken))
        names = [name for name, *_ in con.execute("DESCRIBE accepted").fetchall()]
        self.accepted = {
            row[0]: dict(zip(names, row, strict=True)) for row in con.execute("SELECT * FROM accepted").fetchall()
        }
        found = con.execute("SELECT row, code, field, message, remedy FROM problems ORDER BY ALL").fetchall()
        self.problems = {number: [line[1:] for line in found if line[0] == number] for number in {r[0] for r in found}}
        assert screened.rows == len(rows)
        assert screened.accepted_rows == len(self.accepted)
        assert self.accepted.keys() | self.problems.keys() == set(range(1, len(rows) + 1))
        assert not self.accepted.keys() & self.problems.keys()

    def codes(self, row: int = 1) -> list[str]:
        return sorted(code for code, *_ in self.problems.get(row, []))


def test_a_plain_trip_is_accepted_with_its_milligrams_and_identities(con):
    (row,) = Verdicts(
        con, METRO | {"group": "car 4", "claim_issuer": "gate", "claim_identifier": "x 1"}
    ).accepted.values()
    assert row["quantified_mg"] > 0
    assert row["action_id"] == identity(KEY, ACTION, "shenzhen_metro", "m1")
    assert row["child"] == identity(KEY, CHILD, "shenzhen_metro", "u1")
    assert row["group_id"] == identity(KEY, GROUP, "shenzhen_metro", "car 4")
    assert row["claim"] == identity(KEY, CLAIM, "trip", "GATE", "X1")
    assert row["withdraws"] is None
    assert (row["started"], row["ended"]) == (datetime(2025, 3, 1, 0, 10), datetime(2025, 3, 1, 0, 40))  # noqa: DTZ001
    assert (row["day"], row["close_day"]) == (date(2025, 3, 1), date(2025, 3, 3))  # trips wait two days
    assert (row["distance_m"], row["count"]) == (12000, None)
    assert (row["region"], row["variant"], row["evidence"]) == ("CN-440300", None, "measured")


ONE_MISTAKE = [
    (METRO | {"id": None}, "missing-field", "id", "id is missing", "fill id"),
    (METRO | {"id": "  "}, "missing-field", "id", "id is missing", "fill id"),
    (METRO | {"source": None}, "missing-field", "source", "source is missing", "fill source"),
    (METRO | {"type": None}, "missing-field", "type", "type is missing", "fill type"),
    (METRO | {"subject": ""}, "missing-field", "subject", "subject is missing", "fill subject"),
    (METRO | {"time": None}, "missing-field", "time", "time is missing", "fill time"),
    (METRO | {"time": "2025-03-01T08:40:00"}, "bad-time", "time", "2025-03-01T08:40:00 is not RFC 3339", "2025-03-01"),
    (METRO | {"time": "2025-02-30T08:40:00Z"}, "bad-time", "time", "is not RFC 3339", "08:10:00+08:00"),
    (METRO | {"time": "yesterday"}, "bad-time", "time", "yesterday", "ended"),
    (METRO | {"time": "1740790000"}, "bad-time", "time", "1740790000", "ended"),
    (METRO | {"time": "0000-01-01T00:00:00Z"}, "bad-time", "time", "from 1970 on", "ended"),
    (METRO | {"time": "9999-12-31T23:59:59-23:00"}, "bad-time", "time", "not RFC 3339", "ended"),
    (METRO | {"started_at": "08:10"}, "bad-time", "started_at", "started_at 08:10 is not RFC 3339", "began"),
    (INVOICE | {"started_at": "08:10"}, "bad-time", "started_at", "not RFC 3339", "began"),  # though it needs none
    (METRO | {"id": "x" * 257}, "field-too-long", "id", "longer than 256", "identifiers, not contents"),
    (METRO | {"group": "x" * 257}, "field-too-long", "group", "group is longer than 256", "identifiers"),
    (METRO | {"source": "acme"}, "unknown-partner", "source", "partner acme is not a partner", "shenzhen_tong"),
    (METRO | {"time": "2025-03-10T12:06:00+08:00"}, "time-in-future", "time", "lies in the future", "offset"),
    (INVOICE | {"time": "2999-03-10T12:06:00+08:00"}, "time-in-future", "time", "lies in the future", "offset"),
    (
        METRO | {"started_at": "2025-03-01T08:40:01+08:00"},
        "started-after-end",
        "started_at",
        "is not before time",
        "beginning",
    ),
    (INVOICE | {"started_at": "2024-01-01T00:00:00Z"}, "implausible-duration", "started_at", "400 days", "check"),
    (METRO | {"evidence": "guessed"}, "unknown-evidence", "evidence", "guessed", "measured, sensed, declared"),
    (METRO | {"region": "Shenzhen"}, "region-malformed", "region", "Shenzhen is not a region", "CN-110000"),
    (METRO | {"region": "CN-110000"}, "region-outside-programme", "region", "outside programme shenzhen", "its region"),
    (METRO | {"claim_issuer": "gate"}, "claim-incomplete", "claim", "both its issuer", "both, or neither"),
    (METRO | {"claim_identifier": "7"}, "claim-incomplete", "claim", "both its issuer", "both, or neither"),
    (METRO | {"withdraws": "m1"}, "withdraws-itself", "withdraws", "cannot withdraw itself", "earlier action"),
    (INVOICE | {"source": "cainiao"}, "behaviour-not-agreed", "type", "no agreement to report", "parcel_box_return"),
    (METRO | {"distance_m": None}, "missing-input", "distance_m", "needs distance_m", "whole number from 200"),
    (METRO | {"distance_m": "12.5"}, "not-a-whole-number", "distance_m", "12.5 is not a whole number", "unit"),
    (METRO | {"distance_m": "12 km"}, "not-a-whole-number", "distance_m", "12 km is not a whole number", "unit"),
    (METRO | {"distance_m": "1" * 20}, "not-a-whole-number", "distance_m", "up to 18 digits", "unit"),
    (METRO | {"count": "two"}, "not-a-whole-number", "count", "count two is not", "unit"),  # though it needs none
    (INVOICE | {"count": "two"}, "not-a-whole-number", "count", "count two is not", "unit"),  # not its default
    (METRO | {"distance_m": "199"}, "out-of-range", "distance_m", "199 is outside 200 to 150000", "unit"),
    (INVOICE | {"count": "2"}, "out-of-range", "count", "2 is outside 1 to 1", "unit"),
    (RIDE | {"started_at": None}, "missing-field", "started_at", "needs started_at", "when the act began"),
    (METRO | {"distance_m": "90000"}, "implausible-speed", "data", "faster than", "inputs and times"),
    (
        INVOICE | {"type": "finance.barter"},
        "unknown-behaviour",
        "type",
        "finance.barter is not a behaviour",
        "did you mean",
    ),
    (INVOICE | {"time": "2015-01-01T00:00:00Z"}, "methodology-not-in-force", "type", "in force", "day of the act"),
    (BUS | {"variant": None}, "variant-required", "type", "named variants", "battery_bus"),
    (BUS | {"variant": "steam_bus"}, "unknown-variant", "type", "steam_bus", "battery_bus"),
    (METRO | {"variant": "fast"}, "unknown-variant", "type", "has no variants", "leave the variant out"),
    (METRO | {"evidence": "declared"}, "evidence-not-accepted", "type", "does not accept", "accepted class"),
]


@pytest.fixture(scope="module")
def one_mistake(con):
    """Every row of :data:`ONE_MISTAKE` in one submission, a good row behind each."""
    return Verdicts(con, *(row for wrong, *_ in ONE_MISTAKE for row in (wrong, METRO)))


@pytest.mark.parametrize("place", range(len(ONE_MISTAKE)), ids=[f"{case[1]}-{case[2]}" for case in ONE_MISTAKE])
def test_a_mistake_is_refused_by_its_own_code_alone(one_mistake, place):
    _, code, field, message, remedy = ONE_MISTAKE[place]
    ((found, where, said, fix),) = one_mistake.problems[2 * place + 1]
    assert (found, where) == (code, field)
    assert message in said
    assert remedy in fix
    assert 2 * place + 2 in one_mistake.accepted


def test_a_row_of_another_partner_is_refused_and_a_row_without_source_is_the_senders(con):
    verdicts = Verdicts(con, METRO | {"source": None}, BUS, METRO, partner="shenzhen_metro")
    assert verdicts.accepted[1]["partner"] == "shenzhen_metro"
    assert verdicts.codes(2) == ["partner-mismatch"]
    assert "shenzhen_tong, submitted by shenzhen_metro" in verdicts.problems[2][0][2]
    assert 3 in verdicts.accepted


def test_an_identifier_is_required_where_the_methodology_counts_by_it(con):
    bill = INVOICE | {
        "type": "finance.online_bill_payment",
        "amount_fen": "5000",
        "claim_issuer": None,
        "claim_identifier": None,
    }
    claim = {"claim_issuer": "grid", "claim_identifier": "meter 9"}
    verdicts = Verdicts(con, bill, bill | claim)
    assert verdicts.codes(1) == ["claim-required"]
    assert verdicts.codes(2) == []
    assert verdicts.accepted[2]["claim"] == identity(KEY, CLAIM, "bill", "GRID", "METER9", "2025-03")


def test_all_mistakes_of_a_row_are_reported_together(con):
    row = METRO | {"subject": None, "distance_m": "190000", "started_at": "soon", "withdraws": "m1", "count": "x"}
    assert Verdicts(con, row).codes() == [
        "bad-time",
        "missing-field",
        "not-a-whole-number",
        "out-of-range",
        "withdraws-itself",
    ]


def test_an_unknown_field_is_one_mistake_among_others(con):
    objection = {"problem_code": "unknown-field", "problem_field": "data.colour", "problem_message": "colour?"}
    verdicts = Verdicts(con, METRO | objection, METRO | objection | {"distance_m": "1", "subject": None})
    assert verdicts.codes(1) == ["unknown-field"]
    assert verdicts.problems[1][0][1:3] == ("data.colour", "colour?")
    assert verdicts.codes(2) == ["missing-field", "out-of-range", "unknown-field"]


@pytest.mark.parametrize("code", ["malformed-row", "not-a-cloudevent", "unpaired-entry"])
def test_of_a_row_that_could_not_be_read_nothing_else_is_said(con, code):
    objection = {"problem_code": code, "problem_field": "f", "problem_message": "unreadable"}
    verdicts = Verdicts(con, objection, METRO | objection, METRO | objection | {"distance_m": "1"})
    assert [verdicts.codes(row) for row in (1, 2, 3)] == [[code]] * 3


def test_a_message_repeats_only_the_beginning_of_a_long_value(con):
    verdicts = Verdicts(con, METRO | {"time": "x" * 5000}, METRO | {"region": "y" * 5000}, METRO | {"type": "z" * 256})
    assert all(len(line[2]) < 300 for row in (1, 2, 3) for line in verdicts.problems[row])


# -- withdrawals ----------------------------------------------------------------------------------------------


def test_a_pure_withdrawal_needs_neither_methodology_nor_start_nor_claim(con):
    verdicts = Verdicts(con, TAKEN_BACK, TAKEN_BACK | {"id": "m2", "type": "travel.metro", "region": "CN-440300"})
    for row in verdicts.accepted.values():
        assert row["withdraws"] == identity(KEY, ACTION, "shenzhen_metro", "m0")
        assert (row["plan"], row["quantified_mg"], row["claim"]) == (None, None, None)
        assert row["close_day"] == row["day"]
    assert len(verdicts.accepted) == 2
    assert verdicts.questions == []


def test_a_pure_withdrawal_stays_one_beside_reports_of_the_same_behaviour(con):
    """An invoice's count has a default: it must not turn a withdrawal into a new invoice."""
    back = {key: INVOICE[key] for key in ("source", "type", "subject", "time")} | {"id": "i2", "withdraws": "i0"}
    verdicts = Verdicts(con, INVOICE, back, METRO, TAKEN_BACK)
    assert (verdicts.accepted[2]["plan"], verdicts.accepted[2]["quantified_mg"]) == (None, None)
    assert (verdicts.accepted[2]["count"], verdicts.accepted[4]["plan"]) == (None, None)


def test_a_correction_is_quantified_like_any_report(con):
    verdicts = Verdicts(con, METRO | {"withdraws": "m0"})
    assert verdicts.accepted[1]["withdraws"] == identity(KEY, ACTION, "shenzhen_metro", "m0")
    assert verdicts.accepted[1]["quantified_mg"] > 0


def test_a_correction_with_an_unreadable_input_is_refused_and_takes_nothing_back(con):
    verdicts = Verdicts(con, METRO | {"withdraws": "m0", "distance_m": "5 km"})
    assert verdicts.codes() == ["not-a-whole-number"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"time": None}, "missing-field"),
        ({"source": "acme"}, "unknown-partner"),
        ({"withdraws": "m1"}, "withdraws-itself"),
        ({"withdraws": "x" * 300}, "field-too-long"),
        ({"type": "x" * 300, "source": "alipay"}, "field-too-long"),
        ({"region": "nowhere"}, "region-malformed"),
        ({"time": "2025-04-01T00:00:00Z"}, "time-in-future"),
    ],
)
def test_a_withdrawal_is_checked_like_any_row(con, change, code):
    assert Verdicts(con, TAKEN_BACK | change).codes() == [code]


# -- times and days -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2025-03-01T23:59:59+08:00", date(2025, 3, 1)),
        ("2025-03-01T15:59:59Z", date(2025, 3, 1)),
        ("2025-03-01T16:00:00Z", date(2025, 3, 2)),
        ("2025-03-01T23:59:59Z", date(2025, 3, 2)),
        ("2025-03-01T23:59:59.999999-11:00", date(2025, 3, 2)),
        ("2024-02-29T12:00:00+08:00", date(2024, 2, 29)),
        ("2024-02-29T16:00:00+00:00", date(2024, 3, 1)),
        ("2025-03-01t08:40:00z", date(2025, 3, 1)),
        (" 2025-03-01 08:40:00+08:00 ", date(2025, 3, 1)),
    ],
)
def test_the_day_of_an_act_is_the_programmes_own(con, time, day):
    verdicts = Verdicts(con, INVOICE | {"time": time})
    assert verdicts.accepted[1]["day"] == day
    (question,) = verdicts.questions
    assert question.day == day


@pytest.mark.parametrize("time", ["2025-02-29T08:00:00Z", "2025-03-01T25:00:00Z", "2025-03-01T08:00:00+25:00"])
def test_a_time_that_does_not_exist_is_refused_not_moved(con, time):
    assert Verdicts(con, INVOICE | {"time": time}).codes() == ["bad-time"]


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2024-03-30T22:59:59Z", date(2024, 3, 30)),  # winter: UTC+1
        ("2024-03-30T23:00:00Z", date(2024, 3, 31)),
        ("2024-03-31T21:59:59Z", date(2024, 3, 31)),  # summer: UTC+2
        ("2024-03-31T22:00:00Z", date(2024, 4, 1)),
        ("2024-10-26T21:59:59Z", date(2024, 10, 26)),
        ("2024-10-27T22:59:59Z", date(2024, 10, 27)),  # a day of 25 hours
        ("2024-10-27T23:00:00Z", date(2024, 10, 28)),
    ],
)
def test_days_of_a_zone_with_summer_time_are_cut_where_its_clocks_say(con, time, day):
    elsewhere = replace(SHENZHEN, time_zone="Europe/Paris")
    # The other rows stretch the period over both changes of the clocks.
    rows = [INVOICE | {"id": name, "time": moment} for name, moment in (("a", "2023-06-01T00:00:00Z"), ("b", time))]
    assert Verdicts(con, *rows, INVOICE, programme=elsewhere).accepted[2]["day"] == day


def test_a_clock_five_minutes_fast_is_tolerated_and_no_more(con):
    verdicts = Verdicts(
        con, INVOICE | {"time": "2025-03-10T04:05:00Z"}, INVOICE | {"time": "2025-03-10T04:05:00.000001Z"}
    )
    assert verdicts.accepted.keys() == {1}


def test_one_ancient_and_one_far_future_row_do_not_take_the_others_down(con):
    times = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2999-12-31T23:59:59Z", INVOICE["time"])
    verdicts = Verdicts(con, *(INVOICE | {"time": time} for time in times))
    assert [verdicts.codes(row) for row in (1, 2, 3, 4)] == [
        ["bad-time"],
        ["methodology-not-in-force"],
        ["time-in-future"],
        [],
    ]


# -- types of columns -----------------------------------------------------------------------------------------


def test_typed_columns_are_read_as_their_texts_would_be(con):
    ended, started = datetime(2025, 3, 1, 0, 40, tzinfo=UTC), datetime(2025, 3, 1, 0, 10, tzinfo=UTC)
    row = METRO | {"time": ended, "started_at": started, "distance_m": 12000, "id": 7}
    stamp = pa.timestamp("us", "UTC")
    types = {"time": stamp, "started_at": stamp, "distance_m": pa.int32(), "id": pa.int64()}
    typed = Verdicts(con, row, types=types).accepted[1]
    assert typed == Verdicts(con, METRO | {"id": "7"}).accepted[1]


def test_a_time_column_without_offset_is_no_time(con):
    types = {"time": pa.timestamp("us")}
    assert Verdicts(con, METRO | {"time": datetime(2025, 3, 1, 8)}, types=types).codes() == ["bad-time"]  # noqa: DTZ001


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        (12000.0, []),
        (12000.5, ["not-a-whole-number"]),
        (1e300, ["not-a-whole-number"]),
        (float("nan"), ["not-a-whole-number"]),
    ],
)
def test_a_column_of_floats_counts_only_where_it_holds_whole_numbers(con, value, codes):
    verdicts = Verdicts(con, METRO | {"distance_m": value}, types={"distance_m": pa.float64()})
    assert verdicts.codes() == codes
    assert [row["distance_m"] for row in verdicts.accepted.values()] == ([] if codes else [12000])


def test_an_empty_submission_has_no_rows_and_no_problems(con):
    verdicts = Verdicts(con)
    assert (verdicts.accepted, verdicts.problems) == ({}, {})


def test_each_question_is_asked_once_however_many_rows_ask_it(con):
    verdicts = Verdicts(con, *(METRO | {"id": str(n)} for n in range(50)), METRO | {"region": None}, BUS)
    assert len(verdicts.questions) == 2  # the programme's region is the default


def test_inputs_are_the_closed_list(con):
    (row,) = Verdicts(con, METRO).accepted.values()
    assert set(INPUT_NAMES) <= row.keys()
