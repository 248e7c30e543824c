"""Large files over HTTP: in pieces, resumed, taken in once, whatever ends in between."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api import taking_in
from tanzhang.api.app import create_app
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service import file_rows
from tanzhang.service import upload as service
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.service.erase import erase
from tanzhang.service.intake import intake
from tanzhang.stores.home import Home

from ...homes import BOX_MG, Event, account, assert_verified, balance, box, on, settle_on
from .conftest import NOW, partner

Client = TestClient[Litestar]


def file_of(events: Sequence[Event]) -> bytes:
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def begin(client: Client, home: Home, data: bytes, by: str = "cainiao", **changes: Any) -> Any:
    asked = {
        "name": "june.ndjson",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "content_type": "application/x-ndjson",
    }
    return client.post("/v1/uploads", json={**asked, **changes}, headers=partner(home, by))


def send(client: Client, home: Home, upload: str, data: bytes, offset: int, name: str = "cainiao") -> Any:
    headers = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
    return client.patch(f"/v1/uploads/{upload}", content=data, headers={**headers, **partner(home, name)})


def complete(client: Client, home: Home, upload: str) -> Any:
    """The answer to finishing an upload, asked for again once its end is there: a machine may be slow."""
    answer = client.post(f"/v1/uploads/{upload}/complete", headers=partner(home))
    if answer.status_code != 202:
        return answer
    at_rest(client)
    return client.post(f"/v1/uploads/{upload}/complete", headers=partner(home))


def at_rest(client: Client) -> None:
    """Wait until the application takes nothing in."""
    client.app.state.taking_in._pool.submit(lambda: None).result(60)


def ask(client: Client, home: Home, path: str, name: str = "cainiao") -> Any:
    return client.get(f"/v1/uploads{path}", headers=partner(home, name))


def uploaded(client: Client, home: Home, data: bytes, **changes: Any) -> str:
    """An upload with all of its bytes, not finished."""
    answer = begin(client, home, data, **changes)
    assert answer.status_code == 201, answer.text
    assert send(client, home, answer.json()["id"], data, 0).status_code == 204
    return str(answer.json()["id"])


def test_a_file_comes_in_pieces_and_is_taken_in_with_its_verdicts(client: Client, home: Home) -> None:
    data = file_of([box("b1"), {**box("b2"), "time": "x"}, box("b3")])
    begun = begin(client, home, data)
    assert begun.status_code == 201
    path = begun.headers["location"]
    assert (begun.json()["state"], begun.json()["received"]) == ("receiving", 0)
    upload = begun.json()["id"]
    for start in range(0, len(data), 300):
        piece = send(client, home, upload, data[start : start + 300], start)
        assert piece.status_code == 204
        assert piece.headers["upload-offset"] == str(min(start + 300, len(data)))
    done = complete(client, home, upload)
    assert (done.status_code, done.json()["state"]) == (200, "done")
    counts = done.json()["counts"]
    assert (counts["rows"], counts["accepted"], counts["refused_by_code"]) == (3, 2, {"bad-time": 1})
    found = client.get(f"{path}/verdicts", headers=partner(home))
    assert found.headers["content-type"].startswith("text/csv")
    assert found.text.splitlines()[1].startswith("2,b2,refused,bad-time")
    known = {"if-none-match": found.headers["etag"], **partner(home)}
    assert client.get(f"{path}/verdicts", headers=known).status_code == 304
    assert list((home.folder / "uploads").iterdir()) == []
    assert complete(client, home, upload).json() == done.json()
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG
    assert_verified(home)


def test_a_dry_run_gives_the_verdicts_for_a_day_and_keeps_nothing(client: Client, home: Home) -> None:
    data = file_of([box("b1"), {**box("b2"), "time": "x"}, box("b3")])
    upload = uploaded(client, home, data, dry_run=True)
    done = complete(client, home, upload).json()
    assert (done["state"], done["dry_run"]) == ("checked", True)
    assert home.book.open_submissions() == []
    lines = ask(client, home, f"/{upload}/verdicts").text
    earnest = complete(client, home, uploaded(client, home, data)).json()
    assert earnest["counts"] == done["counts"]
    assert ask(client, home, f"/{earnest['id']}/verdicts").text == lines
    assert service.expire(home, now=NOW + timedelta(hours=25)) == 1
    assert ask(client, home, f"/{upload}").status_code == 404
    assert list((home.folder / "uploads").iterdir()) == []


def test_a_piece_that_does_not_follow_is_refused_with_the_place_to_go_on(client: Client, home: Home) -> None:
    data = file_of([box("b1")])
    upload = begin(client, home, data).json()["id"]
    send(client, home, upload, data[:100], 0)
    for offset in (0, 99, 101):
        answer = send(client, home, upload, data[100:], offset)
        assert (answer.status_code, answer.json()["code"]) == (409, "upload-offset")
        assert answer.headers["upload-offset"] == "100"
    told = client.head(f"/v1/uploads/{upload}", headers=partner(home))
    assert (told.headers["upload-offset"], told.headers["upload-length"]) == ("100", str(len(data)))
    early = complete(client, home, upload)
    assert (early.status_code, early.json()["code"]) == (409, "upload-incomplete")
    long = send(client, home, upload, data[100:] + b"more", 100)
    assert (long.status_code, long.json()["code"]) == (413, "upload-too-long")
    assert send(client, home, upload, data[100:], 100).status_code == 204


def test_an_upload_goes_on_in_another_process_and_what_was_not_acknowledged_is_cut_off(
    client: Client, home: Home
) -> None:
    data = file_of([box("b1"), box("b2")])
    upload = begin(client, home, data).json()["id"]
    send(client, home, upload, data[:100], 0)
    row = home.uploads.get(upload)
    with home.uploads.path(row).open("ab") as file:  # as a process leaves it that dies before it acknowledges
        file.write(b"what came and was never acknowledged" * 10)
    with TestClient(create_app(Home(home.folder), now=lambda: NOW), base_url="https://tanzhang.example") as other:
        assert other.head(f"/v1/uploads/{upload}", headers=partner(home)).headers["upload-offset"] == "100"
        assert send(other, home, upload, data[100:], 100).status_code == 204
        assert complete(other, home, upload).json()["counts"]["accepted"] == 2


def test_other_bytes_than_announced_are_not_taken_in_and_may_be_sent_again(client: Client, home: Home) -> None:
    data = file_of([box("b1")])
    upload = begin(client, home, data).json()["id"]
    send(client, home, upload, data.replace(b"b1", b"b2"), 0)
    answer = complete(client, home, upload).json()
    assert (answer["state"], answer["received"]) == ("receiving", 0)
    assert [each["code"] for each in answer["problems"]] == ["upload-digest-differs"]
    assert send(client, home, upload, data, 0).status_code == 204
    answer = complete(client, home, upload).json()
    assert (answer["state"], answer["problems"]) == ("done", [])


def test_a_file_that_cannot_be_read_is_refused_whole_under_its_own_name(client: Client, home: Home) -> None:
    upload = uploaded(client, home, b"id,shoe_size\n1,42\n", content_type="text/csv", name="shoes.csv")
    answer = complete(client, home, upload).json()
    assert (answer["state"], answer["counts"]) == ("refused", None)
    assert [(each["code"], each["where"]) for each in answer["problems"]] == [("unknown-column", "shoes.csv")]
    assert upload not in json.dumps(answer["problems"])
    assert ask(client, home, f"/{upload}/verdicts").json()["code"] == "upload-not-taken-in"
    assert list((home.folder / "uploads").iterdir()) == []


def test_a_packed_file_is_taken_in(client: Client, home: Home) -> None:
    upload = uploaded(client, home, gzip.compress(file_of([box("b1")])), content_encoding="gzip")
    assert complete(client, home, upload).json()["counts"]["accepted"] == 1


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        ({"sha256": "ab"}, "upload-digest-malformed", 422),
        ({"size": 0}, "upload-size", 422),
        ({"size": service.LARGEST_BYTES + 1}, "upload-size", 422),
        ({"content_type": "image/png"}, "media-type-unknown", 415),
        ({"content_encoding": "br"}, "media-type-unknown", 415),
        ({"colour": "red"}, "request-malformed", 400),
        ({"name": ""}, "request-malformed", 400),
    ],
)
def test_what_cannot_be_uploaded_is_refused_at_once(
    client: Client, home: Home, changes: dict[str, Any], code: str, status: int
) -> None:
    answer = begin(client, home, b"x", **changes)
    assert (answer.json()["code"], answer.status_code) == (code, status)


def test_nobody_reaches_the_upload_of_another_partner(client: Client, home: Home) -> None:
    data = file_of([box("b1")])
    upload = begin(client, home, data).json()["id"]
    answers = [
        ask(client, home, f"/{upload}", "amap"),
        ask(client, home, f"/{upload}/verdicts", "amap"),
        send(client, home, upload, data, 0, "amap"),
        client.delete(f"/v1/uploads/{upload}", headers=partner(home, "amap")),
    ]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(404, "unknown-upload")] * 4
    assert ask(client, home, "", "amap").json() == {"items": [], "next": None}


def test_a_partner_may_begin_so_many_and_forget_them_again(client: Client, home: Home) -> None:
    names = [begin(client, home, b"x").json()["id"] for _ in range(service.MOST_UNFINISHED)]
    full = begin(client, home, b"x")
    assert (full.status_code, full.json()["code"]) == (429, "too-many-uploads")
    assert begin(client, home, b"x", by="amap").status_code == 201
    assert client.delete(f"/v1/uploads/{names[0]}", headers=partner(home)).status_code == 204
    assert not (home.folder / "uploads" / f"{names[0]}.ndjson").exists()
    assert begin(client, home, b"x").status_code == 201
    first = ask(client, home, "?limit=7").json()
    rest = ask(client, home, f"?cursor={first['next']}").json()
    assert len({each["id"] for each in first["items"] + rest["items"]}) == service.MOST_UNFINISHED
    assert rest["next"] is None


def test_what_nobody_goes_on_with_is_forgotten_after_a_day(client: Client, home: Home) -> None:
    upload = begin(client, home, b"xyz").json()["id"]
    send(client, home, upload, b"x", 0)
    assert service.expire(home, now=NOW + service.LASTS) == 0
    assert service.expire(home, now=NOW + service.LASTS + timedelta(seconds=1)) == 1
    assert ask(client, home, f"/{upload}").status_code == 404
    assert list((home.folder / "uploads").iterdir()) == []


def test_two_requests_at_once_do_not_write_into_each_other(client: Client, home: Home) -> None:
    data = file_of([box("b1")])
    upload = begin(client, home, data).json()["id"]
    piece = service.Piece(home, "cainiao", upload, 0)
    piece.write(data[:50])
    busy = send(client, home, upload, data, 0)
    assert (busy.status_code, busy.json()["code"]) == (409, "upload-busy")
    assert piece.close(NOW) == 50
    assert send(client, home, upload, data[50:], 50).status_code == 204


def test_taking_in_goes_on_where_a_process_left_it(client: Client, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = uploaded(client, home, file_of([box("b1")]))
    service.finish(home, "cainiao", upload, now=NOW)  # and the process dies
    with TestClient(create_app(Home(home.folder), now=lambda: NOW), base_url="https://tanzhang.example") as other:
        at_rest(other)
        assert ask(other, home, f"/{upload}").json()["state"] == "done"
    again = uploaded(client, home, file_of([box("b2")]))
    honest = service.intake

    def fail(*_: Any, **__: Any) -> Any:
        raise refuse("book-unusable", "the disk is full", where="the book", remedy="free space")

    monkeypatch.setattr(service, "intake", fail)
    assert complete(client, home, again).json()["state"] == "taking-in"
    monkeypatch.setattr(service, "intake", honest)
    assert complete(client, home, again).json()["state"] == "done"
    settle_on(home, 9)
    assert balance(home, "cainiao", "anna") == 2 * BOX_MG


def test_what_takes_longer_is_answered_before_its_end_and_may_be_asked_for(
    client: Client, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, go = uploaded(client, home, file_of([box("b1")])), threading.Event()
    honest = taking_in.take_in

    def slowly(*arguments: Any, **more: Any) -> None:
        assert go.wait(10)
        honest(*arguments, **more)

    monkeypatch.setattr(taking_in, "take_in", slowly)
    monkeypatch.setattr("tanzhang.api.routes.uploads._QUICK_S", 0.05)
    answer = client.post(f"/v1/uploads/{upload}/complete", headers=partner(home))
    assert (answer.status_code, answer.json()["state"]) == (202, "taking-in")
    assert send(client, home, upload, b"x", 0).json()["code"] == "upload-finished"
    go.set()
    at_rest(client)
    assert ask(client, home, f"/{upload}").json()["state"] == "done"


def test_an_upload_whose_file_two_processes_take_in_lands_once(client: Client, home: Home, quick: Path) -> None:
    upload = uploaded(client, home, file_of([box("b1")]))
    service.finish(home, "cainiao", upload, now=NOW)
    row = home.uploads.get(upload)
    with home.uploads.alone(row), pytest.raises(TanzhangError, match="upload-busy"), home.uploads.alone(row):
        pass
    with home.uploads.alone(row):
        service.take_in(Home(home.folder), upload, now=NOW)
        assert ask(client, home, f"/{upload}").json()["state"] == "taking-in"
    service.take_in(home, upload, now=NOW)
    service.take_in(home, upload, now=NOW)
    assert ask(client, home, f"/{upload}").json()["state"] == "done"
    assert len(home.book.submissions()) == 1


def pages(client: Client, home: Home, limit: int, **asked: Any) -> list[Any]:
    """All rows of the list, page by page."""
    found, cursor = [], None
    while True:
        query = {"limit": limit, **asked, **({} if cursor is None else {"cursor": cursor})}
        page = client.get("/v1/actions", params=query, headers=partner(home)).json()
        assert len(page["items"]) <= limit
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            return found


def finished(client: Client, home: Home, data: bytes, **changes: Any) -> str:
    upload = uploaded(client, home, data, **changes)
    assert complete(client, home, upload).json()["state"] == "done"
    return upload


def test_rows_of_files_are_listed_with_all_others_in_the_order_they_came(client: Client, home: Home) -> None:
    clock = client.app.state.clock
    odd = {**box('odd\n"line"'), "time": "x", "subject": ""}
    june = [box("f1"), odd, box("f3"), {**box("f4"), "time": "y"}, box("f5", day=date(2025, 6, 7)), box("f6")]
    ndjson = {"content-type": "application/x-ndjson", **partner(home)}
    client.post("/v1/actions:batch", content=file_of([box("first"), {**box("bad"), "time": "x"}]), headers=ndjson)
    one = finished(client, home, file_of(june))
    client.post("/v1/actions:batch", content=file_of([box("between")]), headers=ndjson)
    two = finished(client, home, file_of([{**box("g1"), "time": "x"}, box("g2")]))
    assert finished(client, home, file_of(june)) not in (one, two)  # the same once more brings nothing
    settle_on(home, 8)
    everything = pages(client, home, 200)
    assert clock() == NOW  # all came at one moment, so requests are before files
    said = [(row.get("upload"), row["position"], row["verdict"], row["id"]) for row in everything]
    assert said == [
        (None, 1, "accepted", "first"),
        (None, 2, "refused", "bad"),
        (None, 1, "accepted", "between"),
        (one, 1, "accepted", None),
        (one, 2, "refused", 'odd\n"line"'),
        (one, 3, "accepted", None),
        (one, 4, "refused", "f4"),
        (one, 5, "accepted", None),
        (one, 6, "accepted", None),
        (two, 1, "refused", "g1"),
        (two, 2, "accepted", None),
    ]
    assert [problem["code"] for problem in everything[4]["problems"]] == ["bad-time", "missing-field"]
    first, of_file = everything[0], everything[3]
    same = ("kind", "quantified_mg", "methodology", "closes_on", "state", "outcome", "granted_mg")
    assert {name: of_file[name] for name in same} == {name: first[name] for name in same}
    assert of_file["granted_mg"] == str(BOX_MG)
    for limit in (1, 2, 3):
        assert pages(client, home, limit) == everything
    for verdict in ("accepted", "refused"):
        wanted = [row for row in everything if row["verdict"] == verdict]
        assert pages(client, home, 2, verdict=verdict) == wanted
    assert client.get("/v1/actions", headers=partner(home, "amap")).json() == {"items": [], "next": None}
    assert pages(client, home, 5, since="2025-06-08T10:00:01+08:00") == []


def test_a_list_goes_on_though_its_file_was_written_anew_in_between(client: Client, home: Home) -> None:
    events = [box("f1"), {**box("f2"), "time": "x"}, box("f3", "bo"), {**box("f4", "bo"), "time": "x"}]
    again = [{**box("f5", "bo"), "time": "x"}, box("f6")]
    finished(client, home, file_of([*events, *again]))
    settle_on(home, 8)
    first = client.get("/v1/actions", params={"limit": 2}, headers=partner(home)).json()
    client.post(
        "/v1/actions:batch",
        content=file_of([box("f5", "bo", day=date(2025, 6, 7))]),
        headers={"content-type": "application/x-ndjson", **partner(home)},
    )
    settle_on(home, 9)
    erase(home, [account(home, "cainiao", "bo")], now=on(9))
    rest = client.get("/v1/actions", params={"cursor": first["next"]}, headers=partner(home)).json()["items"]
    own = [row for row in rest if "upload" in row]
    assert [(row["position"], row["verdict"], row["id"]) for row in own] == [
        (4, "refused", "f4"),
        (5, "refused", None),
        (6, "accepted", None),
    ]


def test_a_cursor_that_was_made_up_is_refused(client: Client, home: Home) -> None:
    finished(client, home, file_of([box("f1"), {**box("f2"), "time": "x"}, {**box("f3"), "time": "x"}]))
    asked = {"limit": 2, "verdict": "refused"}
    whole = client.get("/v1/actions", params=asked, headers=partner(home)).json()["items"]
    first = client.get("/v1/actions", params={**asked, "limit": 1}, headers=partner(home)).json()
    *place, mark = place_after(first["next"], int, int, int, int, str)
    state, _, start = mark.partition(":")
    for other, codes in (
        (f"{state}:{int(start) + 3}", "cursor-malformed"),
        (f"{state}:{'9' * 40}", None),
        ("x:1", None),
    ):
        answer = client.get("/v1/actions", params={**asked, "cursor": cursor_of(*place, other)}, headers=partner(home))
        assert answer.json().get("code") == codes, other
        assert codes is not None or answer.json()["items"] == whole[1:]


def test_a_page_of_a_large_file_reads_little_of_it(home: Home, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps({**box(f"r{n}"), **({"time": "x"} if n % 3 == 0 else {})}) for n in range(12_000)]
    path = quick / "large.ndjson"
    path.write_text("\n".join(lines))
    number = intake(home, path, partner="cainiao", now=NOW)["submission"]
    file = file_rows.taken_file(home, number)
    read = []
    lines_of = file_rows._Lines.__next__
    monkeypatch.setattr(file_rows._Lines, "__next__", lambda lines: (read.append(1), lines_of(lines))[1])
    after, mark, seen = 0, file_rows.FROM_THE_START, []
    for _ in range(40):
        page = list(islice(file_rows.rows_of_file(home, file, after=after, mark=mark, verdict=None), 50))
        seen += [(row["position"], row["verdict"], row["id"]) for row, _ in page]
        after, mark = page[-1][0]["position"], page[-1][1]
    assert [position for position, *_ in seen] == list(range(1, 2_001))
    assert all((verdict == "refused") == ((position - 1) % 3 == 0) for position, verdict, _ in seen)
    assert seen[0][2] == "r0"
    assert len(read) < 2 * len(seen) / 3 + 3 * 40  # each line about once, not from the beginning for each page
