"""Witnesses for tests, each on a port of its own: some that keep the protocol, some that say what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tanzhang.core.note import VerifierKey
from tanzhang.core.witness import Answer
from tanzhang.engine.signing import Cosigner
from tanzhang.service.witness import add_checkpoint
from tanzhang.stores.witness_state import WitnessState

NOW = 1_760_000_000


class RunningWitness:
    """A server that answers ``add-checkpoint`` by a function that a test may replace."""

    def __init__(self, state: WitnessState) -> None:
        self.state = state
        self.answer: Callable[[bytes], Answer] = self.honest
        self.asked: list[bytes] = []
        self.url = ""

    @property
    def key(self) -> str:
        return self.state.cosigner.verifier_key.to_text()

    def honest(self, body: bytes) -> Answer:
        return add_checkpoint(self.state, body, lambda: NOW)

    def held(self) -> int | None:
        return self.state.logs()[0][2]


@contextmanager
def running_witness(folder: Path, number: int, log: VerifierKey) -> Iterator[RunningWitness]:
    """One witness with a key of its own that watches one log."""
    state = WitnessState.create(
        folder / f"witness-{number}", Cosigner(f"witness.example/{number}", bytes([number]) * 32)
    )
    state.add_log(log)
    witness = RunningWitness(state)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            witness.asked.append(body)
            answer = witness.answer(body)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    witness.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
