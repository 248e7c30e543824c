"""What tests of the service over HTTP share: a home on either database, its application, and keys."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.api.app import create_app
from tanzhang.core.access import Scope
from tanzhang.service.access import issue_key
from tanzhang.stores.home import Home

from ...homes import on

NOW = on(8)


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def partner(home: Home, name: str = "cainiao") -> dict[str, str]:
    """What a program of a partner sends, whose key may do everything."""
    return bearer(issue_key(home, name, Scope, now=NOW)["key"])


@contextmanager
def serving(home: Home, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real process that serves a home: its address and the process, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tanzhang", "serve", "--home", str(home.folder), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
