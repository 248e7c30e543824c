"""Be a witness for other logs: cosign what grew out of what was signed before, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tanzhang.core.errors import TanzhangError
from tanzhang.core.note import Signature, VerifierKey, format_note, open_note
from tanzhang.core.witness import Answer, Cosigned, check_signed, decide, parse_request, refused, signed
from tanzhang.engine.signing import Cosigner
from tanzhang.stores.witness_state import WitnessState


def add_checkpoint(state: WitnessState, body: bytes, now: Callable[[], int]) -> Answer:
    """The answer to one ``add-checkpoint`` request; ``now`` gives POSIX seconds.

    A cosignature is in an answer only after its size and root are on disk.
    """
    lines: list[Signature] = []
    try:
        request = parse_request(body)
        keys = state.verifiers(request.origin)
        check_signed(request, keys)
        own = open_note(request.note, keys).verified

        def next_one(last: Cosigned | None) -> tuple[Cosigned, bytes]:
            checkpoint = decide(request, last)
            lines.append(state.cosigner.cosign(request.text, now()))
            return Cosigned(checkpoint.size, checkpoint.root), format_note(request.text, [*own, *lines])

        state.replace(request.origin, next_one)
    except TanzhangError as error:
        return refused(error)
    return signed(lines)


def new_witness(folder: Path, name: str) -> dict[str, Any]:
    """A new witness with a key of its own. ``witness-exists``, ``private-key-invalid``."""
    state = WitnessState.create(folder, Cosigner.generate(name))
    return {"status": "created", "witness": str(folder), "key": state.cosigner.verifier_key.to_text()}


def add_log(folder: Path, vkey: str) -> dict[str, Any]:
    """Watch the log with this key. ``witness-missing``, ``vkey-invalid``."""
    key = VerifierKey.parse(vkey)
    added = WitnessState.open(folder).add_log(key)
    return {"status": "added" if added else "known", "origin": key.name, "key": vkey}


def status(folder: Path) -> dict[str, Any]:
    """The witness's key, and every log that it watches. ``witness-missing``."""
    state = WitnessState.open(folder)
    return {
        "key": state.cosigner.verifier_key.to_text(),
        "logs": [{"origin": origin, "key": vkey, "size": size} for origin, vkey, size in state.logs()],
    }
