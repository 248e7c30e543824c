"""That no two homes share a place: a home leaves its mark before anything else, and looks whether it is alone.

A bucket has no locks. Each writes its own mark first and lists then, so of two that come at one moment at least one
sees the other and gives way.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from tanzhang.core.errors import refuse
from tanzhang.stores.storage import Place, files_under, remove, write_durably
from tanzhang.stores.storage.s3 import S3Place


def check_free(root: Place, token: str | None) -> None:
    """Refuse a place that holds anything but what an interrupted setting up with this ``token`` left there.

    Raises ``storage-in-use``, ``storage-unusable``.
    """
    if isinstance(root, S3Place):
        root.storage.check_bucket()
    elif isinstance(root, Path) and root.exists() and not root.is_dir():
        raise _in_use(root, root)
    names = [name for name, _ in files_under(root)]
    own = token is not None and _mark(token) in names
    strange = [name for name in names if not (own and (name == _mark(token or "") or name.parts[0] == "log"))]
    if strange:
        raise _in_use(root, strange[0])


def claim(root: Place, token: str, text: str) -> None:
    """Leave a mark, see that nobody else did, and clear away what an interrupted setting up left."""
    check_free(root, token)
    if isinstance(root, Path):
        root.mkdir(parents=True, exist_ok=True)
    mark = root / _mark(token).as_posix()
    write_durably(mark, f"{text}\n".encode())
    try:
        check_free(root, token)
    except BaseException:
        remove(mark)
        raise
    for name, _ in files_under(root / "log"):
        remove(root / "log" / name)


def _mark(token: str) -> PurePath:
    return PurePath(f"home-{token}.txt")


def _in_use(root: Place, name: PurePath | Place) -> Exception:
    return refuse(
        "storage-in-use",
        f"there is something already: {name}",
        where=str(root),
        remedy="choose a prefix or folder of this home's own; if a setting up was given up there, remove what it left",
    )
