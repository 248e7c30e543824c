"""What everybody may see of a programme: its log, its sealed totals and batches, its catalogue. Nothing about a person.

Totals here are those of the latest epoch, so that whoever reads one can check it: the epoch's root is in the log. Cuts
by behaviour and region are the cells that epochs were sealed with, of which small ones are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from tanzhang.core.epoch import Epoch
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.tiles import Tile
from tanzhang.service.catalogue import listing
from tanzhang.service.city import city_totals
from tanzhang.service.epoch import CELLS, describe, latest_epoch
from tanzhang.stores.book import batch, manifest_of
from tanzhang.stores.home import Home

# -- the log --------------------------------------------------------------------------------------------------


def tile_bytes(home: Home, path: str) -> bytes:
    """A file of the log by its path behind ``tile/``; only the canonical paths of tiles name one.

    Raises ``tile-path-invalid``; ``log-file-unknown`` where there is no such tile (any more: a partial one goes when
    the full one is there).
    """
    tile = Tile.parse(f"tile/{path}")
    try:
        return (home.storage / "log" / tile.path).read_bytes()
    except FileNotFoundError:
        raise refuse(
            "log-file-unknown",
            "the log has no such tile",
            where=tile.path,
            remedy="ask for tiles of the size that the checkpoint states; instead of a partial one take the full one",
        ) from None


def log_entry(home: Home, index: int) -> bytes:
    """An entry of the published log, proved to be in it. ``log-entry-unknown``, and what :meth:`Log.entry` raises."""
    try:
        return home.log.entry(index)
    except TanzhangError as error:
        if error.code != "tree-position-unknown":
            raise
        raise refuse(
            "log-entry-unknown",
            f"the log has no entry {index}",
            where="log",
            remedy="ask for an index below the size that the checkpoint states",
        ) from None


# -- totals ---------------------------------------------------------------------------------------------------


def sealed_totals(home: Home) -> dict[str, Any]:
    """The programme's totals as of its latest epoch, and the cells that all epochs show.

    ``totals`` are exact and those of the epoch's trees; ``cells`` add up what epochs were sealed with, and ``hidden``
    says how many of them were left out for being of few accounts. Before the first epoch there is nothing to show.
    What an epoch seals never changes, so it is computed once for each.
    """
    index = home.epochs.latest()
    kept = _sealed.get(home)
    if kept is None or kept[0] != index:
        with home.book.snapshot():
            kept = _sealed[home] = home.epochs.latest(), _sealed_totals(home)
    return kept[1]


_sealed: WeakKeyDictionary[Home, tuple[int | None, dict[str, Any]]] = WeakKeyDictionary()
_catalogues: WeakKeyDictionary[Home, dict[str, Any]] = WeakKeyDictionary()


def _sealed_totals(home: Home) -> dict[str, Any]:
    latest = latest_epoch(home)
    if latest is None:
        totals, covered = [], 0
    else:
        covered = int(latest["batches"]["last"]) + 1
        totals = city_totals(home, by=(), batches=covered)["totals"]
    return {
        "programme": home.programme.id,
        "rehearsal": home.programme.rehearsal,
        "state": "confirmed",
        "epoch": None if latest is None else _named(latest),
        "batches": covered,
        "totals": totals,
        "cells": _cells([Epoch.parse(row.text) for row in home.epochs.entries()]),
    }


def current_totals(
    home: Home,
    *,
    by: Sequence[str],
    since: date | None = None,
    until: date | None = None,
    region: str | None = None,
    partner: str | None = None,
    sealed: bool = False,
) -> dict[str, Any]:
    """Totals in any cut, small cells included, for those who may see them; with the epoch to check them by.

    ``sealed`` counts the batches of the latest epoch only; otherwise all that are settled. Raises as
    :func:`city_totals`, and ``epoch-unknown`` if ``sealed`` before the first epoch.
    """
    latest = latest_epoch(home)
    if sealed and latest is None:
        raise _no_epoch(None)
    batches = int(latest["batches"]["last"]) + 1 if sealed and latest is not None else None
    totals = city_totals(home, by=by, since=since, until=until, region=region, partner=partner, batches=batches)
    return {**totals, "epoch": None if latest is None else _named(latest)}


def _named(epoch: dict[str, Any]) -> dict[str, Any]:
    """How a total names the epoch by which it is checked."""
    return {name: epoch[name] for name in ("day", "log", "entry", "trees")} | {
        "batches": int(epoch["batches"]["last"]) + 1
    }


def _cells(epochs: Sequence[Epoch]) -> dict[str, Any]:
    """Sealed cells of all epochs added up by kind and label; hidden ones are counted."""
    found: dict[str, Any] = {}
    for name in CELLS:
        sums: dict[tuple[str, str], list[int]] = {}
        for epoch in epochs:
            for cell in epoch.cells[name]:
                own = sums.setdefault((cell["kind"], cell[name]), [0, 0])
                own[0] += int(cell["acts"])
                own[1] += int(cell["mg"])
        found[name] = [
            {"kind": kind, name: label, "acts": str(acts), "mg": str(mg)}
            for (kind, label), (acts, mg) in sorted(sums.items())
        ]
        found[f"{name}_hidden"] = str(sum(int(epoch.cells[f"{name}_hidden"]) for epoch in epochs))
    return found


# -- epochs and batches ---------------------------------------------------------------------------------------


def epoch_rows(home: Home) -> list[Any]:
    """Entries of the log that are epochs, the first one first: for pages of them."""
    return home.epochs.entries()


def epoch_shown(home: Home, row: Any) -> dict[str, Any]:
    """One of :func:`epoch_rows` with its text as it was sealed, and the hash of its leaf in the log."""
    return {
        **describe(home, row.seq, Epoch.parse(row.text)),
        "sealed": row.text,
        "leaf": leaf_hash(row.text.encode()).hex(),
    }


def epoch_of(home: Home, day: date) -> dict[str, Any]:
    """The epoch of a day, as :func:`epoch_shown`; ``epoch-unknown``."""
    for row in home.epochs.entries():
        if Epoch.parse(row.text).day == day:
            return epoch_shown(home, row)
    raise _no_epoch(day)


def batch_rows(home: Home, first: int, limit: int) -> list[Any]:
    """Up to ``limit`` rows of batches from number ``first`` on."""
    return home.book.query(sa.select(batch).where(batch.c.seq >= first).order_by(batch.c.seq).limit(limit))


def batch_shown(row: Any) -> dict[str, Any]:
    """A batch: its manifest as the log has it, where it is in the log, and when it was sealed."""
    manifest = manifest_of(row)
    return {
        "batch": row.seq,
        "entry": row.entry,
        "sealed_at": row.sealed_at,
        "through": row.through,
        "records": str(row.records),
        "root": manifest["root"],
        "outcomes": manifest["outcomes"],
        "granted": manifest["granted"],
        "reversed": manifest["reversed"],
        "manifest": row.manifest,
        "leaf": leaf_hash(row.manifest.encode()).hex(),
    }


def batch_numbered(home: Home, number: int) -> dict[str, Any]:
    """One batch, as :func:`batch_shown`; ``batch-unknown``."""
    rows = batch_rows(home, number, 1)
    if not rows:
        raise refuse(
            "batch-unknown",
            f"there is no batch {number}",
            where="batch",
            remedy="see the list of batches; they are numbered from 0",
        )
    return batch_shown(rows[0])


def _no_epoch(day: date | None) -> TanzhangError:
    return refuse(
        "epoch-unknown",
        "no epoch is closed" if day is None else f"there is no epoch of {day}",
        where="day",
        remedy="see the list of epochs; a day is closed when it is over and settled",
    )


# -- catalogue ------------------------------------------------------------------------------------------------


def catalogue_shown(home: Home) -> dict[str, Any]:
    """The catalogue that the programme computes by: its digest, its methodologies, and every factor with its values.

    Each value has its source and status; a factor without a value says what is missing. Made once for a home.
    """
    if home not in _catalogues:
        _catalogues[home] = _catalogue_shown(home)
    return _catalogues[home]


def _catalogue_shown(home: Home) -> dict[str, Any]:
    catalogue = home.catalogue
    factors = []
    for name in catalogue.factor_ids():
        series = catalogue.factor(name)
        values = [
            {
                "value": row.text,
                "region": row.region,
                "applies": str(row.period),
                "status": row.status,
                "mark": row.mark,
                "source": row.source,
            }
            for row in series.values
        ]
        gaps = [gap.strip() for gap in series.gaps]
        factors.append({"id": series.id, "unit": series.unit, "kind": series.kind, "values": values, "gaps": gaps})
    return {
        "digest": catalogue.digest(),
        "programme": home.programme.id,
        "listed": sorted(home.programme.methodologies),
        **listing(catalogue),
        "factors": factors,
    }
