"""One person's data in one file: complete, explained, in two languages, and nothing of anybody else."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import date
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.receipt import verify_receipt
from tanzhang.engine.signing import verifier_of
from tanzhang.service.erase import erase
from tanzhang.service.export import export_account
from tanzhang.service.intake import intake
from tanzhang.service.links import link_child
from tanzhang.stores.home import Home

from ..homes import BOX_MG, METRO_MG_PER_M, account, box, new_home, on, power, ride, settle_on, write
from ..postgres import Server

ANNA = ("amap", "anna")


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    book = None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database())
    opened = new_home(quick / "home", book=book)
    since = date(2025, 1, 1)
    for platform in ("cainiao", "alipay"):
        child = account(opened, platform, "anna")
        link_child(opened, child, account(opened, *ANNA), valid_from=since, valid_until=None, now=on(1))
    events = [box("b1"), ride("r1"), power("p1"), box("x1", "bob"), box("b1")]
    intake(opened, write(quick / "a.ndjson", events), now=on(6))
    settle_on(opened, 20)
    intake(opened, write(quick / "b.ndjson", [box("b2", day=date(2025, 6, 20)), box("x2", "bob")]), now=on(21))
    return opened


def exported(home: Home, path: Path, *, receipts: bool = False) -> dict[str, bytes]:
    export_account(home, account(home, *ANNA), path, now=on(21), receipts=receipts)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_every_record_posting_link_and_open_report_of_the_person(home: Home, quick: Path) -> None:
    files = exported(home, quick / "anna.zip")
    summary = json.loads(files["account.json"])
    reduction = BOX_MG + 10_000 * METRO_MG_PER_M
    assert summary["confirmed"]["reduction_mg"] == str(reduction)
    assert {child["child"] for child in summary["children"]} == {
        str(account(home, platform, "anna")) for platform in ("cainiao", "alipay")
    }
    records = json.loads(files["records.json"])["records"]
    assert [(each["behaviour"], each["outcome"]) for each in records] == [
        ("travel.metro", "granted"), ("use.parcel_box_return", "granted"), ("use.parcel_box_return", "repeat"),
        ("footprint.electricity", "granted"),
    ]  # fmt: skip
    plans = json.loads(files["plans.json"])["plans"]
    for each in records:
        assert each["plan"] in plans
        assert any(each["quantified_mg"] in step for step in each["steps"])
    rows = list(csv.DictReader(io.StringIO(files["records.csv"].decode("utf-8-sig"))))
    assert [row["granted_mg"] for row in rows] == [each["granted_mg"] for each in records]
    booked = list(csv.DictReader(io.StringIO(files["postings.csv"].decode("utf-8-sig"))))
    assert sum(int(row["amount"]) for row in booked if row["unit"] == "co2e_mg") == reduction
    assert [each["day"] for each in json.loads(files["open.json"])["open"]] == ["2025-06-20"]


def test_nobody_else_is_in_it(home: Home, quick: Path) -> None:
    text = b"".join(exported(home, quick / "anna.zip").values()).decode()
    assert str(account(home, "cainiao", "bob")) not in text
    assert (quick / "anna.zip").stat().st_mode & 0o777 == 0o600


def test_the_page_explains_every_file_in_both_languages(home: Home, quick: Path) -> None:
    files = exported(home, quick / "anna.zip")
    page = files["README.md"].decode()
    chinese, english = page.split("\n# A copy")
    for name in files:
        if name != "README.md":
            assert f"| {name} |" in chinese
            assert f"| {name} |" in english
    assert home.values["vkey"] in chinese
    assert home.values["vkey"] in english


def test_receipts_are_added_when_asked_for_and_verify_offline(home: Home, quick: Path) -> None:
    files = exported(home, quick / "anna.zip", receipts=True)
    proofs = {name: data for name, data in files.items() if name.startswith("receipts/")}
    assert len(proofs) == 3
    granted = [verify_receipt(data, verifier_of(home.values["vkey"])).record.granted_mg for data in proofs.values()]
    assert BOX_MG in granted


def test_the_same_person_at_the_same_time_gives_the_same_bytes(home: Home, quick: Path) -> None:
    exported(home, quick / "one.zip")
    exported(home, quick / "two.zip")
    assert (quick / "one.zip").read_bytes() == (quick / "two.zip").read_bytes()


def test_a_file_that_is_there_is_not_written_over(home: Home, quick: Path) -> None:
    (quick / "anna.zip").write_text("mine")
    with pytest.raises(TanzhangError) as refused:
        exported(home, quick / "anna.zip")
    assert refused.value.code == "export-exists"
    assert (quick / "anna.zip").read_text() == "mine"


def test_an_erased_person_has_nothing_to_export(home: Home, quick: Path) -> None:
    settle_on(home, 29)
    erase(home, [account(home, *ANNA)], now=on(29))
    with pytest.raises(TanzhangError) as refused:
        exported(home, quick / "anna.zip")
    assert refused.value.code == "account-erased"
    assert not (quick / "anna.zip").exists()
