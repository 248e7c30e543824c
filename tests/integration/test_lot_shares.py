"""Whose milligrams are in a lot: proofs of shares, states of records, gifts, joinings and erasing beside lots."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tanzhang.core.claim import ACTION, identity
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotState
from tanzhang.core.units import TERMINAL, Pick, State
from tanzhang.service.donations import allocated, donate, load_projects
from tanzhang.service.erase import erase
from tanzhang.service.joining import join
from tanzhang.service.market import lots as service
from tanzhang.service.market.authorise import authorisations, revoke
from tanzhang.service.market.available import available_mg
from tanzhang.service.market.check_lots import check_lots
from tanzhang.service.market.compensated import taken_back_members
from tanzhang.service.market.holdings import record_states
from tanzhang.service.market.issue import issue
from tanzhang.service.market.lots import dissolve, freeze
from tanzhang.service.market.share import check_share, share_proof
from tanzhang.service.own import overview
from tanzhang.service.parting import part
from tanzhang.service.privacy import about
from tanzhang.service.reading import Reader
from tanzhang.service.receipt import create_receipt
from tanzhang.stores.home import Home
from tanzhang.stores.lot_files import read_members
from tanzhang.stores.register.lots import lot

from ..homes import BOX_MG, account, assert_verified, box, market_home, on, withdrawal
from ..lots import LATER, UNIT_MG, drafted, entrusted, frozen, report
from ..trading import OPERATOR

PROJECTS = """
format: tanzhang.donation-projects/1
projects:
  forest:
    title: A wood on the hill
    title_zh: 山上的树林
    text: An example of ours.
    text_zh: 本平台示例。
    recipient: Hill Trust (invented)
    takes: [grams]
    open: {from: 2025-06-01, until: null}
    source: none, an example
    status: example
