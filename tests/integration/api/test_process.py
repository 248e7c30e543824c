"""A real process that serves dies or is ended under load: what it acknowledged is there, the rest may be sent again."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from tanzhang.core.claim import ACTION, identity
from tanzhang.service.access import issue_key
from tanzhang.service.standing import standings
from tanzhang.stores.home import Home

from ...homes import box
from .conftest import bearer, serving


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_acknowledged_survives_the_end_of_the_process_and_the_rest_may_be_sent_again(
    home: Home, how: signal.Signals
) -> None:
    key = issue_key(home, "cainiao", ["report"], now=datetime.now(UTC))["key"]
    names, statuses = [f"b{number}" for number in range(400)], dict[str, int]()
    enough, left = threading.Event(), iter(names)

    def report(client: httpx.Client, name: str) -> None:
        headers = {**bearer(key), "content-type": "application/json", "idempotency-key": name}
        try:
            statuses[name] = client.post("/v1/actions", content=json.dumps(box(name)), headers=headers).status_code
        except httpx.HTTPError:
            statuses[name] = 0
        if len(statuses) > 60:
            enough.set()

    def report_some(address: str) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            for name in left:
                report(client, name)

    with serving(home) as (address, process), ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            pool.submit(report_some, address)
        assert enough.wait(60)
        if how is signal.SIGKILL:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        process.wait(30)
    good = {name for name, status in statuses.items() if status == 202}
    assert len(good) > 50
    assert set(statuses.values()) <= {202, 503, 0}
    assert len(good) < len(names), "the process ended too late to lose anything"
    actions = {name: identity(home.identity_key, ACTION, "cainiao", name) for name in names}
    known = standings(Home(home.folder), actions.values())
    assert {name for name in good if actions[name] not in known} == set()
    with serving(home) as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        for name in ("b0", "b1", *sorted(set(names) - good)[:5]):
            report(client, name)
            assert statuses[name] == 202
        assert standings(Home(home.folder), actions.values()).keys() >= {actions["b0"]}
