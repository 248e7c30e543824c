"""A small bank over HTTP that takes transfers of points, for the tests of both sides' promises."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, MappingKeyResolver, algorithms


class AnyTime(HTTPMessageVerifier):
    """The moment of the tests is not now."""

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        assert "created" in sig_input.params
        assert len(sig_input.params["nonce"]) > 8


class Bank:
    """A bank that books each id once, verifies what is sent, and can be told to misbehave by the tests."""

    def __init__(self) -> None:
        self.booked: dict[str, tuple[str, int]] = {}
        self.asked = 0
        self.answers: list[int | None] = []  # instead of the usual one; None for none at all
        self.books_first = True
        self.kills: subprocess.Popen[bytes] | None = None
        self.key: dict[str, str] = {}
        bank = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bank.verify(f"http://{self.headers['host']}{self.path}", dict(self.headers.items()), body)
                status = bank.take(json.loads(body), self.headers["idempotency-key"])
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/points"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, said: dict[str, str], key: str) -> int | None:
        assert key == said["id"]
        self.asked += 1
        status = self.answers.pop(0) if self.answers else 200
        if (self.books_first and status != 422) or status == 200:
            self.booked.setdefault(said["id"], (said["member"], int(said["points"])))
        if self.kills is not None:
            self.kills.send_signal(signal.SIGKILL)
            self.kills.wait()
            return None
        return status

    def verify(self, url: str, headers: dict[str, str], body: bytes) -> None:
        shared = self.key["algorithm"] == "hmac-sha256"
        raw = base64.b64decode(self.key["secret" if shared else "public_key"])
        public: Any = raw if shared else Ed25519PublicKey.from_public_bytes(raw)
        resolver = MappingKeyResolver(public_keys={self.key["key"]: public}, private_keys={})
        used = algorithms.HMAC_SHA256 if shared else algorithms.ED25519
        message = SimpleNamespace(method="POST", url=url, headers=headers)
        needed = ("@method", "@target-uri", "content-digest")
        AnyTime(signature_algorithm=used, key_resolver=resolver).verify(
            message, max_age=None, require_components=needed, body=body
        )

    def close(self) -> None:
        """Take nothing any more."""
        self.server.shutdown()
        self.server.server_close()
