"""Benefits for points: tokens, discounts, limits, what is given back, who may have them; on both databases."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet

from tanzhang.core.access import Actor, Role
from tanzhang.core.errors import TanzhangError
from tanzhang.service.benefit_tokens import expire_tokens, public_keys, token_of, use_token
from tanzhang.service.benefits import buy, load_benefits, offers, uses
from tanzhang.service.check_benefits import check_benefits
from tanzhang.service.intake import intake
from tanzhang.service.privacy import about
from tanzhang.stores.home import Home
from tanzhang.stores.register.benefits import Benefits, benefit_use

from ..homes import account, box, grant_points, on, settle_on, write

UNIT = "points:beijing_carbon_energy"
OPERATOR = Actor(Role.OPERATOR, "root", "command line")
HEAD = "format: tanzhang.benefits/1\nbenefits:\n"
COMMON = """
    title: Example
    title_zh: 示例
    text: An example of ours.
    text_zh: 本平台示例。
    points: beijing_carbon_energy
    open: {from: 2025-06-01, until: 2025-07-01}
    source: none, an example
    status: example
"""
QUEUE = f"""
  called_earlier:
    kind: queue_priority{COMMON}    price_points: 20
    partner: cainiao
    token: {{lasts_s: 900, unused: refunded}}
    limits: {{per_person_day: 2, per_day: 3}}
"""
DISCOUNT = f"""
  ten_percent:
    kind: discount{COMMON}    price_points: 10
    partner: amap
    token: {{lasts_s: 86400, unused: lost}}
    percent: 10
    needs: {{reduction_mg: "37000"}}
