"""How DuckDB reads objects: a file system of ours that it is given, over pyarrow's client.

DuckDB reads a file from several threads: it goes to a place and reads, one call after the other. A file object with one
position for all of them mixes their reads up, silently, so here each thread has its own. Objects are never changed, so
each is looked up once a connection.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

from tanzhang.stores.storage import s3

if TYPE_CHECKING:
    from tanzhang.stores.storage.s3 import S3Storage

_NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # when objects are changed


class ScanFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Reads ``s3://`` objects of one storage; writes nothing, lists nothing."""

    protocol = "s3"
    cachable = False

    def __init__(self, storage: S3Storage) -> None:
        super().__init__()
        self._storage = storage
        self._sources: dict[str, Any] = {}
        self._lock = threading.Lock()

    def glob(self, path: str, **options: Any) -> list[str]:
        """The name itself: ours hold no patterns."""
        return [path]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "type": "file", "size": self._source(path).size()}

    def modified(self, path: str) -> datetime:
        return _NEVER

    def open(self, path: str, mode: str = "rb", **options: Any) -> ScanFile:
        if mode != "rb":
            raise ValueError(f"objects are read here, not opened as {mode}")
        return ScanFile(self._source(path), s3.S3Place(self._storage, _key(path)))

    def _source(self, path: str) -> Any:
        with self._lock:
            found = self._sources.get(path)
        if found is None:
            place = s3.S3Place(self._storage, _key(path))
            try:
                found = self._storage.source(place)
            except FileNotFoundError:
                raise s3.unusable(place, "the object is missing") from None
            with self._lock:
                found = self._sources.setdefault(path, found)
        return found


class ScanFile:
    """One object, with a position for each thread."""

    closed = False

    def __init__(self, source: Any, place: s3.S3Place) -> None:
        self._source = source
        self._place = place
        self._at = threading.local()

    def seek(self, position: int, whence: int = 0) -> int:
        if whence != 0:
            raise ValueError("positions are counted from the beginning")
        self._at.position = position
        return position

    def tell(self) -> int:
        return int(getattr(self._at, "position", 0))

    def read(self, length: int) -> bytes:
        with s3._said(self._place):
            data = bytes(self._source.read_at(length, self.tell()))
        self._at.position = self.tell() + len(data)
        return data

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing: the object stays open for the connection's next look."""


def _key(path: str) -> str:
    return path.removeprefix("s3://")
