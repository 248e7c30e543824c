"""Make a receipt for one settled record; checking one needs no home: :func:`tanzhang.core.receipt.verify_receipt`."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tanzhang.core.checkpoint import cosigned_at
from tanzhang.core.errors import refuse
from tanzhang.core.merkle import proof_from_subtrees
from tanzhang.core.note import VerifierKey, parse_note
from tanzhang.core.policy import Policy
from tanzhang.core.receipt import Evidence, Verified, verify_receipt
from tanzhang.core.record import ERASED, UNIT_OF_KIND, salt, to_json
from tanzhang.core.tlog_proof import TlogProof
from tanzhang.engine.columns import fixed_bytes, said
from tanzhang.engine.leaves import leaf_hashes
from tanzhang.engine.signing import CosignatureVerifier, NoteVerifier, verifier_of
from tanzhang.service.reading import Reader
from tanzhang.stores.home import Home
from tanzhang.stores.parts import erased_leaves, read_span, record_files
from tanzhang.stores.records import SUBTREE_LEAVES, SUBTREES, read_subtrees, to_record


def create_receipt(home: Home, action: uuid.UUID, *, reader: Reader | None = None) -> bytes:
    """The receipt file of an action's record; ``reader`` is one of this home that is kept.

    Of several rows with one reference the one that was decided by itself is proved, not its repeats. Raises
    ``record-erased``, ``not-settled`` (with the day its window closes) and ``unknown-action``.
    """
    row, index = (reader or Reader(home)).place(action)
    first = index - index % SUBTREE_LEAVES
    folder = home.storage / row.folder
    part = read_span(record_files(home.storage, row), first, min(first + SUBTREE_LEAVES, row.records))
    seeds = fixed_bytes(part["seed"], 16)
    leaves = leaf_hashes(part, seeds, first_index=first)
    erased_leaves(home.storage, row).put_into(leaves, first, said(part["outcome"], (ERASED,)))
    record = to_record(part.slice(index - first, 1).to_pylist()[0])
    path = proof_from_subtrees(
        index, row.records, [leaf.tobytes() for leaf in leaves], read_subtrees(folder / SUBTREES)
    )
    evidence = Evidence(
        record=record,
        salt=salt(seeds[index - first].tobytes(), index),
        index=index,
        path=tuple(path),
        manifest=row.manifest,
        plan=None if record.plan is None else home.book.plans([record.plan])[record.plan],
    )
    if home.log.size <= row.entry:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    return home.log.prove(row.entry, evidence.to_bytes())


def check_receipt(data: bytes, vkey: str | None = None, policy: Policy | None = None) -> dict[str, Any]:
    """Verify a receipt offline; what it proves, as JSON members. Raises at the first thing that does not hold.

    Without a ``vkey`` the policy has to list the log: ``log-not-in-policy``.
    """
    log = trusted_log(vkey, policy, lambda: origin_of(data), where="receipt verify")
    witnesses = () if policy is None else [CosignatureVerifier(each.key) for each in policy.witnesses.values()]
    return describe(verify_receipt(data, log, policy=policy, witnesses=witnesses))


def trusted_log(vkey: str | None, policy: Policy | None, origin: Callable[[], str], *, where: str) -> NoteVerifier:
    """The verifier of the log that somebody trusts, by its key or by a policy that lists it.

    ``origin`` is the log that a proof names, asked for only without a key. ``usage``, ``log-not-in-policy``.
    """
    if vkey is None:
        if policy is None:
            raise refuse(
                "usage",
                "neither a key nor a policy is given",
                where=where,
                remedy="give the log's public key with --key, or a policy that lists the log with --policy",
            )
        vkey = policy.log_of(origin()).key.to_text()
    elif policy is not None and policy.logs:
        key = VerifierKey.parse(vkey)
        if key not in {log.key for log in policy.logs}:
            policy.log_of(f"{key.name}+{key.key_id.hex()}")  # refuses
    return verifier_of(vkey)


def origin_of(proof: bytes) -> str:
    """The log that a ``.tlog-proof`` names, unproved."""
    return parse_note(TlogProof.parse(proof).checkpoint).text.partition("\n")[0]


def describe(verified: Verified) -> dict[str, Any]:
    """What a verified receipt says."""
    record = verified.record
    answer: dict[str, Any] = {
        "status": "verified",
        "outcome": record.outcome,
        "granted_mg": str(record.granted_mg),
        "unit": UNIT_OF_KIND[record.kind],
        "programme": verified.manifest.get("programme"),
        "rehearsal": bool(verified.manifest.get("rehearsal")),
        "batch": verified.manifest.get("batch"),
        "log": verified.origin,
        "log_size": verified.log_size,
        "cosigned": [{"witness": each.name, "time": _time_text(cosigned_at(each))} for each in verified.cosigned],
        "checks": list(verified.checks),
        "record": to_json(record),
    }
    if verified.plan is not None:
        answer["methodology"] = f"{verified.plan['methodology']}@{verified.plan['version']}"
        answer["title"] = verified.plan["title"]
        answer["formula"] = verified.plan["formula"]
        answer["source"] = verified.plan["source"]
        statuses = [verified.plan["status"], *(each["status"] for each in verified.plan["parameters"].values())]
        answer["provisional"] = any(status != "published" for status in statuses)
    return answer


def _time_text(seconds: int) -> str:
    """POSIX seconds as RFC 3339; those that no calendar holds as they are."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