"""
ANNA, BO = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)


def load(home: Home, tmp_path: Path, *offered: str) -> dict[str, Any]:
    path = tmp_path / "benefits.yaml"
    path.write_text(HEAD + "".join(offered), encoding="utf-8")
    return load_benefits(home, path, actor=OPERATOR, now=on(2))


def grant(home: Home, own: uuid.UUID, points: int, last: str = "2025-12-31") -> None:
    grant_points(home, UNIT, own, amount=points, last=last, first="2025-01-01")


def points_of(home: Home, own: uuid.UUID, day: int = 8) -> int:
    return home.points.usable(UNIT, own, date(2025, 6, day))


def code_of(error: pytest.ExceptionInfo[TanzhangError]) -> str:
    return error.value.code


def test_a_token_is_bought_once_shown_and_taken_once(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE)
    grant(home, ANNA, 100)
    row = buy(home, ANNA, "called_earlier", "r-1", now=on(8))
    assert buy(home, ANNA, "called_earlier", "r-1", now=on(8)).id == row.id
    assert points_of(home, ANNA) == 80
    token = token_of(home, row)["token"]
    with pytest.raises(TanzhangError, match="token-unknown"):
        use_token(home, "amap", token, None, now=on(8))
    taken = use_token(home, "cainiao", token, "table-7", now=on(8))
    assert (taken["kind"], taken["benefit"]) == ("queue_priority", "called_earlier")
    assert use_token(home, "cainiao", token, "table-7", now=on(8)) == taken
    for again in ("table-8", None):
        with pytest.raises(TanzhangError, match="token-used"):
            use_token(home, "cainiao", token, again, now=on(8))
    assert expire_tokens(home, now=on(9)) == 0
    assert check_benefits(home) == (1, [])


def test_a_token_verifies_offline_by_the_public_key_of_its_partner_and_names_nobody(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE, DISCOUNT.replace('needs: {reduction_mg: "37000"}', ""))
    grant(home, ANNA, 100)
    token = token_of(home, buy(home, ANNA, "ten_percent", "r-1", now=on(8)))["token"]
    keys = public_keys(home)
    assert [key["aud"] for key in keys["keys"]] == ["amap", "cainiao"]
    assert not any("d" in key for key in keys["keys"])
    said = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["Ed25519"])  # type: ignore[arg-type]
    assert (said.claims["aud"], said.claims["percent"], said.claims["kind"]) == ("amap", 10, "discount")
    assert said.claims["exp"] - said.claims["iat"] == 86_400
    assert str(ANNA) not in str(said.claims)
    head, body, signature = token.split(".")
    with pytest.raises(TanzhangError, match="token-unknown"):
        use_token(home, "amap", f"{head}.{body}.{signature[::-1]}", None, now=on(8))
    for broken in ("", "a.b.c", "x" * 100):
        with pytest.raises(TanzhangError, match="token-unknown"):
            use_token(home, "amap", broken, None, now=on(8))


def test_points_of_a_token_that_nobody_used_go_back_or_not_as_the_benefit_says(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE, DISCOUNT.replace('needs: {reduction_mg: "37000"}', ""))
    grant(home, ANNA, 100)
    token = token_of(home, buy(home, ANNA, "called_earlier", "r-1", now=on(8)))["token"]
    buy(home, ANNA, "ten_percent", "r-2", now=on(8))
    with pytest.raises(TanzhangError, match="token-expired"):
        use_token(home, "cainiao", token, None, now=on(8, 3))
    assert expire_tokens(home, now=on(8, 3)) == 1
    assert points_of(home, ANNA) == 90
    with pytest.raises(TanzhangError, match="token-expired"):
        use_token(home, "cainiao", token, None, now=on(8))
    assert expire_tokens(home, now=on(10)) == 1
    assert expire_tokens(home, now=on(10)) == 0
    assert points_of(home, ANNA) == 90
    assert [each["state"] for each in uses(home, ANNA)] == ["expired", "refunded"]
    assert check_benefits(home) == (2, [])


def test_points_that_ended_meanwhile_come_back_for_the_days_that_their_programme_says(
    home: Home, tmp_path: Path
) -> None:
    load(home, tmp_path, QUEUE)
    grant(home, ANNA, 20, last="2025-06-08")
    buy(home, ANNA, "called_earlier", "r-1", now=on(8))
    expire_tokens(home, now=on(10))
    assert home.points.usable(UNIT, ANNA, date(2025, 7, 10)) == 20  # 30 days
    assert home.points.usable(UNIT, ANNA, date(2025, 7, 11)) == 0


def test_limits_count_what_was_not_given_back_by_person_day_and_in_all(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE)
    for own in (ANNA, BO):
        grant(home, own, 100)

    def asked(own: uuid.UUID, reference: str, day: int = 8) -> str:
        try:
            return str(buy(home, own, "called_earlier", reference, now=on(day)).state)
        except TanzhangError as error:
            return error.code

    assert [asked(ANNA, f"r-{n}") for n in range(3)] == ["issued", "issued", "benefit-limit"]
    assert [asked(BO, f"r-{n}") for n in range(2)] == ["issued", "benefit-limit"]
    assert expire_tokens(home, now=on(8, 3)) == 3
    assert asked(BO, "r-2") == "issued"
    assert asked(BO, "r-3", day=9) == "issued"
    assert (points_of(home, ANNA), points_of(home, BO)) == (100, 60)


def test_who_may_have_it_when_and_for_what_is_checked_before_points_go(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE, DISCOUNT)
    own = account(home, "cainiao", "anna")
    grant(home, own, 15)
    for name, more, code in (
        ("nothing", {}, "unknown-benefit"),
        ("called_earlier", {}, "points-short"),
        ("called_earlier", {"points": 20}, "benefit-asked-wrongly"),
        ("called_earlier", {"payee": "6222-0001"}, "benefit-asked-wrongly"),
        ("called_earlier", {"now": on(30, 16)}, "benefit-closed"),
        ("ten_percent", {}, "benefit-needs"),
    ):
        given_more: Mapping[str, Any] = {"now": on(8), **more}
        with pytest.raises(TanzhangError) as error:
            buy(home, own, name, "r", **given_more)
        assert code_of(error) == code
    intake(home, write(tmp_path / "one.ndjson", [box("b")]), now=on(6))
    settle_on(home, 7)
    buy(home, own, "ten_percent", "r", now=on(8))
    with pytest.raises(TanzhangError, match="reference-taken"):
        buy(home, own, "called_earlier", "r", now=on(8))
    assert points_of(home, own) == 5


def test_every_mistake_of_a_file_is_said_and_nothing_of_it_is_kept(home: Home, tmp_path: Path) -> None:
    packet = f"""
  packet:
    kind: red_packet{COMMON}    adapter: bank_file
    rates:
      - {{from: 2025-06-01, until: 2025-06-20, points: 10, gets: 1}}
      - {{from: 2025-06-10, points: 10, gets: 2, budget: "5"}}
"""
    bank = f"""
  bank:
    kind: bank_points{COMMON}    bank: {{id: b, url: "http://10.0.0.1/", signature: ed25519}}
    rates: []
