"""The whole service under faults: processes killed at random moments, and callers who ask for the same at once."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tanzhang.service.receive import Receiver, Request
from tanzhang.stores.home import Home

from ..homes import assert_verified, balance, outcome
from .running import (
    BOTH,
    ROUNDS,
    Callers,
    Service,
    assert_counted_once,
    box,
    chance_of,
    command_of,
    faults,
    served_home,
    serving,
    settle_the_rest,
)


@pytest.mark.parametrize(("processes", "workers"), [(2, 1), (1, 2), (1, 5)])
@pytest.mark.parametrize("kind", BOTH)
def test_killed_processes_lose_nothing_that_was_acknowledged_and_count_nothing_twice(
    quick: Path, request: pytest.FixtureRequest, kind: str, processes: int, workers: int
) -> None:
    """Any process: those that answer, workers, and the main one of the server, which is started again on its port."""
    home, chance = served_home(kind, quick, request), chance_of("killed", kind, processes, workers)
    with serving(home, processes=processes, workers=workers) as service:
        callers = Callers(service, 3, chance)
        todo = [lambda: service.kill_one(chance)] * (2 * ROUNDS) + [lambda: service.kill_a_main(chance)] * ROUNDS
        chance.shuffle(todo)
        faults(service, callers, todo, chance, settling=home)
    assert_counted_once(home, callers)


def processes_of(service: Service, word: str) -> list[int]:
    (server,) = service.servers
    return [pid for pid in server.pids()[1:] if word in command_of(pid)]


def test_whatever_a_server_started_ends_with_it_and_another_one_takes_its_port(
    quick: Path, request: pytest.FixtureRequest
) -> None:
    home = served_home("sqlite", quick, request)
    with serving(home) as service:
        (server,) = service.servers
        for _ in range(200):
            before = server.pids()
            if len(processes_of(service, "spawn_main")) == 1 and len(processes_of(service, " work ")) == 1:
                break
            time.sleep(0.05)
        else:
            pytest.fail(str([command_of(pid) for pid in before]))
        service.kill(server.main.pid)
        server.main.wait()
        for _ in range(200):
            left = [command_of(pid) for pid in server.pids()]
            if not left:
                break
            time.sleep(0.05)
        assert left == []
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.ports[0]), 1)
        service.keep_up()
        service.wait_until_ready()
        assert httpx.get(f"http://127.0.0.1:{service.ports[0]}/readyz").status_code == 200
        assert not set(server.pids()) & set(before)


STORM = 200


@pytest.mark.parametrize("kind", BOTH)
def test_two_hundred_identical_requests_at_once_have_one_effect_and_equal_answers(
    quick: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    home = served_home(kind, quick, request)
    once, without_key = [box(f"storm-{n}") for n in range(3)], [box("no key")]
    with serving(home, processes=2, workers=1) as service:
        answers = asyncio.run(_at_once(service, [(json.dumps(once), "the same")] * STORM))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        replayed = [answer.headers.get("Idempotency-Replayed") for answer in answers]
        assert replayed.count(None) == 1
        # The same key for something else, in the midst of it: whichever is first counts, the others are told so.
        other = [(json.dumps([box(f"either-{n % 2}")]), "either") for n in range(STORM // 4)]
        answers = asyncio.run(_at_once(service, other))
        assert {answer.status_code for answer in answers} == {202, 422}
        (taken,) = {answer.content for answer in answers if answer.status_code == 202}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"idempotency-key-reused"}
        answers = asyncio.run(_at_once(service, [(json.dumps(without_key), None)] * (STORM // 4)))
        assert {answer.status_code for answer in answers} == {202}
    settle_the_rest(home)
    for each in once:
        assert outcome(home, each) == ["granted"]
        assert balance(home, "cainiao", each["subject"]) == int(_verdicts(home, each)["quantified_mg"])
    assert len(home.deliveries.page("cainiao", "the same", None, 5)) == 1
    either = [outcome(home, box(f"either-{n}")) for n in range(2)]
    assert sorted(either) == [[], ["granted"]]
    assert either[json.loads(taken)["verdicts"][0]["id"] == "either-1"] == ["granted"]
    assert sorted(outcome(home, without_key[0])) == ["granted", *["repeat"] * (STORM // 4 - 1)]
    assert_verified(home)


def _verdicts(home: Home, each: dict[str, object]) -> dict[str, str]:
    """What a dry run says of an act now."""
    asked = Request("cainiao", [json.dumps(each).encode()])
    (answer,) = Receiver(home).receive([asked], now=datetime.now(UTC), dry_run=True)
    return dict(json.loads(answer.body)["verdicts"][0])


async def _at_once(service: Service, bodies: list[tuple[str, str | None]]) -> list[httpx.Response]:
    """Requests that are all under way before the first is answered, over all servers in turn."""
    headers = {"Authorization": f"Bearer {service.keys['cainiao']}"}
    headers["Content-Type"] = "application/cloudevents-batch+json"
    limits = httpx.Limits(max_connections=len(bodies))
    async with httpx.AsyncClient(timeout=60, limits=limits, headers=headers) as client:
        asked = [
            client.post(
                f"http://127.0.0.1:{service.ports[number % len(service.ports)]}/v1/actions:batch",
                content=body,
                headers={} if key is None else {"Idempotency-Key": key},
            )
            for number, (body, key) in enumerate(bodies)
        ]
        return list(await asyncio.gather(*asked))
