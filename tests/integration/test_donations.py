"""Gifts of grams and of points: booked once, counted once, proved, kept through withdrawals, joinings and erasing."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.access import Actor, Role
from tanzhang.core.claim import ACTION, identity
from tanzhang.core.donation import DONATED
from tanzhang.core.errors import TanzhangError
from tanzhang.service.check_donations import check_donations
from tanzhang.service.check_transfers import check_transfers
from tanzhang.service.donations import (
    allocation,
    check_receipt,
    donate,
    gifts,
    load_projects,
    project_page,
    projects,
    receipt,
)
from tanzhang.service.epoch import check, close, prove
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.links import link_child
from tanzhang.service.market.holdings import record_states
from tanzhang.service.own import overview
from tanzhang.service.parting import part
from tanzhang.service.privacy import about
from tanzhang.service.reading import Reader
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.book import transfer
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.home import Home
from tanzhang.stores.register.donations import donation, donation_total

from ..homes import BOX_MG, account, assert_verified, box, grant_points, on, settle_on, withdrawal, write

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
FILE = """
format: tanzhang.donation-projects/1
projects:
  forest:
    title: A wood on the hill
    title_zh: 山上的树林
    text: Trees for a slope that slid. An example of ours.
    text_zh: 为滑坡地植树。本平台示例。
    recipient: Hill Trust (invented)
    takes: [grams, points]
    points: beijing_carbon_energy
    open: {from: 2025-06-01, until: 2025-07-01}
    target: {grams_mg: "1000000"}
    source: none, an example
    status: example
