"""Public packages of lots that everybody can fetch: made when the operator says so, kept as one file each.

They lie in folder ``packages`` beside the log. One that is missing can be made anew at any time.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from tanzhang.core.access import Actor
from tanzhang.core.errors import refuse
from tanzhang.core.lot import lot_text
from tanzhang.core.lot_package import PUBLIC
from tanzhang.service.market.open_data import PUBLISHED
from tanzhang.service.market.package import frozen_lot, make_package
from tanzhang.stores.home import Home
from tanzhang.stores.storage import Place, write_durably

FOLDER = "packages"


def publish_package(home: Home, number: int, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Make the public package of a registered lot, in place of an earlier one. ``unknown-lot``, ``lot-state``."""
    row = frozen_lot(home, number)
    if row.state not in PUBLISHED:
        raise refuse(
            "lot-state",
            f"{lot_text(number)} is {row.state}: its package is published once it is registered",
            where=lot_text(number),
            remedy="register it first",
        )
    with tempfile.TemporaryDirectory(prefix="tanzhang-lot-") as made:
        out = Path(made) / f"{lot_text(number)}.zip"
        said = make_package(home, number, PUBLIC, out, actor=actor, now=now)
        write_durably(_place(home, number), out.read_bytes(), up_to=home.storage)
    return {**said, "status": "published", "package": f"{FOLDER}/{out.name}"}


def public_package(home: Home, number: int) -> bytes:
    """The public package of a lot as it was last made; ``package-missing``."""
    place = _place(home, number)
    if not place.is_file():
        raise refuse(
            "package-missing",
            f"no package of {lot_text(number)} is published",
            where=lot_text(number),
            remedy="packages are published of registered lots; ask the operator",
        )
    return place.read_bytes()


def _place(home: Home, number: int) -> Place:
    return home.storage / FOLDER / f"{lot_text(number)}.zip"