"""


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    """A new home with market rules and a project, its book on either database."""
    made = market_home(quick / "home", book=place("tests"))
    (quick / "projects.yaml").write_text(PROJECTS, encoding="utf-8")
    load_projects(made, quick / "projects.yaml", actor=OPERATOR, now=on(1))
    return made


def boxes(name: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    return [box(f"{name}-{number}", name) for number in range(first, first + count)]


def of(home: Home, name: str) -> uuid.UUID:
    return account(home, "cainiao", name)


def action(home: Home, reference: str) -> uuid.UUID:
    return identity(home.identity_key, ACTION, "cainiao", reference)


def give(home: Home, own: uuid.UUID, mg: int, reference: str = "g-1") -> None:
    donate(home, own, "forest", reference, grams_mg=mg, now=on(20))


def states(home: Home, own: uuid.UUID) -> dict[str, int]:
    said = record_states(Reader(home), own)
    for each in said["records"]:
        parts = [int(each[f"{name}_mg"]) for name in ("confirmed", "reserved", "issued", "used", "reversed")]
        assert min(parts) >= 0
        assert sum(parts) == int(each["granted_mg"])
    return {name.removesuffix("_mg"): int(mg) for name, mg in said["totals"].items()}


def advance(home: Home, number: int, *to: LotState) -> None:
    for state in to:
        with home.book.transaction() as con:
            home.lots.advance(con, number, state, detail={}, actor=OPERATOR, at="2026-01-20T00:00:00+00:00")


# -- proofs -----------------------------------------------------------------------------------------------------


def test_a_share_is_proved_offline_with_what_comes_before_it_and_fits_its_receipt(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 40), *boxes("bo", 300)])
    entrusted(home, of(home, "anna"), of(home, "bo"))
    number = frozen(home)
    _, amounts = read_members(home.storage, home.lots.one(number))
    proved = {}
    for reference in ("anna-0", "anna-39", "bo-0", "bo-150"):
        own = of(home, reference.split("-")[0])
        data = share_proof(home, own, action(home, reference), number)
        said = check_share(data, home.values["vkey"], create_receipt(home, action(home, reference)))
        proved[reference] = (int(said["before_mg"]), int(said["amount_mg"]))
        assert str(own) not in data.decode()
    assert all(mg == BOX_MG and before % BOX_MG == 0 and before < amounts.sum() for before, mg in proved.values())
    assert len({before for before, _ in proved.values()}) == 4
    with pytest.raises(TanzhangError, match="of two records"):
        check_share(
            share_proof(home, of(home, "bo"), action(home, "bo-0"), number),
            home.values["vkey"],
            create_receipt(home, action(home, "bo-1")),
        )
    with pytest.raises(TanzhangError, match="not-in-lot"):
        share_proof(home, of(home, "bo"), action(home, "anna-0"), number)
    with pytest.raises(TanzhangError, match="lot-proof-malformed"):
        check_share(create_receipt(home, action(home, "anna-0")), home.values["vkey"])


def test_a_proof_with_a_changed_amount_or_entry_is_refused(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    entrusted(home, of(home, "anna"))
    number = frozen(home)
    from tanzhang.core.lot import Evidence
    from tanzhang.core.tlog_proof import TlogProof

    proof = TlogProof.parse(share_proof(home, of(home, "anna"), action(home, "anna-3"), number))
    extra = proof.extra or b""
    assert Evidence.parse(extra).share.amount_mg == BOX_MG
    for changed, code in (
        (extra.replace(b'"37000"', b'"38000"', 1), "sum-proof-invalid"),
        (extra.replace(b'\\"vintage\\":\\"2025\\"', b'\\"vintage\\":\\"2024\\"'), "inclusion-proof-invalid"),
    ):
        assert changed != extra
        with pytest.raises(TanzhangError, match=code):
            check_share(TlogProof(proof.index, proof.path, proof.checkpoint, changed).to_bytes(), home.values["vkey"])


# -- states -----------------------------------------------------------------------------------------------------


def test_every_milligram_of_a_record_is_in_one_state_from_the_lot_to_its_rejection(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    own = of(home, "anna")
    entrusted(home, own)
    give(home, own, 100_000)
    number = frozen(home, units="1")
    everything = 60 * BOX_MG
    assert states(home, own) == {
        "granted": everything, "confirmed": everything - UNIT_MG - 100_000, "reserved": UNIT_MG, "issued": 0,
        "used": 100_000, "reversed": 0,
    }  # fmt: skip
    advance(home, number, LotState.IN_VERIFICATION, LotState.REJECTED)
    assert states(home, own)["reserved"] == 0
    assert states(home, own)["confirmed"] == everything - 100_000
    assert check_lots(home)[1] == []  # others ask for the verification that was left out here


def test_what_was_taken_back_of_a_frozen_lot_is_reversed_and_nothing_else_changes(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    own = of(home, "anna")
    entrusted(home, own)
    number = frozen(home)
    before = states(home, own)
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(60)], day=9)
    after = states(home, own)
    assert (before["reserved"], after["reserved"]) == (2 * UNIT_MG, 0)
    assert after["reversed"] == after["granted"] == 60 * BOX_MG
    assert home.lots.share_of([own]) == {number: 2 * UNIT_MG}
    assert_verified(home)


def test_units_that_are_retired_or_cancelled_are_used_of_all_members_exactly(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 60), *boxes("bo", 60)])
    people = [of(home, "anna"), of(home, "bo")]
    entrusted(home, *people)
    number = frozen(home)
    advance(home, number, LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED)
    issue(home, number, reference="i-1", actor=OPERATOR, now=LATER)

    def ended() -> int:
        blocks = home.units.blocks(lot=number)
        return sum(each.hi - each.lo for each in blocks if each.state in TERMINAL) * UNIT_MG

    def together() -> dict[str, int]:
        found = [states(home, own) for own in people]
        return {name: sum(each[name] for each in found) for name in found[0]}

    before = together()
    assert 0 < ended() < 4 * UNIT_MG  # a levy is cancelled as the lot is issued
    assert (before["used"], before["issued"], before["reserved"]) == (ended(), 4 * UNIT_MG - ended(), 0)
    (held, *_) = home.units.blocks(holder="programme", lot=number, states=[State.HELD])
    with home.book.transaction() as con:
        home.units.retire(
            con, "programme", [Pick(number, held.lo, held.lo + 1)], "r-1", {}, "2026-02-01T00:00:00+00:00"
        )
    after = together()
    assert after["used"] - before["used"] == UNIT_MG
    report(home, tmp_path, [withdrawal(box("anna-0", "anna"), "w-0")], day=9)
    lost = together()
    assert (lost["reversed"], lost["issued"]) == (BOX_MG, after["issued"])
    assert lost["used"] == after["used"] - BOX_MG  # a cancelled unit stands for it
    assert check_lots(home)[1] == []  # others ask for the verification that was left out here


# -- gifts ------------------------------------------------------------------------------------------------------


def test_what_is_in_a_lot_cannot_be_given_and_what_was_given_is_in_no_lot(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    own = of(home, "anna")
    entrusted(home, own)
    give(home, own, 1_000_000)
    number = frozen(home)
    assert home.lots.one(number).units == 1
    said = overview(Reader(home), own, now=on(21))
    assert (said["in_lots_mg"], said["available_mg"]) == ("1000000", str(60 * BOX_MG - 2 * UNIT_MG))
    with pytest.raises(TanzhangError, match="grams-short"):
        give(home, own, 60 * BOX_MG - 2 * UNIT_MG + 1, "g-2")
    give(home, own, 60 * BOX_MG - 2 * UNIT_MG, "g-2")
    found = allocated(Reader(home), own)
    assert sum(sum(parts.values()) for parts in found.taken.values()) == 60 * BOX_MG - UNIT_MG
    assert (found.owed, set(found.left.values())) == ({}, {0})
    assert_verified(home)


def test_a_gift_while_a_lot_is_built_is_never_booked_over(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    own = of(home, "anna")
    entrusted(home, own)
    number, written = drafted(home), []

    def meanwhile(*args: Any) -> Any:
        if not written:
            give(home, own, 1_200_000)
        written.append(1)
        return kept(*args)

    kept = service.write_lot
    with patch.object(service, "write_lot", meanwhile):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert len(written) == 2
    assert home.lots.one(number).units == 1
    assert available_mg(home, own) == 60 * BOX_MG - 2_200_000
    assert_verified(home)


def test_a_small_gift_while_a_lot_is_built_needs_no_second_building(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    own = of(home, "anna")
    entrusted(home, own)
    number, written = drafted(home, units="1"), []

    def meanwhile(*args: Any) -> Any:
        give(home, own, 37_000)
        written.append(1)
        return kept(*args)

    kept = service.write_lot
    with patch.object(service, "write_lot", meanwhile):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert written == [1]
    assert states(home, own)["used"] == 37_000
    assert_verified(home)


@pytest.mark.parametrize("what", ["revoke", "join"])
def test_who_revokes_or_joins_while_a_lot_is_built_is_not_in_it(home: Home, tmp_path: Path, what: str) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    own = of(home, "anna")
    entrusted(home, own, of(home, "bo"))
    number, done = drafted(home), []

    def meanwhile(*args: Any) -> Any:
        if not done and what == "revoke":
            revoke(home, own, authorisations(home, own)["items"][0]["id"], now=on(20))
        if not done and what == "join":
            join(home, own, uuid.UUID(int=5 << 100), now=on(20))
        done.append(1)
        return kept(*args)

    kept = service.write_lot
    with patch.object(service, "write_lot", meanwhile):
        freeze(home, number, actor=OPERATOR, now=LATER)
    assert (len(done), home.lots.share_of([own])) == (2, {})
    assert home.lots.one(number).units == 1
    assert_verified(home)


# -- joining and erasing ----------------------------------------------------------------------------------------


def test_what_was_joined_is_entrusted_by_the_account_that_it_is_part_of_and_parts_with_its_shares(
    home: Home, tmp_path: Path
) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    anna, bo = of(home, "anna"), of(home, "bo")
    entrusted(home, anna)
    joined = join(home, anna, bo, now=on(20))
    with pytest.raises(TanzhangError, match="already-joined"):
        entrusted(home, anna)
    with pytest.raises(TanzhangError, match="lot-short: 0 mg fit"):
        frozen(home, "d-0")
    entrusted(home, bo)
    number = frozen(home, units="2")
    assert home.lots.share_of([anna, bo]) == {number: 2 * UNIT_MG}
    assert available_mg(home, bo) == 60 * BOX_MG - 2 * UNIT_MG
    part(home, joined["id"], now=on(25))
    for own in (anna, bo):
        assert available_mg(home, own) == 30 * BOX_MG - home.lots.share_of([own]).get(number, 0) >= 0
        states(home, own)
    assert_verified(home)


def test_a_gift_of_an_account_that_is_joined_later_leaves_what_lots_hold(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    anna, bo = of(home, "anna"), of(home, "bo")
    give(home, bo, 30 * BOX_MG)
    entrusted(home, anna)
    frozen(home)
    join(home, bo, anna, now=on(20))
    found = states(home, anna)
    assert (found["reserved"], found["used"], found["confirmed"]) == (UNIT_MG, 30 * BOX_MG, 30 * BOX_MG - UNIT_MG)
    with pytest.raises(TanzhangError, match="lot-short"):
        frozen(home, "d-2")
    assert_verified(home)


def test_an_erased_person_leaves_the_lot_its_root_and_the_proofs_of_others(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    anna, bo = of(home, "anna"), of(home, "bo")
    entrusted(home, anna, bo)
    number = frozen(home)
    said = about(home, str(anna))
    assert [each["terms"] for each in said["authorisations"]] == [home.lots.one(number).terms]
    assert [each["lot"] for each in said["lots"]] == ["L000001"]
    erase(home, [anna], now=on(22))
    assert about(home, str(anna))["authorisations"] == []
    assert home.authorisations.has_of([bo])
    assert check_lots(home)[1] == []
    kept = [each for each in record_states(Reader(home), bo)["records"] if each["lots"]]
    for each in (kept[0], kept[-1]):
        proof = share_proof(home, bo, uuid.UUID(each["action_id"]), number)
        assert check_share(proof, home.values["vkey"])["amount_mg"] == each["lots"][0]["mg"]
    with pytest.raises(TanzhangError):
        share_proof(home, anna, action(home, "anna-2"), number)
    dissolve(home, number, why="a test", actor=OPERATOR, now=LATER)
    assert home.lots.one(frozen(home, "d-2")).accounts == 1
    assert_verified(home)


# -- checks -----------------------------------------------------------------------------------------------------


def test_a_lot_that_was_changed_is_found(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 60))
    entrusted(home, of(home, "anna"))
    number = frozen(home, units="1")
    assert check_lots(home)[1] == []
    row = home.lots.one(number)
    for values in ({"state": "issued"}, {"total_mg": 5}, {"root": "00" * 32}, {"methodologies": "{}"}, {"entry": None}):
        with home.book.transaction() as con:
            con.execute(lot.update().values(**values))
        assert "lot-mismatch" in {each.code for each in check_lots(home)[1]}, values
        with home.book.transaction() as con:
            con.execute(lot.update().values(**{name: getattr(row, name) for name in values}))
    assert check_lots(home)[1] == []
    with home.book.transaction() as con:
        con.execute(sa.delete(lot))
    assert {each.code for each in check_lots(home)[1]} == {"lot-mismatch"}


def test_a_members_file_that_was_changed_is_found_and_proves_nothing(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, boxes("anna", 30))
    entrusted(home, of(home, "anna"))
    number = frozen(home)
    row = home.lots.one(number)
    path = home.folder / row.subtrees
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)))
    assert [each.code for each in check_lots(home)[1]] == ["lot-file-changed"]
    with pytest.raises(TanzhangError, match="lot-file-changed"):
        share_proof(home, of(home, "anna"), action(home, "anna-2"), number)
    path.write_bytes(data)
    (home.folder / row.file).unlink()
    assert [each.code for each in check_lots(home)[1]] == ["lot-mismatch"]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["act", "take back", "give", "freeze", "dissolve"]), st.integers(0, 400_000)),
        min_size=4,
        max_size=7,
    )
)
def test_whatever_is_given_frozen_and_taken_back_each_milligram_is_in_one_state(
    home: Home, tmp_path: Path, steps: list[tuple[str, int]]
) -> None:
    name = uuid.uuid4().hex  # the home is the same for all examples
    own, acts, lots_made = account(home, "cainiao", name), 28, list[int]()
    report(home, tmp_path, boxes(name, 28))
    entrusted(home, own)
    for number, (what, amount) in enumerate(steps):
        if what == "act":
            report(home, tmp_path, boxes(name, 9, acts))
            acts += 9
        elif what == "take back":
            target = box(f"{name}-{amount % acts}", name)
            report(home, tmp_path, [withdrawal(target, f"w-{name}-{amount % acts}")])
        elif what == "give" and 0 < amount <= available_mg(home, own):
            give(home, own, amount, f"g-{number}")
        elif what == "freeze" and available_mg(home, own) >= UNIT_MG:
            lots_made.append(frozen(home, f"{name}-{number}"))
        elif what == "dissolve" and lots_made:
            dissolve(home, lots_made.pop(), why="a test", actor=OPERATOR, now=LATER)
        found = states(home, own)
        free = available_mg(home, own)
        assert free <= found["confirmed"]
        assert free == found["confirmed"] or found["reversed"]
    assert check_lots(home)[1] == []


def test_what_was_taken_back_of_a_lot_is_still_known_when_its_person_is_erased(home: Home, tmp_path: Path) -> None:
    report(home, tmp_path, [*boxes("anna", 30), *boxes("bo", 30)])
    entrusted(home, of(home, "anna"), of(home, "bo"))
    row = home.lots.one(frozen(home))
    report(home, tmp_path, [withdrawal(box(f"anna-{n}", "anna"), f"w-{n}") for n in range(3)], day=9)
    report(home, tmp_path, [box("anna-0")], day=9)  # the same report again
    before = [each.tolist() for each in taken_back_members(home, row)]
    assert before[1] == [BOX_MG] * 3
    erase(home, [of(home, "anna")], now=on(22))
    assert [each.tolist() for each in taken_back_members(home, row)] == before


def test_who_only_authorised_and_did_nothing_is_forgotten_too(home: Home) -> None:
    own = uuid.UUID(int=6 << 100)
    entrusted(home, own)
    assert home.authorisations.has_of([own])
    erase(home, [own], now=on(22))
    assert not home.authorisations.has_of([own])
