"""An S3-compatible server for tests, inside the test process: its objects in memory, gone at the end."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer
from pyarrow import fs
from werkzeug.serving import WSGIRequestHandler

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"  # noqa: S105 - as AWS's own documents write one
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_ELSEWHERE = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")


class Bucket:
    """A new bucket and what is in it, looked at and changed past the program."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.name = f"test-{uuid.uuid4().hex}"
        server.fs.create_dir(self.name)

    def address(self, prefix: str = "home") -> str:
        return f"s3://{self.name}/{prefix}?endpoint={self.server.url}&region=us-east-1"

    def names(self, prefix: str = "home") -> list[str]:
        """Objects under a prefix, relative to it."""
        found = self.server.fs.get_file_info(fs.FileSelector(f"{self.name}/{prefix}", True, True))
        return sorted(each.path.removeprefix(f"{self.name}/{prefix}/") for each in found if each.is_file)

    def objects(self, prefix: str = "home") -> dict[str, bytes]:
        return {name: self.read(name, prefix) for name in self.names(prefix)}

    def read(self, name: str, prefix: str = "home") -> bytes:
        with self.server.fs.open_input_stream(f"{self.name}/{prefix}/{name}") as stream:
            return bytes(stream.read())

    def headers(self, name: str, prefix: str = "home") -> Mapping[str, bytes]:
        with self.server.fs.open_input_file(f"{self.name}/{prefix}/{name}") as file:
            return dict(file.metadata())

    def write(self, name: str, data: bytes, prefix: str = "home") -> None:
        with self.server.fs.open_output_stream(f"{self.name}/{prefix}/{name}") as stream:
            stream.write(data)

    def remove(self, name: str, prefix: str = "home") -> None:
        self.server.fs.delete_file(f"{self.name}/{prefix}/{name}")

    def copy(self, home: Path, to: Path, prefix: str) -> Path:
        """A copy of a home folder, which must not be there yet, and of its objects under another prefix."""
        copied = Path(shutil.copytree(home, to))
        for name, data in self.objects().items():
            self.write(name, data, prefix)
        (copied / "keys" / "storage.url").write_text(f"{self.address(prefix)}\n")
        return copied


class S3Server:
    """A running server, and the requests it got: method, path and the range of bytes that was wanted."""

    def __init__(self, url: str, requests: list[tuple[str, str, str | None]]) -> None:
        self.url = url
        self.requests = requests
        self.fs = fs.S3FileSystem(endpoint_override=url, region="us-east-1", allow_bucket_creation=True)

    def bucket(self) -> Bucket:
        return Bucket(self)


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Start a server of our own, with the credentials it wants in the environment, and stop it at the end."""
    before = dict(os.environ)
    for name in _ELSEWHERE:
        os.environ.pop(name, None)
    os.environ.update(ENVIRONMENT)
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    requests: list[tuple[str, str, str | None]] = []

    def note(self: Any, code: Any = "-", size: Any = "-") -> None:
        requests.append((self.command, self.path, self.headers.get("Range")))

    WSGIRequestHandler.log_request = note  # type: ignore[method-assign]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}", requests)
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)
