"""Files on local disk; how they become durable is said in :mod:`tanzhang.stores.files`."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from datetime import datetime
from io import BufferedReader
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO

from tanzhang.stores.files import durable_file, sync_again

if TYPE_CHECKING:
    import duckdb


class LocalStorage:
    """Any folder of this machine."""

    def writing(self, place: Path, up_to: Path | None) -> AbstractContextManager[BinaryIO]:
        return durable_file(place, up_to=up_to)

    def confirm(self, place: Path, up_to: Path | None) -> None:
        sync_again(place, up_to=up_to)

    def source(self, place: Path) -> Path:
        return place

    def open(self, place: Path) -> BufferedReader:
        return place.open("rb")

    def files_under(self, folder: Path) -> list[tuple[PurePath, int]]:
        found: list[tuple[PurePath, int]] = []
        for path in sorted(folder.rglob("*")):
            with suppress(FileNotFoundError):  # written or removed at this moment
                size = path.stat().st_size
                if path.is_file():
                    found.append((path.relative_to(folder), size))
        return found

    def files_written_before(self, folder: Path, moment: datetime) -> list[PurePath]:
        old = moment.timestamp()
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_mtime < old]
        return [path.relative_to(folder) for path in files]

    def remove(self, place: Path) -> None:
        place.unlink()

    def let_read(self, con: duckdb.DuckDBPyConnection) -> None:
        pass  # it can