"""
    wrong = (
        QUEUE.replace("cainiao", "nobody"),
        DISCOUNT.replace("percent: 10", "percent: 10\n    amount_fen: 5").replace("07-01", "06-01"),
        packet,
        bank,
        "  other:\n    kind: miles\n",
        QUEUE.replace("called_earlier", "later").replace("points: beijing_carbon_energy", "points: others"),
    )
    with pytest.raises(TanzhangError) as error:
        load(home, tmp_path, *wrong)
    assert [each.code for each in error.value.problems] == [
        "unknown-partner",
        *["benefit-malformed"] * 2,
        *["benefit-malformed"] * 2,
        "url-refused",
        *["benefit-malformed"] * 2,
        "unknown-points-programme",
    ]
    assert all(each.where.startswith("benefits.yaml:") for each in error.value.problems)
    assert offers(home) == []
    load(home, tmp_path, QUEUE)
    assert load(home, tmp_path, QUEUE)["benefits"] == {"called_earlier": 1}
    assert load(home, tmp_path, QUEUE.replace("points: 20", "points: 25"))["benefits"] == {"called_earlier": 2}
    assert [row.act for row in home.audit.page(None, 9)] == ["benefit said"] * 2


def test_buyers_at_once_get_no_more_than_there_is(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE.replace("per_person_day: 2, per_day: 3", "in_all: 5"))
    people = [uuid.UUID(int=n << 100) for n in range(1, 9)]
    for own in people:
        grant(home, own, 40)
    codes: list[str] = []

    def ask(own: uuid.UUID) -> None:
        for reference in ("a", "b"):
            try:
                codes.append(buy(Home(home.folder), own, "called_earlier", reference, now=on(8)).state)
            except TanzhangError as error:
                codes.append(error.code)

    threads = [threading.Thread(target=ask, args=(own,)) for own in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [*["benefit-limit"] * 11, *["issued"] * 5]
    assert sum(points_of(home, own) for own in people) == 8 * 40 - 5 * 20
    assert check_benefits(home) == (5, [])


def test_what_is_wrong_with_uses_is_found(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE)
    grant(home, ANNA, 100)
    buy(home, ANNA, "called_earlier", "r-1", now=on(8))
    assert [each["benefit"] for each in about(home, str(ANNA))["benefits"]] == ["called_earlier"]
    for change in (
        benefit_use.update().values(points=1),
        benefit_use.update().values(points=20, state="refunded"),
        benefit_use.update().values(state="paid"),
        benefit_use.delete(),
    ):
        with home.book.transaction() as con:
            con.execute(change)
        assert {each.code for each in check_benefits(home)[1]} == {"benefit-mismatch"}


def test_what_was_used_by_somebody_who_is_erased_says_no_more_whose_it_was(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path, QUEUE)
    grant(home, ANNA, 100)
    buy(home, ANNA, "called_earlier", "r-1", now=on(8))
    register = Benefits(home.book)
    with home.book.transaction() as con:
        assert register.forget(con, [str(ANNA), str(BO)]) == 1
    assert str(ANNA) not in str(register.uses())
    assert not register.has_of([str(ANNA)])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["buy", "take", "end"]), st.integers(0, 4)), max_size=10))
def test_no_sequence_of_buying_taking_and_ending_makes_points_from_nothing(
    home: Home, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    if not home.benefits.said.all():
        load(home, tmp_path, QUEUE.replace("per_person_day: 2, per_day: 3", ""))
    own = uuid.uuid4()  # the home is the same for all examples
    grant(home, own, 60)
    held: dict[int, Any] = {}
    used = 0
    for what, number in steps:
        if what == "buy" and number not in held and points_of(home, own) >= 20:
            held[number] = buy(home, own, "called_earlier", f"r-{number}", now=on(8))
        elif what == "buy" and number not in held:
            with pytest.raises(TanzhangError, match="points-short"):
                buy(home, own, "called_earlier", f"r-{number}", now=on(8))
        elif what == "take" and number in held and home.benefits.use(held[number].id).state == "issued":
            use_token(home, "cainiao", token_of(home, held[number])["token"], None, now=on(8))
            used += 20
        elif what == "end":
            expire_tokens(home, now=on(9))
        open_points = sum(20 for row in held.values() if home.benefits.use(row.id).state == "issued")
        assert points_of(home, own) + open_points + used == 60
    assert check_benefits(home)[1] == []
