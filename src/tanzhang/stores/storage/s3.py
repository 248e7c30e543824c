"""Files as objects of an S3-compatible bucket, by pyarrow's own client.

Durable is what the server has acknowledged. An upload becomes an object in one moment, when it is completed; a process
that dies before leaves parts that no reader sees, which a rule of the bucket should clear away (docs/storage.md).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.stores.files import step
from tanzhang.stores.storage.address import StorageAddress

if TYPE_CHECKING:
    import duckdb

_CONNECT_S, _REQUEST_S = 5, 60
_BUFFER = 1 << 16
_SMALL = 1 << 22  # bytes; below what a part of an upload must have
_TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_BINARY = "application/octet-stream"
# As tlog-tiles wants them served: a checkpoint is old in a few seconds, a tile never changes.
_CHECKPOINT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "max-age=5"}
_TILE = {"Content-Type": _BINARY, "Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class S3Place:
    """An object, or the beginning of the names of several; as text the URL that DuckDB reads it by."""

    storage: S3Storage = field(repr=False)
    key: str  # with the bucket in front, as pyarrow names objects

    def __str__(self) -> str:
        return f"s3://{self.key}"

    def __truediv__(self, name: Any) -> S3Place:
        return S3Place(self.storage, (PurePosixPath(self.key) / name).as_posix())

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> S3Place:
        """The place above."""
        return S3Place(self.storage, PurePosixPath(self.key).parent.as_posix())

    def relative_to(self, other: Any) -> PurePosixPath:
        """The name under another place."""
        return PurePosixPath(self.key).relative_to(other.key)

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return bool(self.storage.info(self).is_file)

    def exists(self) -> bool:
        """Whether there is such an object, or one below."""
        return self.is_file() or bool(self.storage.files_under(self))

    def read_bytes(self) -> bytes:
        """The whole object. Raises ``FileNotFoundError``."""
        with _said(self):
            return bytes(self.storage.source(self).read())


class S3Storage:
    """One prefix of one bucket."""

    def __init__(self, address: StorageAddress) -> None:
        """Raises ``storage-driver-missing``; the server is asked nothing yet."""
        self.address = address
        self.root = f"{address.bucket}/{address.prefix}"
        try:
            import pyarrow.fs

            from tanzhang.stores.storage import scan

            self._client = pyarrow.fs.S3FileSystem
            self._scan = scan.ScanFileSystem
        except ImportError as error:
            raise refuse(
                "storage-driver-missing",
                f"files in a bucket need a package that is missing: {error.name or error}",
                where=address.text,
                remedy="pip install 'tanzhang[s3]'",
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens its own client, with the credentials of its own surroundings."""
        return S3Storage, (self.address,)

    @cached_property
    def fs(self) -> Any:
        """The client; it never makes a bucket."""
        endpoint, region = self.address.reached()
        with _said(self.root_place):
            return self._client(
                endpoint_override=endpoint,
                region=region,
                tls_ca_file_path=self.address.ca_file,
                connect_timeout=_CONNECT_S,
                request_timeout=_REQUEST_S,
                allow_delayed_open=True,  # a small file is one request
                allow_bucket_creation=False,
            )

    @property
    def root_place(self) -> S3Place:
        """The prefix itself."""
        return S3Place(self, self.root)

    @contextmanager
    def writing(self, place: S3Place, up_to: S3Place | None) -> Iterator[BinaryIO]:
        upload = _Upload(place, self._headers(place))
        try:
            with step("write", cast("Any", place)):
                yield cast("BinaryIO", upload)
            with step("put", cast("Any", place)):
                upload.finish()
        except BaseException:
            upload.discard()
            raise

    def confirm(self, place: S3Place, up_to: S3Place | None) -> None:
        pass  # what can be read was acknowledged

    def source(self, place: S3Place) -> Any:
        with _said(place):
            return self.fs.open_input_file(place.key)

    def open(self, place: S3Place) -> io.BufferedReader:
        return io.BufferedReader(cast("Any", _Download(self.source(place), place)), _BUFFER)

    def info(self, place: S3Place) -> Any:
        """What the server says of one name."""
        with _said(place):
            return self.fs.get_file_info(place.key)

    def files_under(self, folder: S3Place) -> list[tuple[PurePath, int]]:
        return sorted((PurePosixPath(each.path).relative_to(folder.key), each.size) for each in self._listed(folder))

    def files_written_before(self, folder: S3Place, moment: datetime) -> list[PurePath]:
        old = [each for each in self._listed(folder) if each.mtime is not None and each.mtime < moment]
        return sorted(PurePosixPath(each.path).relative_to(folder.key) for each in old)

    def _listed(self, folder: S3Place) -> list[Any]:
        from pyarrow.fs import FileSelector

        with _said(folder):
            found = self.fs.get_file_info(FileSelector(folder.key, recursive=True, allow_not_found=True))
        return [each for each in found if each.is_file]

    def check_bucket(self) -> None:
        """That the bucket is there and may be looked at; ``storage-unusable``."""
        bucket = self.address.bucket
        if not self.info(S3Place(self, bucket)).type.value:
            raise unusable(self.root_place, f"there is no bucket {bucket}")

    def remove(self, place: S3Place) -> None:
        with _said(place):
            self.fs.delete_file(place.key)

    def let_read(self, con: duckdb.DuckDBPyConnection) -> None:
        if "s3" in con.list_filesystems():  # of a storage that this connection read before
            con.unregister_filesystem("s3")
        con.register_filesystem(self._scan(self))

    def _headers(self, place: S3Place) -> dict[str, str]:
        name = place.relative_to(self.root_place).as_posix()
        if name == "log/checkpoint":
            return _CHECKPOINT
        if name.startswith("log/tile/"):
            return _TILE
        return {"Content-Type": _TYPES.get(PurePosixPath(name).suffix, _BINARY)}