"""


def set_up(home: Home, tmp_path: Path, boxes: int = 3, subject: str = "anna") -> uuid.UUID:
    """Somebody with some boxes of 37 g, and a project."""
    (tmp_path / "projects.yaml").write_text(FILE, encoding="utf-8")
    load_projects(home, tmp_path / "projects.yaml", actor=OPERATOR, now=on(2))
    report(home, tmp_path, *(box(f"{subject}-{n}", subject) for n in range(boxes)), day=7)
    return account(home, "cainiao", subject)


def report(home: Home, tmp_path: Path, *events: Any, day: int) -> None:
    intake(home, write(tmp_path / f"{uuid.uuid4()}.ndjson", events), now=on(day))
    settle_on(home, day + 1)


def give(home: Home, own: uuid.UUID, mg: int, reference: str = "g-1", day: int = 8) -> dict[str, Any]:
    return donate(home, own, "forest", reference, grams_mg=mg, now=on(day))


def available(home: Home, own: uuid.UUID) -> int:
    return int(overview(Reader(home), own, now=on(9))["available_mg"])


def test_grams_are_given_once_for_good_and_stay_what_the_acts_came_to(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    first = give(home, own, 50_000)
    assert give(home, own, 50_000) == first
    with pytest.raises(TanzhangError, match="reference-taken"):
        give(home, own, 50_001)
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, own, 3 * BOX_MG - 50_000 + 1, "g-2")
    said = overview(Reader(home), own, now=on(9))
    assert (said["held"]["co2e_mg"], said["donated_mg"]) == (str(3 * BOX_MG), "50000")
    assert available(home, own) == 3 * BOX_MG - 50_000
    statement = Reader(home).statement(own)
    assert statement["confirmed"]["reduction_mg"] == str(3 * BOX_MG)
    assert statement["donated"] == {"reduction_mg": "50000"}
    assert project_page(home, "forest")["given"] == {"grams_mg": "50000", "points": "0"}
    assert_verified(home)


def test_a_project_takes_what_it_says_on_its_days_and_gifts_are_more_than_nothing(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    for wrong, code in (
        ({"project": "sea", "grams_mg": 1}, "unknown-project"),
        ({"grams_mg": 1, "now": on(30, 16)}, "project-closed"),
        ({"grams_mg": 0}, "gift-malformed"),
        ({"grams_mg": 1, "points": 1}, "gift-malformed"),
        ({}, "gift-malformed"),
        ({"points": 1}, "points-short"),
    ):
        with pytest.raises(TanzhangError, match=code):
            donate(home, own, **{"project": "forest", "reference": "g", "now": on(8), **wrong})  # type: ignore[arg-type]
    assert home.donations.rows() == []


def test_every_mistake_of_a_file_of_projects_is_said_and_nothing_of_it_is_kept(home: Home, tmp_path: Path) -> None:
    wrong = FILE.replace("takes: [grams, points]", "takes: [money]")
    wrong += "  Bad Name:\n    title: x\n" + FILE.split("projects:")[1].replace("forest", "hill").replace(
        "07-01", "05-01"
    )
    (tmp_path / "wrong.yaml").write_text(wrong, encoding="utf-8")
    with pytest.raises(TanzhangError) as error:
        load_projects(home, tmp_path / "wrong.yaml", actor=OPERATOR, now=on(2))
    assert [each.code for each in error.value.problems] == ["project-malformed"] * 3
    assert projects(home) == []


def test_a_project_said_the_same_again_keeps_its_version(home: Home, tmp_path: Path) -> None:
    set_up(home, tmp_path, 1)
    path = tmp_path / "projects.yaml"
    assert load_projects(home, path, actor=OPERATOR, now=on(3))["projects"] == {"forest": 1}
    path.write_text(FILE.replace("A wood", "The wood"), encoding="utf-8")
    assert load_projects(home, path, actor=OPERATOR, now=on(3))["projects"] == {"forest": 2}
    assert [row.act for row in home.audit.page(None, 10)] == ["donation project said"] * 2


def test_points_are_given_too_and_cannot_be_spent_again(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path, 1)
    unit = "points:beijing_carbon_energy"
    grant_points(home, unit, own, amount=50, last="2025-12-31", first="2025-01-01")
    donate(home, own, "forest", "p-1", points=30, now=on(8))
    donate(home, own, "forest", "p-1", points=30, now=on(8))
    assert home.points.usable(unit, own, date(2025, 6, 8)) == 20
    assert project_page(home, "forest")["given"] == {"grams_mg": "0", "points": "30"}
    assert [each["points"] for each in gifts(home, own)] == ["30"]


def test_a_gift_is_proved_offline_once_the_log_commits_to_it(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    made = [give(home, own, 1_000 * n, f"g-{n}") for n in (1, 2, 3)]
    with pytest.raises(TanzhangError, match="not-sealed"):
        receipt(home, own, made[1]["id"])
    close(home, now=on(9))
    proof = receipt(home, own, made[1]["id"])
    said = check_receipt(proof, home.values["vkey"])
    assert (said["project"], said["amount"], said["unit"]) == ("forest", "2000", DONATED)
    assert str(own) not in str(said)
    page = project_page(home, "forest")
    assert [(each["entry"], each["grams_mg"], each["gifts"]) for each in page["sealed"]] == [
        (said["entry"], "6000", "3")
    ]
    give(home, own, 4_000, "g-4", day=9)
    report(home, tmp_path, box("late"), day=10)
    assert project_page(home, "forest")["sealed"][0]["grams_mg"] == "10000"
    assert check_receipt(receipt(home, own, gifts(home, own)[0]["id"]), home.values["vkey"])["amount"] == "4000"
    with pytest.raises(TanzhangError, match="not-found"):
        receipt(home, account(home, "cainiao", "bo"), made[1]["id"])
    with pytest.raises(TanzhangError, match="donation-proof-malformed"):
        check_receipt(
            create_receipt(home, identity(home.identity_key, ACTION, "cainiao", "anna-0")), home.values["vkey"]
        )
    assert_verified(home)


def test_how_many_gave_is_hidden_while_they_are_few(home: Home, tmp_path: Path) -> None:
    least = home.programme.disclosure.least_accounts_in_cell
    set_up(home, tmp_path, 1)
    names = [f"p{n}" for n in range(least)]
    report(home, tmp_path, *(box(f"b-{name}", name) for name in names), day=8)
    for name in names[1:]:
        give(home, account(home, "cainiao", name), 10, day=9)
        give(home, account(home, "cainiao", name), 10, "again", day=9)
    assert project_page(home, "forest")["givers"] is None
    give(home, account(home, "cainiao", names[0]), 10, day=9)
    assert project_page(home, "forest")["givers"] == str(least)


def test_an_act_that_is_taken_back_later_leaves_the_gift_and_a_debt_that_acts_make_up_for(
    home: Home, tmp_path: Path
) -> None:
    own = set_up(home, tmp_path, 2)
    made = give(home, own, 2 * BOX_MG)
    report(home, tmp_path, withdrawal(box("anna-0"), "w"), day=9)
    assert available(home, own) == -BOX_MG
    assert project_page(home, "forest")["given"]["grams_mg"] == str(2 * BOX_MG)
    (said,) = allocation(Reader(home), own)["gifts"]
    assert (said["gift"], said["owed_mg"], len(said["records"])) == (made["id"], str(BOX_MG), 1)
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, own, 1, "g-2", day=10)
    day = close(home, now=on(12))  # no share is below zero
    assert day["trees"]["co2e_mg"]["total"] == str(BOX_MG)
    report(home, tmp_path, box("again"), box("more"), day=12)
    assert available(home, own) == BOX_MG
    (said,) = allocation(Reader(home), own)["gifts"]
    assert (said["owed_mg"], sum(int(each["mg"]) for each in said["records"])) == ("0", 2 * BOX_MG)
    assert_verified(home)


def test_given_grams_are_counted_once_in_the_share_of_whose_acts_they_are(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    report(home, tmp_path, *(box(f"o-{n}", f"o{n}") for n in range(300)), day=8)
    give(home, own, 60_000, day=9)
    closed = close(home, now=on(10))
    assert closed["trees"]["co2e_mg"]["total"] == str(303 * BOX_MG)
    assert check(prove(home, own), home.values["vkey"])["shares"]["co2e_mg"]["amount"] == str(3 * BOX_MG)
    assert_verified(home)


def test_what_was_given_goes_along_when_accounts_are_joined_and_comes_back_when_they_part(
    home: Home, tmp_path: Path
) -> None:
    own = set_up(home, tmp_path, 3)
    report(home, tmp_path, box("bo-1", "bo"), day=8)
    bo = account(home, "cainiao", "bo")
    give(home, own, 2 * BOX_MG, day=9)
    joined = join(home, own, bo, since=date(2025, 6, 9), now=on(9))
    assert (available(home, own), available(home, bo)) == (0, 2 * BOX_MG)
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, own, 1, "g-2", day=9)
    give(home, bo, 2 * BOX_MG, "g-3", day=9)
    assert sum(len(each["records"]) for each in allocation(Reader(home), bo)["gifts"]) == 4
    report(home, tmp_path, *(withdrawal(box(f"anna-{n}"), f"w{n}") for n in range(3)), day=10)
    assert available(home, bo) == -3 * BOX_MG
    close(home, now=on(12))
    assert_verified(home)
    part(home, joined["id"], now=on(12))
    assert (available(home, own), available(home, bo)) == (-2 * BOX_MG, -BOX_MG)
    close(home, now=on(13))
    assert_verified(home)


def test_what_was_given_of_brought_grams_goes_along_as_given_when_they_part(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path, 3)
    report(home, tmp_path, *(box(f"bo-{n}", "bo") for n in range(2)), box("cy-1", "cy"), day=8)
    bo, cy = account(home, "cainiao", "bo"), account(home, "cainiao", "cy")
    joined = join(home, own, bo, since=date(2025, 6, 9), now=on(9))
    give(home, bo, 4 * BOX_MG, day=9)
    part(home, joined["id"], now=on(10))
    assert (available(home, own), available(home, bo)) == (BOX_MG, 0)
    assert home.book.balance(own) == {"co2e_mg": 3 * BOX_MG, DONATED: -2 * BOX_MG}
    assert home.book.balance(bo) == {"co2e_mg": 2 * BOX_MG, DONATED: -2 * BOX_MG}
    (along,) = allocation(Reader(home), own)["gifts"]
    assert along["gift"].startswith("before-parting-")
    assert sum(int(each["mg"]) for each in along["records"]) == 2 * BOX_MG
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, own, BOX_MG + 1, "g-2", day=10)
    assert record_states(Reader(home), own)["totals"]["used_mg"] == str(2 * BOX_MG)
    assert record_states(Reader(home), bo)["totals"]["used_mg"] == str(2 * BOX_MG)
    assert_verified(home)

    again = join(home, own, bo, since=date(2025, 6, 11), now=on(11))
    assert available(home, bo) == BOX_MG
    (whole,) = allocation(Reader(home), bo)["gifts"]
    assert sum(int(each["mg"]) for each in whole["records"]) == 4 * BOX_MG
    join(home, bo, cy, since=date(2025, 6, 11), now=on(11))
    give(home, cy, 2 * BOX_MG, "g-3", day=11)
    assert available(home, cy) == 0
    part(home, again["id"], now=on(12))
    assert (available(home, own), available(home, cy)) == (0, 0)
    assert_verified(home)
    close(home, now=on(13))
    assert_verified(home)


def test_what_an_erased_account_gave_of_what_others_brought_stays_given(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path, 3)
    report(home, tmp_path, box("bo-1", "bo"), day=8)
    person, other = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)
    link_child(home, own, other, valid_from=date(2025, 5, 1), valid_until=date(2025, 5, 9), now=on(9))
    join(home, own, person, since=date(2025, 6, 9), now=on(9))
    join(home, account(home, "cainiao", "bo"), person, since=date(2025, 6, 9), now=on(9))
    give(home, person, 3 * BOX_MG, day=9)
    erase(home, [person], now=on(10))  # an account that was also another one's once stays
    assert available(home, own) == BOX_MG
    assert home.book.balance(own) == {"co2e_mg": 3 * BOX_MG, DONATED: -2 * BOX_MG}
    assert str(person) not in str(home.joinings.uses()) + str(home.book.query(sa.select(transfer)))
    assert_verified(home)
    erase(home, [other, own], now=on(11))
    assert home.joinings.uses() == []
    assert_verified(home)


def test_an_erased_giver_leaves_totals_and_proofs(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    made = give(home, own, 50_000)
    close(home, now=on(9))
    proof = receipt(home, own, made["id"])
    assert [each["id"] for each in about(home, str(own))["donations"]] == [made["id"]]
    erase(home, [own], now=on(10))
    assert about(home, str(own))["donations"] == []
    assert str(own) not in str(home.donations.rows()) + str(home.book.query(sa.select(transfer)))
    assert project_page(home, "forest")["given"]["grams_mg"] == "50000"
    assert check_receipt(proof, home.values["vkey"])["amount"] == "50000"
    report(home, tmp_path, box("later", "bo"), day=11)
    assert_verified(home)


def test_a_gift_that_was_changed_is_found(home: Home, tmp_path: Path) -> None:
    own = set_up(home, tmp_path)
    give(home, own, 50_000)
    close(home, now=on(9))
    for what, code in (
        (donation.update().values(account=str(uuid.UUID(int=5))), "transfer-mismatch"),
        (donation.update().values(amount=1, account=str(own)), "donation-mismatch"),
        (donation.update().values(project="sea", amount=50_000), "donation-mismatch"),
        (donation.update().values(project="forest"), None),
        (donation_total.update().values(givers=2), "donation-mismatch"),
        (donation_total.update().values(givers=1), None),
        (donation_total.delete(), "donation-mismatch"),
        (donation.delete(), "donation-mismatch"),
    ):
        with home.book.transaction() as con:
            con.execute(what)
        found = [*check_transfers(home, check_chains(home.book)[2])[1], *check_donations(home)[1]]
        assert (code in {each.code for each in found}) if code else found == []


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["act", "take back", "give"]), st.integers(1, 90_000)), min_size=3, max_size=5
    )
)
def test_whatever_is_given_and_taken_back_each_gram_is_given_at_most_once(
    home: Home, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    if home.donations.said.one("forest") is None:
        set_up(home, tmp_path, 0)
    name = uuid.uuid4().hex  # the home is the same for all examples
    own, acts, given_mg = account(home, "cainiao", name), list[str](), 0
    for number, (what, amount) in enumerate(steps):
        if what == "act":
            acts.append(f"{name}-{number}")
            report(home, tmp_path, box(acts[-1], name), day=7)
        elif what == "take back" and acts:
            report(home, tmp_path, withdrawal(box(acts[-1], name), f"w-{acts.pop()}"), day=7)
        elif what == "give" and amount <= len(acts) * BOX_MG - given_mg:
            given_mg += amount
            give(home, own, amount, f"g-{number}")
        elif what == "give":
            with pytest.raises(TanzhangError, match="grams-short"):
                give(home, own, amount, f"g-{number}")
    held = home.book.balance(own)
    assert (held.get("co2e_mg", 0), -held.get(DONATED, 0)) == (len(acts) * BOX_MG, given_mg)
    total = sa.select(sa.func.sum(transfer.c.amount))
    assert home.book.query(total)[0][0] in (None, 0)
    if given_mg:
        said = allocation(Reader(home), own)["gifts"]
        placed = sum(int(part["mg"]) for each in said for part in each["records"])
        assert placed + sum(int(each["owed_mg"]) for each in said) == given_mg
