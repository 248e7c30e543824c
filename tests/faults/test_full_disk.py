"""The disk is full: what was acknowledged stays, what comes is refused with a code, and it goes on once there is room.

Nothing is started again in between. The disk is a small one of its own where we may mount one, and anywhere a bound on
how long a file may grow.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tanzhang.stores.home import Home

from ..homes import at_once_home
from ..postgres import Server
from .running import BOTH, Callers, Service, assert_counted_once, box, chance_of, faults, post, served_home, serving

MOST = 2_000
MIB = 1 << 20


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[Path]:
    """A file system of its own of so many mebibytes; skipped where we may not mount one."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a file system of its own can be mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tanzhang-test", folder],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # files of it may be mapped still, by this process too
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Leave nothing free; returns what takes the room."""
    ballast = folder / "ballast"
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(file, bytes(4096))
    os.close(file)
    return ballast


@contextmanager
def home_on_a_small_disk(kind: str, quick: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, Home]]:
    """A disk and a home on it, with its book there too: in a file, or in a tablespace of PostgreSQL."""
    if kind == "sqlite":
        with small_disk(quick / "disk", 48) as disk:
            home = at_once_home(disk / "home")
            try:
                yield disk, home
            finally:
                home.book.close()
        return
    server: Server = request.getfixturevalue("postgres")
    with small_disk(server.folder / "disk", 48) as disk, server.connect() as con:
        space = disk / "space"
        space.mkdir(mode=0o700)
        owner = (server.folder / "data").stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        con.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        try:
            con.execute("CREATE DATABASE small TEMPLATE template0 ENCODING 'UTF8' TABLESPACE small")
            yield disk, at_once_home(disk / "home", book=server.address("small", "service"))
        finally:
            server.drop("small")
            con.execute("DROP TABLESPACE small")


@pytest.mark.parametrize("kind", BOTH)
def test_on_a_full_disk_what_was_acknowledged_stays_and_the_service_goes_on_once_there_is_room(
    quick: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    chance = chance_of("full", kind)
    with home_on_a_small_disk(kind, quick, request) as (disk, home):
        temporary = disk / "tmp"
        temporary.mkdir()
        with serving(home, workers=1, environment=lambda _name: {"TMPDIR": str(temporary)}) as service:
            callers = Callers(service, 3, chance)
            faults(service, callers, [], chance)
            before = {pid for each in service.programs for pid in each.pids()}
            ballast = fill(disk)
            refused = until_refused(service)
            assert (refused.status_code, refused.json()["code"]) == (503, "book-unusable")
            assert "Retry-After" in refused.headers
            assert httpx.get(f"http://127.0.0.1:{service.ports[0]}/healthz").status_code == 200
            waiting = Callers(service, 3, chance, lambda number, _chance: [box(f"waiting-{number}")])
            time.sleep(2)
            assert waiting.retries > 0
            ballast.unlink()  # somebody made room
            faults(service, waiting, [], chance, settling=home)  # the worker goes on, too
            assert {pid for each in service.programs for pid in each.pids()} == before
        callers.add(waiting)
        callers.abandoned += FULL
        assert_counted_once(home, callers)


FULL = [box(f"full-{number}") for number in range(MOST)]


def until_refused(service: Service) -> httpx.Response:
    """The first answer to somebody who reports on and on that is none."""
    with httpx.Client(timeout=30) as client:
        for each in FULL:
            answer = post(client, service.ports[0], service.keys, [each], str(each["id"]))
            if not answer.is_success:
                return answer
    raise AssertionError("there was always room")


def set_bound(service: Service, most_bytes: int) -> None:
    """How long a file may become that the service writes, from now on."""
    for pid in {pid for each in service.programs for pid in each.pids()}:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


def test_where_no_file_may_grow_what_comes_is_refused_until_it_may_and_nothing_is_lost(
    quick: Path, request: pytest.FixtureRequest
) -> None:
    home, chance = served_home("sqlite", quick, request), chance_of("bound")
    size = (home.folder / "book.sqlite").stat().st_size
    with serving(home, workers=1, file_bytes=size + 200_000) as service:
        refused = until_refused(service)
        assert (refused.status_code, refused.json()["code"]) == (503, "book-unusable")
        callers = Callers(service, 3, chance, lambda number, _chance: [box(f"waiting-{number}")])
        time.sleep(1)
        assert callers.retries > 0
        set_bound(service, resource.RLIM_INFINITY)
        faults(service, callers, [], chance)
    callers.abandoned += FULL
    assert_counted_once(home, callers)


def test_a_piece_of_an_upload_that_finds_no_room_is_refused_and_sent_again_later(
    quick: Path, request: pytest.FixtureRequest
) -> None:
    home = served_home("sqlite", quick, request)
    data = b"".join(json.dumps(box(f"up-{number}")).encode() + b"\n" for number in range(6_000))
    with serving(home, workers=1) as service:
        headers = {"Authorization": f"Bearer {service.keys['cainiao']}"}
        begun: dict[str, Any] = {"name": "a.ndjson", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        begun["content_type"] = "application/x-ndjson"
        url = f"http://127.0.0.1:{service.ports[0]}/v1/uploads"
        with httpx.Client(timeout=60, headers=headers) as client:
            place = f"{url}/{client.post(url, json=begun).raise_for_status().json()['id']}"
            octets = {"Content-Type": "application/octet-stream"}
            assert client.patch(place, content=data[:MIB], headers={**octets, "Upload-Offset": "0"}).status_code == 204
            set_bound(service, MIB + 4096)
            rest = {"content": data[MIB:], "headers": {**octets, "Upload-Offset": str(MIB)}}
            refused = client.patch(place, **rest)
            assert (refused.status_code, refused.json()["code"]) == (503, "file-system")
            assert client.head(place).headers["Upload-Offset"] == str(MIB)
            set_bound(service, resource.RLIM_INFINITY)
            assert client.patch(place, **rest).status_code == 204
            done = client.post(f"{place}/complete").json()
            for _ in range(100):
                if done["state"] != "taking-in":
                    break
                time.sleep(0.1)
                done = client.get(place).json()
    assert (done["state"], done["counts"]["accepted"]) == ("done", 6_000)