class _Upload:
    """An object being written, whose errors are said in our words.

    A small one is held back and sent in one request when it is complete, so that what stood there before, such as a
    log's checkpoint, is replaced in one moment or not at all. A large one is sent in parts, and replaces nothing.
    """

    def __init__(self, place: S3Place, headers: dict[str, str]) -> None:
        self._place = place
        self._headers = headers
        self._held = bytearray()
        self._stream: Any = None

    def write(self, data: bytes | memoryview) -> int:
        if self._stream is not None:
            with _said(self._place):
                return int(self._stream.write(data))
        self._held += data
        if len(self._held) > _SMALL:
            self._stream = self._begin()
        return len(data)

    def flush(self) -> None:
        pass  # an object is acknowledged as a whole

    def finish(self) -> None:
        """Complete the object; when this returns, the server has it."""
        stream, self._stream = self._stream or self._begin(), None  # from here on all of it is there, or nothing
        with _said(self._place):
            stream.close()

    def discard(self) -> None:
        """Leave nothing of an object that was not finished.

        A client that lets go of an unfinished upload completes it, so that is done, and what it made is taken away.
        """
        if self._stream is not None:
            with suppress(Exception):
                self._stream.close()
            with suppress(Exception):
                self._place.storage.remove(self._place)

    def _begin(self) -> Any:
        with _said(self._place):
            stream = self._place.storage.fs.open_output_stream(self._place.key, metadata=self._headers)
            try:
                stream.write(self._held)
            except BaseException:  # left to itself it is closed when it is forgotten, and holds everybody up
                with suppress(Exception):
                    stream.close()
                raise
        self._held = bytearray()
        return stream


class _Download(io.RawIOBase):
    """An object as a stream, whose errors are said in our words."""

    def __init__(self, source: Any, place: S3Place) -> None:
        self._source = source
        self._place = place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0, /) -> int:
        with _said(self._place):
            return int(self._source.seek(place, whence))

    def readinto(self, buffer: Any) -> int:
        with _said(self._place):
            return int(self._source.readinto(buffer))


@contextmanager
def _said(place: S3Place) -> Iterator[None]:
    """A storage that cannot be used is said with a code; a missing object stays ``FileNotFoundError``."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unusable(place, error) from None


def unusable(place: S3Place, error: object) -> TanzhangError:
    """``storage-unusable`` with the first line of what the client said."""
    reason = re.sub(r" \(Request ID: [^)]*\)", "", str(error).strip().partition("\n")[0])
    endpoint, _ = place.storage.address.reached()
    return refuse(
        "storage-unusable",
        f"the files cannot be used: {reason}",
        where=f"{place} at {endpoint}" if endpoint else str(place),
        remedy="check bucket, endpoint and region of the address, that the server is up, and that the credentials "
        "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile) may list, read and write there; then run the "
        "same command again",
    )


_REFUSAL = re.compile(r"(storage-[a-z]+): (.*)\n  where  (.*)\n  fix    (.*)")


def refusal_in(error: BaseException) -> Problem | None:
    """The refusal that an engine's error holds in its text: DuckDB passes on no error of a file system but as text."""
    found = _REFUSAL.search(str(error))
    return None if found is None else Problem(*found.groups())
