"""What everybody may read: the log as static files, totals that name their epoch, batches and the catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.access import COOKIE
from tanzhang.core import merkle
from tanzhang.core.access import Role
from tanzhang.core.checkpoint import open_checkpoint
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.tiles import Tile, bundles_for, decode_bundle, decode_tile, tiles_for
from tanzhang.engine.signing import verifier_of
from tanzhang.service.access import open_session
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home
from tanzhang.web.app import create_app

from ...homes import BOX_MG, box, new_home, on, power, settle_on, write
from ...postgres import Server
from ...s3 import Bucket

NOW = on(12)


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, quick: Path) -> Home:
    """Two batches, of twelve people's boxes and of two more, and the epoch of the first."""
    book = None
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        book = server.address(server.database(), "public_routes")
    home = new_home(quick / "home", book=book)
    fill(home, quick)
    return home


def fill(home: Home, folder: Path) -> None:
    people = [box(f"b{n}", f"person{n}") for n in range(12)]
    intake(home, write(folder / "one.ndjson", [*people, power("p1", "person1")]), now=on(6))
    settle_on(home, 8)
    close(home, now=on(8))
    intake(home, write(folder / "two.ndjson", [box("late1"), box("late2")]), now=on(9))
    settle_on(home, 11)


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def check_log(client: TestClient[Litestar]) -> None:
    """As a monitor does: checkpoint, tiles, entries, and the root recomputed from them."""
    key = client.get("/log/vkey").text.strip()
    answer = client.get("/log/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=5"
    assert answer.headers["access-control-allow-origin"] == "*"
    verifier = verifier_of(key)
    seen = open_checkpoint(answer.content, verifier.name, verifier)[0]
    entries: list[bytes] = []
    for bundle in bundles_for(seen.size):
        entries += decode_bundle(bundle, client.get(f"/log/{bundle.path}").content)
    assert merkle.root([leaf_hash(entry) for entry in entries]) == seen.root
    for tile in tiles_for(seen.size):
        answer = client.get(f"/log/{tile.path}")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        decode_tile(tile, answer.content)
    for index, entry in enumerate(entries):
        assert client.get(f"/log/entries/{index}").content == entry


def test_a_monitor_rebuilds_the_signed_root_from_what_is_served(client: TestClient[Litestar]) -> None:
    check_log(client)


def test_a_log_in_a_bucket_is_served_the_same(quick: Path, bucket: Bucket) -> None:
    home = new_home(quick / "home", storage=bucket.address("public"))
    fill(home, quick)
    with TestClient(create_app(home, now=lambda: NOW)) as client:
        check_log(client)


def test_a_checkpoint_that_is_known_is_not_sent_again(home: Home, client: TestClient[Litestar]) -> None:
    first = client.get("/log/checkpoint")
    again = client.get("/log/checkpoint", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    close(home, now=on(12))
    changed = client.get("/log/checkpoint", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        "../../keys/log.key",
        "..%2f..%2fkeys%2flog.key",
        "0/000/../../../../keys/log.key",
        "%2e%2e/checkpoint",
        "0/0",
        "x",
    ],
)
def test_only_names_of_tiles_are_looked_up(client: TestClient[Litestar], path: str) -> None:
    answer = client.get(f"/log/tile/{path}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("tile-path-invalid", "not-found")
    assert "PRIVATE" not in answer.text


def test_what_the_log_does_not_have_is_not_kept_by_anyone(client: TestClient[Litestar]) -> None:
    for path, code in ((Tile(0, 7).path, "log-file-unknown"), ("entries/99", "log-entry-unknown")):
        answer = client.get(f"/log/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, code)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_the_page_that_checks_receipts_is_served_with_a_policy_of_its_own(client: TestClient[Litestar]) -> None:
    answer = client.get("/verify")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Content-Security-Policy" in answer.text
    assert client.get("/verify", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_the_city_total_is_that_of_the_epoch_it_names(home: Home, client: TestClient[Litestar]) -> None:
    said = client.get("/v1/city").json()
    assert said["epoch"]["day"] == "2025-06-07"
    assert said["batches"] == 1
    totals = {row["kind"]: row["mg"] for row in said["totals"]}
    assert totals["reduction"] == str(12 * BOX_MG)
    for kind, unit in (("reduction", "co2e_mg"), ("emission", "footprint_mg")):
        assert totals[kind] == said["epoch"]["trees"][unit]["total"]
    assert client.get("/v1/city").json() == said
    close(home, now=on(12))
    assert client.get("/v1/city").json()["epoch"]["day"] == "2025-06-11"
    sealed = json.loads(client.get(f"/log/entries/{said['epoch']['entry']}").content)
    assert sealed["trees"] == said["epoch"]["trees"]


def test_the_public_sees_no_cell_of_few_accounts(client: TestClient[Litestar]) -> None:
    cells = client.get("/v1/city").json()["cells"]
    assert cells["behaviour"] == [
        {"kind": "reduction", "behaviour": "use.parcel_box_return", "acts": "12", "mg": str(12 * BOX_MG)}
    ]
    assert cells["behaviour_hidden"] == "1"


def test_every_cut_is_for_the_city_and_names_the_epoch_it_goes_beyond(home: Home, client: TestClient[Litestar]) -> None:
    assert client.get("/v1/city/totals").json()["code"] == "not-signed-in"
    client.cookies.set(COOKIE, open_session(home, Role.CITY, "staff", now=NOW))
    live = client.get("/v1/city/totals", params={"by": ["day", "partner"]}).json()
    assert live["batches"] == 2
    assert live["epoch"]["batches"] == 1
    assert {row["partner"] for row in live["rows"]} == {"cainiao", "alipay"}
    sealed = client.get("/v1/city/totals", params={"as_of": "epoch"}).json()
    assert sealed["batches"] == 1
    assert sum(int(row["acts"]) for row in live["totals"]) - sum(int(row["acts"]) for row in sealed["totals"]) == 2
    assert client.get("/v1/city/totals", params={"by": "shoe_size"}).json()["code"] == "unknown-cut"
    assert client.get("/v1/city/totals", params={"since": "yesterday"}).status_code == 400


def test_epochs_and_batches_are_what_the_log_has(home: Home, client: TestClient[Litestar]) -> None:
    close(home, now=on(12))
    listed = client.get("/v1/epochs", params={"limit": 1}).json()
    assert [each["day"] for each in listed["items"]] == ["2025-06-07"]
    rest = client.get("/v1/epochs", params={"limit": 1, "cursor": listed["next"]}).json()
    assert [each["day"] for each in rest["items"]] == ["2025-06-11"]
    assert rest["next"] is None
    epoch = client.get("/v1/epochs/2025-06-11").json()
    assert epoch == rest["items"][0]
    found = [epoch, *client.get("/v1/batches").json()["items"], client.get("/v1/batches/1").json()]
    assert [each.get("batch") for each in found] == [None, 0, 1, 1]
    for each in found:
        text = client.get(f"/log/entries/{each['entry']}").content
        assert text.decode() == each.get("sealed", each.get("manifest"))
        assert leaf_hash(text).hex() == each["leaf"]
    for path, code in (
        ("/v1/epochs/2025-06-08", "epoch-unknown"),
        ("/v1/batches/2", "batch-unknown"),
        ("/v1/epochs?cursor=x", "cursor-malformed"),
    ):
        assert client.get(path).json()["code"] == code


def test_before_the_first_epoch_there_is_no_total(quick: Path) -> None:
    with TestClient(create_app(new_home(quick / "home"), now=lambda: NOW)) as client:
        said = client.get("/v1/city").json()
        assert (said["epoch"], said["totals"], said["batches"]) == (None, [], 0)
        assert client.get("/v1/batches").json() == {"items": [], "next": None}


def test_the_catalogue_tells_of_each_value_its_source_and_status(home: Home, client: TestClient[Litestar]) -> None:
    said = client.get("/v1/catalogue").json()
    assert said["digest"] == home.catalogue.digest()
    values = [value for factor in said["factors"] for value in factor["values"]]
    assert len(values) > 100
    assert {value["status"] for value in values} == {"provisional", "published"}
    known = home.catalogue.sources
    assert all(value["source"] in known for value in values)
    entry = client.get("/v1/catalogue/cainiao.use.parcel_box_return@1").json()
    assert entry["methodology"][0]["source"]["id"] == "cainiao_parcel_box"
    assert client.get("/v1/catalogue/nothing").json()["code"] == "unknown-id"
