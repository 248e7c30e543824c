"""The transparency log in a folder or a bucket: C2SP tlog-tiles files that any static web server can publish.

``checkpoint``, ``tile/<level>/<index>[.p/<width>]`` and ``tile/entries/<index>[.p/<width>]``. Publishing and proving
read the few tiles they need and prove them against the signed root; :meth:`Log.check` reads everything.

Refused are opening a log that is not there (only :meth:`Log.create` makes one), a checkpoint that its key did not
sign, entries other than those published, a smaller or inconsistent tree, and changing any file once it is written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, product
from pathlib import Path
from typing import Protocol

from tanzhang.core import merkle
from tanzhang.core.checkpoint import Checkpoint, open_checkpoint
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.merkle import EMPTY_ROOT, leaf_hash
from tanzhang.core.note import Signature, Signer, Verifier, format_note, parse_note, sign_note
from tanzhang.core.tiled_tree import TiledTree, grow
from tanzhang.core.tiles import (
    TILE_WIDTH,
    Tile,
    bundles_for,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
    level_hashes,
    tiles_for,
)
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.signing import NoteSigner
from tanzhang.stores.storage import Place, files_under, remove, sync_again, write_durably

_CHECKPOINT = "checkpoint"
_RESTORE = "restore the file from a copy of the log, and find out how it changed"
_MOST_TRIALS = 4096


class Release(Protocol):
    """Who is asked before a checkpoint is signed, and again before it is released. Either refuses by raising."""

    def before_signing(self, note: bytes, published: Checkpoint) -> None:
        """``note`` is the signed checkpoint that is published now; a larger tree is to be signed next."""

    def before_release(self, note: bytes, tree: TiledTree) -> bytes:
        """The new signed checkpoint, whose tree is on disk, with what may have been added to its signatures."""


class Log:
    """One log. Holds no state but its folder, so any number of processes may read while one publishes."""

    def __init__(self, folder: Place, origin: str, verifier: Verifier) -> None:
        self._folder = folder
        self._origin = origin
        self._verifier = verifier

    @classmethod
    def create(cls, folder: Place, origin: str, signer: NoteSigner) -> Log:
        """Start a new log by publishing its size-0 checkpoint.

        Raises: TanzhangError ``log-exists`` if the folder holds a log or what is left of one.
        """
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)
        log = cls(folder, origin, signer.verifier)
        with log._locked():
            if (folder / _CHECKPOINT).exists() or (folder / "tile").exists():
                raise refuse(
                    "log-exists",
                    "there is a log already, or what is left of one",
                    where=str(folder),
                    remedy="open it, or choose an empty folder; two logs must never share origin and key",
                )
            note = log._sign(Checkpoint(origin, 0, EMPTY_ROOT), signer)
            write_durably(folder / _CHECKPOINT, note, up_to=folder.parent)
        return log

    @classmethod
    def open(cls, folder: Place, origin: str, verifier: Verifier) -> Log:
        """Open an existing log.

        Raises: TanzhangError ``log-missing``; ``log-checkpoint-changed`` if its checkpoint does not verify.
        """
        log = cls(folder, origin, verifier)
        log.checkpoint()
        return log

    @property
    def size(self) -> int:
        """Number of published entries."""
        return self.checkpoint().size

    @property
    def root(self) -> bytes:
        """Root of the published tree."""
        return self.checkpoint().root

    def checkpoint(self) -> Checkpoint:
        """The published checkpoint, verified. Raises as :meth:`open` does."""
        return self._open(self.checkpoint_bytes())

    def checkpoint_bytes(self) -> bytes:
        """The published checkpoint as it is served. Raises: TanzhangError ``log-missing``."""
        path = self._folder / _CHECKPOINT
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise refuse(
                "log-missing",
                "there is no log here",
                where=str(path),
                remedy="check the folder in the settings, or restore it; a new log is made by its own command only",
            ) from error

    def entries(self) -> list[bytes]:
        """All published entries in order.

        Raises: TanzhangError ``log-entry-changed`` or ``log-entry-missing`` if they are not those that the
                checkpoint commits to.
        """
        return self._entries_of(self.checkpoint())

    def entry(self, index: int) -> bytes:
        """One published entry. Raises as :meth:`entries`, and ``tree-position-unknown`` outside the log."""
        tree = self.tree()
        if not 0 <= index < tree.size:
            raise refuse(
                "tree-position-unknown",
                f"a log of {tree.size} entries has no entry {index}",
                where=str(self._folder),
                remedy="ask for an index from 0 up to, and not including, the size",
            )
        start = index - index % TILE_WIDTH
        bundle = Tile(None, index // TILE_WIDTH, min(TILE_WIDTH, tree.size - start))
        entry = self._bundle(bundle)[index - start]
        with self._proving():
            if [leaf_hash(entry)] != tree.leaves(index, index + 1):
                message = f"entry {index} is not the one that was published"
                raise TanzhangError(self._problem(bundle, "changed", message))
        return entry

    def tree(self, checkpoint: Checkpoint | None = None) -> TiledTree:
        """The tree of a checkpoint of this log, by default the published one, read from the tiles."""
        if checkpoint is None:
            checkpoint = self.checkpoint()
        return TiledTree(checkpoint.size, checkpoint.root, self._tile)

    def publish(
        self, entries: Sequence[bytes], signer: Signer, *, first_index: int, release: Release | None = None
    ) -> Checkpoint:
        """Publish ``entries`` as entry ``first_index`` and following; returns the checkpoint that covers them.

        Calling it again with the same arguments, after a crash at any point or after success, ends in the same
        bytes. Entries that are published already are compared, never replaced. Order of writing: entry bundles,
        tiles from the leaves up, checkpoint; the checkpoint is the moment of publication. What is read and written
        grows with the new entries and the height of the tree, not with the log.

        Raises: TanzhangError ``log-entry-conflict`` if an entry differs from the published one; ``log-gap`` if
                ``first_index`` lies beyond the end; ``log-would-shrink`` if the log has entries beyond these;
                ``log-key-wrong``; ``entry-too-long``; what ``release`` raises; and ``log-tile-changed``,
                ``log-tile-missing``, ``log-entry-changed`` or ``log-entry-missing`` if the right edge of the log is
                not what was signed, or a file to be written exists with other bytes. No checkpoint is released then.
        """
        with self._locked(), self._proving():
            before = self.checkpoint_bytes()
            published = self._open(before)
            tree = self.tree(published)
            self._check_continues(entries, first_index, tree)
            self._check_key(signer)
            path = self._folder / _CHECKPOINT
            fresh = entries[published.size - first_index :]
            if not fresh:  # keep it with the cosignatures that it may have gained
                sync_again(path, up_to=self._folder)
                return published
            if release is not None:
                release.before_signing(before, published)
            grown = grow(published.size, tree.edge(), [leaf_hash(entry) for entry in fresh])
            checkpoint = Checkpoint(self._origin, grown.size, grown.root)
            files = self._bundles(tree, fresh)
            files += [(tile, encode_tile(hashes)) for tile, hashes in grown.tiles]
            note = self._sign(checkpoint, signer)
            for tile, data in files:
                self._write_once(tile, data)
            if release is not None:
                note = release.before_release(note, self.tree(checkpoint))
            write_durably(path, note, up_to=self._folder)
            return checkpoint

    def add_signatures(self, text: str, signatures: Iterable[Signature]) -> bool:
        """Put cosignatures, verified by the caller, under the published checkpoint; whether it still is ``text``.

        A newer line of a key takes the place of its older one; the log's own lines stay first.
        """
        with self._locked():
            note = parse_note(self.checkpoint_bytes())
            if note.text != text:
                return False
            lines = {(each.name, each.key_id): each for each in note.signatures}
            lines.update({(each.name, each.key_id): each for each in signatures})
            write_durably(self._folder / _CHECKPOINT, format_note(text, lines.values()), up_to=self._folder)
            return True

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Path of an entry to the published root.

        Raises: TanzhangError ``tree-position-unknown``, ``log-tile-changed``, ``log-tile-missing``.
        """
        with self._proving():
            return self.tree().inclusion_proof(index)

    def consistency_proof(self, old_size: int) -> list[bytes]:
        """Proof from an earlier size to the published one. Raises as :meth:`inclusion_proof`."""
        with self._proving():
            return self.tree().consistency_proof(old_size)[1]

    def prove(self, index: int, extra: bytes | None = None) -> bytes:
        """The ``.tlog-proof`` file of an entry, with the published checkpoint and all its signatures.

        Raises: as :meth:`inclusion_proof`.
        """
        note = self.checkpoint_bytes()
        with self._proving():
            path = self.tree(self._open(note)).inclusion_proof(index)
        return TlogProof(index, tuple(path), note, extra).to_bytes()

    def tidy(self) -> int:
        """Remove partial tiles and bundles whose full one is published; returns how many.

        Every checkpoint leaves some behind. Readers fall back to the full file, as tlog-tiles asks them to.
        """
        size = self.size
        stale = [
            tile
            for tile in self._tiles_on_disk()
            if tile != tile.full and tile.full.tree_size <= size and (self._folder / tile.full.path).is_file()
        ]
        for tile in stale:
            remove(self._folder / tile.path)
        return len(stale)

    def check(self) -> list[Problem]:
        """Read every file of the log and list each one that is not what the signed checkpoint demands.

        A bundle and its level-0 tile both state the leaf hashes; where they disagree, the signed root decides which
        of the two was changed, and if it cannot, both are listed. Files beyond the checkpoint, left by an
        interrupted publication, are no problem.
        """
        problems: list[Problem] = []
        on_disk = self._tiles_on_disk()
        try:
            checkpoint = self.checkpoint()
            size, root = checkpoint.size, checkpoint.root
        except TanzhangError as error:
            problems.extend(error.problems)
            size, root = _size_on_disk(on_disk), None

        tiles = dict.fromkeys([*bundles_for(size), *tiles_for(size)])
        tiles.update(dict.fromkeys(tile for tile in on_disk if tile.tree_size <= size))  # of earlier checkpoints
        stated = {tile: self._stated(tile, problems) for tile in tiles}
        leaves = self._leaves(size, root, stated, problems)
        levels = _known_level_hashes(leaves)
        for tile, hashes in stated.items():
            expected = levels[tile.level or 0][tile.positions]
            wrong = [i for i, value in enumerate(hashes or ()) if expected[i] not in (value, None)]
            if wrong:
                kind = "entry" if tile.level is None else f"level-{tile.level} hash"
                what = f"{kind} {tile.positions.start + wrong[0]} is not the one that was published"
                more = f" ({len(wrong)} of {tile.width} differ)" if len(wrong) > 1 else ""
                problems.append(self._problem(tile, "changed", what + more))
        return problems

    def _stated(self, tile: Tile, problems: list[Problem]) -> list[bytes] | None:
        """The hashes for which the file stands, or None and a problem."""
        try:
            return self._hashes(tile)
        except FileNotFoundError:
            problems.append(self._problem(tile, "missing", "the file is missing"))
        except (OSError, TanzhangError) as error:
            why = error.problems[0].message if isinstance(error, TanzhangError) else error.strerror
            problems.append(self._problem(tile, "changed", f"the file cannot be read: {why}"))
        return None

    def _leaves(
        self, size: int, root: bytes | None, stated: Mapping[Tile, list[bytes] | None], problems: list[Problem]
    ) -> list[bytes | None]:
        """The leaf hashes by which the files are judged; None where the files cannot tell them."""
        pairs = [(bundle, Tile(0, bundle.index, bundle.width)) for bundle in bundles_for(size)]
        choices = [_distinct(stated[bundle], stated[tile]) for bundle, tile in pairs]
        chosen = _leading_to(root, choices)
        if chosen is not None:
            return [value for hashes in chosen for value in hashes]
        if root is not None and all(choices):
            problems.append(
                Problem(
                    "log-root-mismatch",
                    "bundles and tiles do not lead to the signed root",
                    str(self._folder / _CHECKPOINT),
                    "restore the whole folder from a copy of the log, and find out how it changed",
                )
            )
        leaves: list[bytes | None] = []
        for pair, choice in zip(pairs, choices, strict=True):
            leaves += choice[0] if len(choice) == 1 else [None] * pair[0].width
            if len(choice) > 1:
                problems += [self._problem(each, "changed", "bundle and tile disagree") for each in pair]
        return leaves

    def _open(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, self._origin, self._verifier)[0]
        except TanzhangError as error:
            raise refuse(
                "log-checkpoint-changed",
                f"the checkpoint cannot be believed: {error.problems[0].message}",
                where=str(self._folder / _CHECKPOINT),
                remedy="check origin and key in the settings; if they are right, restore the file from a copy",
            ) from error

    def _check_key(self, signer: Signer) -> None:
        if (signer.name, signer.key_id) != (self._verifier.name, self._verifier.key_id):
            raise refuse(
                "log-key-wrong",
                f"the key {signer.name}+{signer.key_id.hex()} is not the one that signs this log",
                where=str(self._folder),
                remedy="configure the private key with which the log was created",
            )

    def _sign(self, checkpoint: Checkpoint, signer: Signer) -> bytes:
        self._check_key(signer)
        note = sign_note(checkpoint.to_text(), [signer])
        open_checkpoint(note, self._origin, self._verifier)
        return note

    def _entries_of(self, checkpoint: Checkpoint) -> list[bytes]:
        entries = list(chain.from_iterable(self._bundle(bundle) for bundle in bundles_for(checkpoint.size)))
        if merkle.root([leaf_hash(entry) for entry in entries]) != checkpoint.root:
            raise refuse(
                "log-entry-changed",
                "the entries are not those that the checkpoint commits to",
                where=str(self._folder / "tile" / "entries"),
                remedy="check the log, which names the file that differs, and restore that file from a copy",
            )
        return entries

    def _bundles(self, tree: TiledTree, fresh: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """The bundles that new entries lie in, those before them in the first one included."""
        number, width = divmod(tree.size, TILE_WIDTH)
        entries = []
        if width:
            bundle = Tile(None, number, width)
            entries = self._bundle(bundle)
            known = tree.leaves(tree.size - width, tree.size)
            wrong = [i for i, entry in enumerate(entries) if leaf_hash(entry) != known[i]]
            if wrong:
                message = f"entry {bundle.positions.start + wrong[0]} is not the one that was published"
                raise TanzhangError(self._problem(bundle, "changed", message))
        entries += fresh
        parts = [entries[start : start + TILE_WIDTH] for start in range(0, len(entries), TILE_WIDTH)]
        return [(Tile(None, number + i, len(part)), encode_bundle(part)) for i, part in enumerate(parts)]

    def _bundle(self, bundle: Tile) -> list[bytes]:
        """Entries of a bundle, not yet proved. ``log-entry-missing``, ``log-entry-changed``."""
        return self._read_or_say(bundle)

    def _tile(self, tile: Tile) -> list[bytes]:
        """Hashes of a tile, not yet proved. ``log-tile-missing``, ``log-tile-changed``."""
        return self._read_or_say(tile)

    def _read_or_say(self, tile: Tile) -> list[bytes]:
        try:
            return self._read(tile)
        except FileNotFoundError as error:
            raise TanzhangError(self._problem(tile, "missing", "the file is missing")) from error
        except TanzhangError as error:
            raise TanzhangError(self._problem(tile, "changed", error.problems[0].message)) from error

    @contextmanager
    def _proving(self) -> Iterator[None]:
        """Say in this log's words that its tiles do not lead to the signed root."""
        try:
            yield
        except TanzhangError as error:
            if error.code != "tiles-not-of-tree":
                raise
            raise refuse(
                "log-tile-changed",
                error.problems[0].message,
                where=str(self._folder / "tile"),
                remedy="run 'tanzhang verify', which names the file that differs, and restore it from a copy",
            ) from error

    def _read(self, tile: Tile) -> list[bytes]:
        """Hashes of a tile or entries of a bundle; the full file serves where a partial one was tidied away."""
        decode = decode_bundle if tile.level is None else decode_tile
        try:
            return decode(tile, (self._folder / tile.path).read_bytes())
        except FileNotFoundError:
            if tile == tile.full:
                raise
            return decode(tile.full, (self._folder / tile.full.path).read_bytes())[: tile.width]

    def _hashes(self, tile: Tile) -> list[bytes]:
        """Hashes of a tile, or leaf hashes of the entries in a bundle."""
        content = self._read(tile)
        return [leaf_hash(entry) for entry in content] if tile.level is None else content

    def _tiles_on_disk(self) -> list[Tile]:
        """All files that are named like tiles; temporary and foreign files are left alone."""
        tiles = []
        for name, _ in files_under(self._folder / "tile"):
            try:
                tiles.append(Tile.parse(f"tile/{name.as_posix()}"))
            except TanzhangError:
                continue
        return tiles

    def _write_once(self, tile: Tile, data: bytes) -> None:
        path = self._folder / tile.path
        try:
            existing = path.read_bytes()
        except FileNotFoundError:
            write_durably(path, data, up_to=self._folder)
            return
        if existing != data:
            raise TanzhangError(self._problem(tile, "changed", "the file exists with other bytes than it should have"))
        sync_again(path, up_to=self._folder)

    def _check_continues(self, entries: Sequence[bytes], first_index: int, tree: TiledTree) -> None:
        if not 0 <= first_index <= tree.size:
            raise refuse(
                "log-gap",
                f"entry {first_index} cannot follow a log of {tree.size} entries",
                where=str(self._folder),
                remedy="publish the entries in between first; if they are lost, an old copy of the log was restored",
            )
        if first_index + len(entries) < tree.size:
            raise refuse(
                "log-would-shrink",
                f"the log has {tree.size} entries, the caller knows of {first_index + len(entries)}",
                where=str(self._folder),
                remedy="find out whether an old copy of the book was restored; the log is not shortened",
            )
        known = tree.leaves(first_index, tree.size)
        for index, (entry, published) in enumerate(zip(entries, known, strict=False), first_index):
            if leaf_hash(entry) != published:
                raise refuse(
                    "log-entry-conflict",
                    f"entry {index} is published with other bytes",
                    where=str(self._folder),
                    remedy="take the next free index; what is published is corrected by a new entry, never replaced",
                )

    def _problem(self, tile: Tile, what: str, message: str) -> Problem:
        kind = "entry" if tile.level is None else "tile"
        return Problem(f"log-{kind}-{what}", message, str(self._folder / tile.path), _RESTORE)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other publishers out, in this process and in others; released when a process dies.

        A bucket has no locks: there the lock of the home, which every publisher holds, is all there is.
        """
        if not isinstance(self._folder, Path):
            yield
            return
        try:
            handle = os.open(self._folder, os.O_RDONLY)
        except FileNotFoundError:
            self.checkpoint_bytes()  # says what is missing
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _size_on_disk(tiles: Iterable[Tile]) -> int:
    """How far bundles or level-0 tiles reach without a gap; tells the size where no checkpoint does."""
    widths: dict[int, int] = {}
    for tile in tiles:
        if not tile.level:
            widths[tile.index] = max(tile.width, widths.get(tile.index, 0))
    index = 0
    while widths.get(index) == TILE_WIDTH:
        index += 1
    return index * TILE_WIDTH + widths.get(index, 0)


def _distinct(*stated: list[bytes] | None) -> list[tuple[bytes, ...]]:
    return list(dict.fromkeys(tuple(hashes) for hashes in stated if hashes is not None))


def _leading_to(
    root: bytes | None, choices: Sequence[Sequence[tuple[bytes, ...]]]
) -> Sequence[tuple[bytes, ...]] | None:
    """Of each 256 leaves the choice with which all together have this root; None if no trial has."""
    if root is None or not all(choices):
        return None
    roots = {hashes: merkle.root(hashes) for choice in choices for hashes in choice}
    extremes = ([choice[0] for choice in choices], [choice[-1] for choice in choices])
    for trial in chain(extremes, islice(product(*choices), _MOST_TRIALS)):
        if merkle.root([roots[hashes] for hashes in trial]) == root:
            return trial
    return None


def _known_level_hashes(leaves: Sequence[bytes | None]) -> list[list[bytes | None]]:
    """As :func:`~tanzhang.core.tiles.level_hashes`, with None wherever a leaf below is unknown."""
    known = level_hashes([value or b"" for value in leaves])
    levels: list[list[bytes | None]] = [list(level) for level in known]
    unknown = {index for index, value in enumerate(leaves) if value is None}
    for level in levels:
        for index in unknown:
            if index < len(level):
                level[index] = None
        unknown = {index // TILE_WIDTH for index in unknown}
    return levels
