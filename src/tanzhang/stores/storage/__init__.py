"""Where the bulky and public files of a home are: a folder, or a prefix of an S3-compatible bucket.

A file or folder is a :class:`Place` wherever it is: a :class:`pathlib.Path` on local disk, an :class:`S3Place` in a
bucket. What the two have in common is used as it is; the rest is a :class:`Storage`'s, by the functions here::

    address.py   s3://, file:// and folders; no address holds a secret
    local.py     files and folders: sync, rename, sync the folders
    s3.py        objects: an upload that is completed is there whole, one that is not leaves nothing
    scan.py      how DuckDB reads objects; loaded, with fsspec, only where an address names a bucket
    claim.py     that no two homes share a place
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BufferedReader
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

import pyarrow.parquet as pq

from tanzhang.stores.storage.address import StorageAddress
from tanzhang.stores.storage.local import LocalStorage
from tanzhang.stores.storage.s3 import S3Place, S3Storage, refusal_in

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "Place",
    "Storage",
    "StorageAddress",
    "durable_file",
    "files_under",
    "files_written_before",
    "let_read",
    "open_binary",
    "open_storage",
    "parquet_file",
    "refusal_in",
    "remove",
    "sync_again",
    "write_durably",
]


class Place(Protocol):
    """What a path and an object have in common; as text, what DuckDB reads them by."""

    @property
    def name(self) -> str:
        """The last part."""
        ...

    @property
    def parent(self) -> Self:
        """The place above."""
        ...

    def __truediv__(self, name: Any, /) -> Self: ...

    def relative_to(self, other: Any, /) -> PurePath:
        """The name under another place of the same storage."""
        ...

    def is_file(self) -> bool:
        """Whether there is such a file."""
        ...

    def exists(self) -> bool:
        """Whether there is such a file, or one below."""
        ...

    def read_bytes(self) -> bytes:
        """The whole file. Raises ``FileNotFoundError``."""
        ...


class Storage(Protocol):
    """What the stores need beside paths. Every method takes places of this storage alone.

    Whatever is wrong with the storage itself, and not with one file, is an ``OSError`` on local disk and
    ``storage-unusable`` on S3.
    """

    def writing(self, place: Any, up_to: Any | None) -> Any:
        """Context of a new file, written as a stream: whole and durable at the end of the block, or not there at all.

        ``up_to`` is the highest folder that may have to be made.
        """
        ...

    def confirm(self, place: Any, up_to: Any | None) -> None:
        """Make durable what an interrupted run may have left just short of it."""
        ...

    def source(self, place: Any) -> Any:
        """The file for random access, as pyarrow takes it. ``FileNotFoundError``."""
        ...

    def open(self, place: Any) -> BufferedReader:
        """The file as a stream. ``FileNotFoundError``."""
        ...

    def files_under(self, folder: Any) -> list[tuple[PurePath, int]]:
        """Names, relative to ``folder``, and sizes of all files in it and below, sorted; none where it is missing."""
        ...

    def files_written_before(self, folder: Any, moment: datetime) -> list[PurePath]:
        """Names of the files in a folder and below that were last written before a moment, sorted."""
        ...

    def remove(self, place: Any) -> None:
        """Remove a file that is there."""
        ...

    def let_read(self, con: duckdb.DuckDBPyConnection) -> None:
        """Make an engine able to read places of this storage by their text."""
        ...


_LOCAL = LocalStorage()


def _storage_of(place: Place) -> Storage:
    return place.storage if isinstance(place, S3Place) else _LOCAL


def open_storage(address: StorageAddress) -> Place:
    """The root of a storage. Nothing is read yet. Raises ``storage-driver-missing``."""
    if address.folder is not None:
        return address.folder
    storage = S3Storage(address)
    return S3Place(storage, storage.root)


@contextmanager
def durable_file(place: Place, *, up_to: Place | None = None) -> Iterator[BinaryIO]:
    """A new file: there whole, and durable, when the block ends without an error, or not at all."""
    with _storage_of(place).writing(place, up_to) as file:
        yield file


def write_durably(place: Place, data: bytes | memoryview, *, up_to: Place | None = None) -> None:
    """Put ``data`` at ``place``, whole or not at all; when this returns, it survives a power cut."""
    with durable_file(place, up_to=up_to) as file:
        file.write(data)


def sync_again(place: Place, *, up_to: Place | None = None) -> None:
    """Make a file durable that an interrupted run may have put in its place without."""
    _storage_of(place).confirm(place, up_to)


def parquet_file(place: Place, **options: Any) -> pq.ParquetFile:
    """A Parquet file for reading; ``options`` as pyarrow has them."""
    if isinstance(place, S3Place):  # neighbouring columns in one request
        options = {**options, "pre_buffer": True, "memory_map": False}
    return pq.ParquetFile(_storage_of(place).source(place), **options)


def open_binary(place: Place) -> BufferedReader:
    """A file as a stream of bytes. Raises ``FileNotFoundError``."""
    return _storage_of(place).open(place)


def files_under(folder: Place) -> list[tuple[PurePath, int]]:
    """Names, relative to ``folder``, and sizes of all files in it and below, sorted; none where it is missing."""
    return _storage_of(folder).files_under(folder)


def files_written_before(folder: Place, moment: datetime) -> list[PurePath]:
    """Names, relative to ``folder``, of the files in it and below that were last written before a moment, sorted."""
    return _storage_of(folder).files_written_before(folder, moment)


def remove(place: Place) -> None:
    """Remove a file that is there."""
    _storage_of(place).remove(place)


def let_read(con: duckdb.DuckDBPyConnection, root: Place) -> None:
    """Make an engine able to read whatever is under ``root``, by the text of its place."""
    _storage_of(root).let_read(con)
