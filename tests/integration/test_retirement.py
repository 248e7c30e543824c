"""Retiring units: once, by whoever holds them; what stands in public, in the log and on the certificate."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from tanzhang.core.access import Actor, Role
from tanzhang.core.credential import RETIREMENT
from tanzhang.core.errors import TanzhangError
from tanzhang.core.lot import LotEntry, LotState
from tanzhang.core.methodology import canonical_json
from tanzhang.core.retirement import ISSUE_FORMAT, Opening
from tanzhang.core.serial import FIRST_IMPORT, Serial
from tanzhang.core.units import PROGRAMME, Block, Kind, Pick, State
from tanzhang.engine.data_integrity import canonical
from tanzhang.service.certificate_check import check_certificate, credential_in
from tanzhang.service.certificate_page import page_of, pdf_of
from tanzhang.service.certificates import make_key, revoke, status_of
from tanzhang.service.check_certificates import check_certificates
from tanzhang.service.market.check_retirements import check_retirements
from tanzhang.service.market.parties import set_state
from tanzhang.service.market.retire import (
    Asked,
    add_addendum,
    check_proof,
    open_to_all,
    opening_of,
    own_retirements,
    proof,
    retire,
    retirement_page,
    retirements,
    take_away,
)
from tanzhang.service.market.retirement_certificate import retirement_certificate
from tanzhang.service.market.unit_pages import block_page, unit_totals
from tanzhang.stores.book import append, entry
from tanzhang.stores.book.chains import check_chains
from tanzhang.stores.book.schema import retirement
from tanzhang.stores.fonts import fonts_are_there
from tanzhang.stores.home import Home
from tanzhang.stores.register.retirements import retirement_addendum, retirement_opening
from tanzhang.stores.register.units import Begun

from ..homes import market_home, on
from ..trading import approved

OPERATOR = Actor(Role.OPERATOR, "root", "command line")
BUYER = Actor(Role.BUYER, "li", "a test")
AT = "2025-06-03T00:00:00+00:00"
PUBLIC = "https://carbon.example"
KILO = 10**6
JUNE = (date(2025, 6, 1), date(2025, 6, 30))
ASKED = Asked("event_neutrality", *JUNE, "Example Games 示例赛事", "91350100M000100Y43", "Example Sports", "the finals")


def issued(home: Home, units: int = 1_000, holder: str = "party:steel") -> int:
    """A lot that stands in the log, with units that a party holds; its number."""
    frozen = LotEntry(
        number=1,
        programme=home.programme.id,
        vintage=2025,
        region="CN-110000",
        methodologies={"cainiao.parcel_box@1": ("ab" * 32,)},
        terms="cd" * 32,
        unit_mass_mg=KILO,
        units=units,
        members=3,
        leaves=4,
        root=b"r" * 32,
        total_mg=units * KILO,
        first_batch=0,
        last_batch=0,
    )
    account = pa.array([uuid.UUID(int=7).bytes], pa.uuid())
    shares = pa.table({"account": account, "amount": pa.array([units * KILO], pa.int64())})
    decided = {
        "market": "example@1",
        "terms": frozen.terms,
        "methodologies": json.dumps({"cainiao.parcel_box@1": ["ab" * 32]}),
        "unit_mass_mg": KILO,
        "units": units,
        "total_mg": units * KILO,
        "members": 3,
        "accounts": 1,
        "leaves": 4,
        "root": frozen.root.hex(),
        "batches": 1,
        "first_batch": 0,
        "last_batch": 0,
        "file": "lots/L000001/members.parquet",
        "file_digest": "d",
        "subtrees": "s",
        "subtrees_digest": "d",
    }
    drafted = {"reference": "d", "vintage": 2025, "region": "CN-110000", "behaviours": None, "wanted": None}
    with home.book.transaction() as con:
        home.lots.draft(con, {**drafted, "early": None}, actor=OPERATOR, at=AT)
    with home.book.transaction() as con:
        home.lots.freeze(con, 1, decided, frozen.to_text(), shares, actor=OPERATOR, at=AT)
    for state in (LotState.IN_VERIFICATION, LotState.VERIFIED, LotState.REGISTERED, LotState.ISSUED):
        with home.book.transaction() as con:
            home.lots.advance(con, 1, state, detail={}, actor=OPERATOR, at=AT)
    begun = Begun(1, Kind.ISSUE, "CN-110000", "BEIJINGMARKET", 2025, "K", units, "carbon_inclusion")
    with home.book.transaction() as con:
        blocks = [Block(1, 0, units, 2025, holder, State.HELD, "carbon_inclusion")]
        said = {"format": ISSUE_FORMAT, "programme": home.programme.id, "lot": "L000001", "units": str(units)}
        index = append(con, entry, {"kind": "units-issued", "text": canonical_json({**said, "parts": []})})
        home.units.begin(con, begun, blocks, "issue", AT, actor="root", detail={"entry": index})
    return 1


def set_up(home: Home) -> Home:
    """Two parties, one of which holds a lot of 1,000 kg, and the key of certificates."""
    (home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": PUBLIC}))
    for name in ("steel", "paper"):
        approved(home, name)
    issued(home)
    make_key(home, actor=OPERATOR, now=on(4))
    return home


@pytest.fixture
def home(place: Callable[[str], str | None], quick: Path) -> Home:
    return set_up(market_home(quick / "home", book=place("tests")))


def serial(home: Home, lo: int, hi: int) -> str:
    begun = home.units.begun(1)
    assert begun is not None
    return begun.serial(lo, hi).text


def used(home: Home, reference: str = "r-1", *, party: str = "steel", now: datetime | None = None, **more: Any) -> Any:
    given = {name: getattr(ASKED, name) for name in Asked.__slots__} | {"lot": "L000001", "count": 100} | more
    return retire(home, party, reference, Asked(**given), actor=BUYER, now=now or on(5))


def refused(call: Callable[..., Any], *arguments: Any, **more: Any) -> list[str]:
    with pytest.raises(TanzhangError) as error:
        call(*arguments, **more)
    assert all(each.remedy and each.where for each in error.value.problems)
    return [each.code for each in error.value.problems]


def checked(home: Home, data: bytes, **more: Any) -> dict[str, Any]:
    return check_certificate(data, home.values["vkey"], now=more.pop("now", on(6)), **more)


def right(home: Home) -> bool:
    """Whether verification finds nothing wrong with retirements, certificates and chains."""
    return check_retirements(home)[1] == check_certificates(home)[1] == check_chains(home.book)[1] == []


def test_units_are_retired_once_and_the_same_asked_again_has_the_same_answer(home: Home) -> None:
    first = used(home)
    assert (first["units"], first["serials"], first["state"]) == ("100", [serial(home, 0, 100)], "retired")
    assert used(home) == first
    assert refused(used, home, count=99) == ["reference-taken"]
    assert refused(used, home, beneficiary="Another") == ["reference-taken"]
    assert [(each.lo, each.hi) for each in home.units.blocks(states=[State.RETIRED])] == [(0, 100)]
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(6))
    assert used(home, now=datetime(2019, 1, 1, tzinfo=UTC)) == first  # under no rules, of a party that may not any more
    set_state(home, "steel", "approved", note=None, actor=OPERATOR, now=on(6))
    second = used(home, "r-2", lot=None, count=None, serials=[serial(home, 300, 310), serial(home, 100, 200)])
    assert second["serials"] == [serial(home, 100, 200), serial(home, 300, 310)]
    assert [each["id"] for each in retirements(home)] == [second["id"], first["id"]]
    assert right(home)


def test_only_units_that_the_party_holds_now_are_retired_and_all_or_none_of_them(home: Home) -> None:
    used(home)
    named = {"lot": None, "count": None}
    assert refused(used, home, "r-2", party="paper") == ["units-short"]
    assert refused(used, home, "r-2", count=901) == ["units-short"]
    assert refused(used, home, "r-2", party="nobody") == ["unknown-party"]
    assert refused(used, home, "r-2", **named, serials=[serial(home, 99, 101)]) == ["unit-state"]
    with home.book.transaction() as con:
        home.units.reserve(con, "party:steel", 1, 50, "deal", AT)
        home.units.freeze(con, "party:steel", [Pick(1, 200, 210)], "court", {}, AT)
    assert refused(used, home, "r-2", **named, serials=[serial(home, 120, 160)]) == ["unit-state"]
    assert refused(used, home, "r-2", **named, serials=[serial(home, 205, 206)]) == ["unit-state"]
    set_state(home, "steel", "suspended", note=None, actor=OPERATOR, now=on(5))
    assert refused(used, home, "r-2") == ["party-not-approved"]
    assert len(home.retirements.rows()) == 1
    assert right(home)


def test_every_mistake_of_a_request_is_said_together(home: Home) -> None:
    own = serial(home, 0, 10)
    foreign = Serial("CN-110000", "OTHER", 1, 2025, "K", 0, 10).text
    wrong = {"purpose": "fun", "beneficiary": " ", "until": date(2025, 5, 1), "note": "two\nlines"}
    assert refused(used, home, **wrong, serials=[own[:-2] + "00", foreign, "x"]) == [
        *["retirement-malformed"] * 5,
        "serial-check",
        "unknown-serial",
        "serial-malformed",
    ]
    for more in ({"lot": None}, {"count": None}, {"lot": None, "count": None}, {"serials": [own]}):
        assert refused(used, home, **more) == ["retirement-malformed"]
    assert refused(used, home, lot=None, count=None, serials=[own, own]) == ["block-outside"]
    assert home.retirements.rows() == []


def test_many_askers_at_once_retire_each_unit_once(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: used(home, f"r-{number % 4}"), range(8)))
    assert [answers[n] == answers[n + 4] for n in range(4)] == [True] * 4
    assert sum(each.count for each in home.units.blocks(states=[State.RETIRED])) == 400
    assert right(home)


def test_the_certificate_holds_without_a_home_and_is_the_same_ever_after(home: Home) -> None:
    made = used(home)
    data = retirement_certificate(home, made["id"], now=on(5))
    assert retirement_certificate(home, made["id"], now=on(25)) == data
    said = checked(home, data)
    says = said["says"]
    assert (said["kind"], said["revoked"]) == (RETIREMENT, None)
    assert (says["serials"], says["units"], says["massMg"]) == (made["serials"], "100", str(100 * KILO))
    assert (says["vintage"], says["region"], says["programme"]["id"]) == ("2025", "CN-110000", "beijing-market")
    assert says["lot"]["root"] == (b"r" * 32).hex()
    assert says["lot"]["methodologies"] == {"cainiao.parcel_box@1": ["ab" * 32]}
    assert says["purpose"]["nameZh"] == "大型活动碳中和"
    assert says["beneficiary"]["beneficiary"] == ASKED.beneficiary
    assert says["claimPeriod"] == {"since": "2025-06-01", "until": "2025-06-30"}
    assert set(says["claims"]) == {"usingEntity", "person", "partner", "city"}
    assert [each["type"] for each in json.loads(data)["evidence"][1:]] == [
        "LotInclusion",
        "IssueInclusion",
        "RetirementInclusion",
    ]
    assert any("is the one that the log commits to" in each for each in said["checks"])
    if fonts_are_there():
        assert credential_in(pdf_of(data)) == data
    shown = page_of(data)
    assert (shown.figure, shown.for_whom[0]) == ("100", ASKED.beneficiary)
    assert any("the finals" in each for each in shown.notes)
    assert right(home)


def test_a_certificate_that_says_anything_else_than_the_log_is_refused_though_its_issuer_signed_it(home: Home) -> None:
    data = retirement_certificate(home, used(home)["id"], now=on(5))
    used(home, "r-2", count=5)
    key = home.issuer_key
    assert key is not None
    lot, other = json.loads(data)["credentialSubject"]["lot"], serial(home, 0, 99)
    for changes in (
        {"serials": [other]},
        {"units": "101"},
        {"massMg": str(101 * KILO)},
        {"unit": {"letter": "T", "massMg": str(10**9)}},
        {"vintage": "2024"},
        {"region": "CN-440300"},
        {"purpose": {"code": "voluntary_cancellation"}},
        {"claimPeriod": {"since": "2025-06-01", "until": "2026-06-30"}},
        {"commitment": "00" * 32},
        {"reference": "00" * 16},
        {"retiredAt": "2025-06-01T00:00:00+00:00"},
        {"lot": {**lot, "root": "00" * 32}},
        {"lot": {**lot, "methodologies": {}}},
        {"lot": {**lot, "issueEntry": lot["entry"]}},
        {"lot": {**lot, "registry": "another", "number": "L000002"}},
        {"lot": {}},
        {"beneficiary": {**json.loads(data)["credentialSubject"]["beneficiary"], "beneficiary": "Somebody"}},
        {"serials": []},
        {"beneficiary": 5},
    ):
        document = json.loads(data)
        del document["proof"]
        document["credentialSubject"].update(changes)
        signed = canonical(key.sign(document, created="2025-06-05T02:00:00Z"))
        assert refused(checked, home, signed) == ["retirement-unproved"], changes
    for number in (1, 2, 3):
        document = json.loads(data)
        del document["proof"], document["evidence"][number]
        assert refused(checked, home, canonical(key.sign(document, created="2025-06-05T02:00:00Z"))) == [
            "retirement-unproved"
        ]


def test_a_silent_retirement_is_in_the_public_list_and_its_opening_shows_for_whom_it_was(home: Home) -> None:
    made = used(home, anonymous=True)
    assert made["beneficiary"]["beneficiary"] == ASKED.beneficiary
    shown = retirement_page(home, made["id"])
    assert (shown["beneficiary"], shown["holder"], shown["units"]) == (None, None, "100")
    everything = json.dumps([retirements(home), block_page(home, serial(home, 0, 1)), unit_totals(home)])
    entries = "".join(str(entry) for entry in home.log_entries())
    data = retirement_certificate(home, made["id"], now=on(5))
    for text in (everything, entries, proof(home, made["id"]).decode(), data.decode()):
        assert "Example" not in text
        assert "steel" not in text
    opening = opening_of(home, made["id"]).to_text().encode()
    assert any("whoever has its opening" in each for each in checked(home, data)["checks"])
    assert any("Example Games" in each for each in checked(home, data, opening=opening)["checks"])
    forged = Opening("00" * 32, "Somebody", "", "", "").to_text().encode()
    assert refused(checked, home, data, opening=forged) == ["retirement-unproved"]
    assert refused(checked, home, data, opening=b"{}") == ["retirement-opening-malformed"]
    open_to_all(home, made["id"], actor=BUYER, now=on(6))
    assert retirement_page(home, made["id"])["beneficiary"]["note"] == "the finals"
    assert retirement_certificate(home, made["id"], now=on(6)) == data
    assert right(home)


def test_who_it_was_for_can_be_taken_away_and_the_units_stay_retired_and_proved(home: Home) -> None:
    made = used(home)
    add_addendum(home, made["id"], "a-1", "read: Example Games 2025", actor=BUYER, now=on(6))
    data = retirement_certificate(home, made["id"], now=on(5))
    take_away(home, made["id"], "a person is named", actor=OPERATOR, now=on(7))
    shown = retirement_page(home, made["id"], to_holder=True)
    assert (shown["beneficiary"], shown["addenda"], shown["units"]) == (None, [], "100")
    assert refused(opening_of, home, made["id"]) == ["opening-gone"]
    assert refused(retirement_certificate, home, made["id"], now=on(8)) == ["certificate-revoked"]
    assert check_proof(proof(home, made["id"]), home.values["vkey"])["units"] == "100"
    assert refused(checked, home, data, status=status_of(home, 0, now=on(8)), now=on(8)) == ["credential-revoked"]
    rows = str(home.retirements.rows()) + str(home.retirements.addenda()) + str(home.audit.page(None, 50))
    assert "Example" not in rows
    assert right(home)


def test_an_addendum_stands_beside_what_never_changes(home: Home) -> None:
    made = used(home)
    said = add_addendum(home, made["id"], "a-1", "read: Example Games 2025", actor=BUYER, now=on(6))
    assert add_addendum(home, made["id"], "a-1", "read: Example Games 2025", actor=BUYER, now=on(7)) == said
    assert refused(add_addendum, home, made["id"], "a-1", "else", actor=BUYER, now=on(7)) == ["reference-taken"]
    assert refused(add_addendum, home, made["id"], "a-2", " ", actor=BUYER, now=on(7)) == ["retirement-malformed"]
    assert refused(add_addendum, home, "nothing", "a-2", "x", actor=BUYER, now=on(7)) == ["unknown-retirement"]
    shown = retirement_page(home, made["id"])
    assert [each["text"] for each in shown["addenda"]] == ["read: Example Games 2025"]
    assert shown["beneficiary"]["beneficiary"] == ASKED.beneficiary
    with pytest.raises(Exception, match="append-only"), home.book.transaction() as con:  # the driver's own error
        con.execute(retirement.update().values(purpose="voluntary_cancellation"))
    assert right(home)


def test_the_public_list_is_chosen_from_by_lot_vintage_purpose_and_period(home: Home) -> None:
    first = used(home)
    second = used(home, "r-2", purpose="voluntary_cancellation", since=date(2024, 1, 1), until=date(2024, 12, 31))
    ids = {"first": first["id"], "second": second["id"]}
    for wanted, found in (
        ({}, ["second", "first"]),
        ({"lot": "L000001"}, ["second", "first"]),
        ({"lot": "L000002"}, []),
        ({"vintage": 2025}, ["second", "first"]),
        ({"vintage": 2024}, []),
        ({"purpose": "event_neutrality"}, ["first"]),
        ({"since": date(2025, 6, 30)}, ["first"]),
        ({"until": date(2024, 1, 1)}, ["second"]),
        ({"before": 1}, ["first"]),
        ({"limit": 1}, ["second"]),
    ):
        assert [each["id"] for each in retirements(home, **wanted)] == [ids[each] for each in found], wanted
    assert [each["id"] for each in own_retirements(home, "steel")] == [second["id"], first["id"]]
    assert own_retirements(home, "paper") == []
    assert [each["entry"] for each in retirements(home)] == sorted({each["entry"] for each in retirements(home)})[::-1]


def test_the_page_of_a_block_has_its_whole_history_and_totals_say_what_they_are(home: Home) -> None:
    made = used(home)
    with home.book.transaction() as con:
        home.units.reserve(con, "party:steel", 1, 50, "deal", AT)
        home.units.deliver(con, "deal", "party:paper", AT)
    page = block_page(home, serial(home, 90, 120))
    assert [(each["serial"], each["state"]) for each in page["blocks"]] == [
        (serial(home, 0, 100), "retired"),
        (serial(home, 100, 150), "held"),
    ]
    assert [each["kind"] for each in page["history"]] == ["issue", "retire", "reserve", "deliver"]
    assert [each["id"] for each in page["retirements"]] == [made["id"]]
    assert "paper" not in json.dumps(page)
    assert refused(block_page, home, Serial("CN-110000", "BEIJINGMARKET", 1, 2025, "K", 0, 1_001).text) == [
        "unknown-serial"
    ]
    said = unit_totals(home)
    assert (said["issued_mg"], said["retired_mg"]) == (str(1_000 * KILO), str(100 * KILO))
    (lot,) = said["lots"]
    assert (lot["issued"], lot["states"]["retired"], lot["states"]["held"]) == ("1000", "100", "900")
    assert sum(map(int, lot["states"].values())) == int(lot["issued"])


def test_a_proof_holds_offline_and_a_changed_one_does_not(home: Home) -> None:
    made = used(home)
    data = proof(home, made["id"])
    said = check_proof(data, home.values["vkey"])
    assert (said["serials"], said["purpose"], said["id"]) == (made["serials"], "event_neutrality", made["id"])
    assert "holder" not in said
    lines = data.decode().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.strip():
            changed = line[:-2] + ("A" if line[-2] != "A" else "B") + "\n"
            with pytest.raises(TanzhangError):
                check_proof("".join([*lines[:number], changed, *lines[number + 1 :]]).encode(), home.values["vkey"])


def test_a_certificate_that_the_operator_revokes_leaves_the_retirement(home: Home) -> None:
    made = used(home)
    data = retirement_certificate(home, made["id"], now=on(5))
    name = json.loads(data)["id"].removeprefix("urn:uuid:")
    revoke(home, name, "a wrong title", actor=OPERATOR, now=on(6))
    assert refused(checked, home, data, status=status_of(home, 0, now=on(7)), now=on(7)) == ["credential-revoked"]
    assert retirement_page(home, made["id"])["state"] == "retired"
    assert right(home)


def test_what_was_changed_is_found(home: Home) -> None:
    made = used(home)
    add_addendum(home, made["id"], "a-1", "read: X", actor=BUYER, now=on(6))
    for table, values in (
        (retirement_opening, {"sealed": "nothing"}),
        (retirement_addendum, {"digest": "00"}),
        (retirement_addendum, {"retirement": "another"}),
    ):
        row = home.book.query(table.select())[0]
        with home.book.transaction() as con:
            con.execute(table.update().values(**values))
        assert {each.code for each in check_retirements(home)[1]} == {"retirement-mismatch"}, values
        with home.book.transaction() as con:
            con.execute(table.update().values(**{name: getattr(row, name) for name in values}))
    with home.book.transaction() as con:
        home.units.retire(con, "party:steel", [Pick(1, 500, 501)], "beside", {}, AT)
    assert [each.code for each in check_retirements(home)[1]] == ["retirement-mismatch"]
    with home.book.transaction() as con:
        con.execute(retirement_addendum.delete())
    assert len(check_retirements(home)[1]) == 2


def test_a_retirement_is_whole_while_somebody_settles_and_the_log_has_it_afterwards(home: Home) -> None:
    with home.settling():
        made = used(home)
        assert made["entry"] == home.book.entries()[-1].seq
        assert home.log.size <= made["entry"]
        assert used(home) == made
    assert check_proof(proof(home, made["id"]), home.values["vkey"])["id"] == made["id"]
    assert right(home)


def test_what_dies_before_the_log_is_published_is_told_the_same_when_it_asks_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(home, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            used(home)
    (row,) = home.retirements.rows()
    again = used(home)
    assert (again["id"], again["retired_at"]) == (row.id, row.made_at)
    assert home.log.size > again["entry"]
    assert [(each.lo, each.hi) for each in home.units.blocks(states=[State.RETIRED])] == [(0, 100)]
    assert right(home)


def test_nothing_is_retired_where_a_part_of_it_fails(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    for part in ("add", "seal"):
        with monkeypatch.context() as broken:
            broken.setattr(home.retirements, part, fail)
            with pytest.raises(RuntimeError):
                used(home)
        assert (home.retirements.rows(), home.units.blocks(states=[State.RETIRED])) == ([], [])
    assert used(home)["units"] == "100"


def test_units_of_another_registry_are_retired_here_and_the_certificate_claims_no_lot_for_them(home: Home) -> None:
    number = FIRST_IMPORT + 3
    where = {"registry": "ccer", "foreign": "CCER-2024-1-50"}
    begun = Begun(number, Kind.IMPORT, "CN", "CCER", 2024, "T", 50, "national_voluntary", **where)
    with home.book.transaction() as con:
        blocks = [Block(number, 0, 50, 2024, "party:paper", State.HELD, "national_voluntary")]
        home.units.begin(con, begun, blocks, "import", AT, actor="root")
    made = used(home, party="paper", lot="X000003", count=5)
    said = checked(home, retirement_certificate(home, made["id"], now=on(5)))
    assert said["says"]["lot"] == {"number": "X000003", **where}
    assert said["says"]["massMg"] == str(5 * 10**9)
    assert any("that registry's word" in each for each in said["checks"])
    assert right(home)


def test_units_that_the_programme_holds_for_people_are_no_partys_to_retire(quick: Path) -> None:
    home = market_home(quick / "home")
    approved(home, "steel")
    issued(home, holder=PROGRAMME)
    assert refused(used, home) == ["units-short"]
