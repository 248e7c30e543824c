"""Make a receipt for one settled record; checking one needs no home: :func:`tanzhang.core.receipt.verify_receipt`."""

from __future__ import annotations

import uuid
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
from tanzhang.engine.kernel import quote
from tanzhang.engine.leaves import leaf_hashes
from tanzhang.engine.signing import CosignatureVerifier, verifier_of
from tanzhang.service.settle import open_reports
from tanzhang.stores.home import Home
from tanzhang.stores.parts import erased_leaves, read_span, record_files
from tanzhang.stores.records import SUBTREE_LEAVES, SUBTREES, read_subtrees, to_record


def create_receipt(home: Home, action: uuid.UUID) -> bytes:
    """The receipt file of an action's record.

    Of several rows with one reference the one that was decided by itself is proved, not its repeats. Raises
    ``record-erased``, ``not-settled`` (with the day its window closes) and ``unknown-action``.
    """
    row, index = _find(home, action)
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
    plans = home.book.plans()
    evidence = Evidence(
        record=record,
        salt=salt(seeds[index - first].tobytes(), index),
        index=index,
        path=tuple(path),
        manifest=row.manifest,
        plan=None if record.plan is None else plans[record.plan],
    )
    if home.log.size <= row.entry:  # a crash came between the book and the log
        with home.settling():
            home.publish()
    return home.log.prove(row.entry, evidence.to_bytes())


def check_receipt(data: bytes, vkey: str | None = None, policy: Policy | None = None) -> dict[str, Any]:
    """Verify a receipt offline; what it proves, as JSON members. Raises at the first thing that does not hold.

    Without a ``vkey`` the policy has to list the log: ``log-not-in-policy``.
    """
    if vkey is None:
        if policy is None:
            raise refuse(
                "usage",
                "neither a key nor a policy is given",
                where="receipt verify",
                remedy="give the log's public key with --key, or a policy that lists the log with --policy",
            )
        origin = parse_note(TlogProof.parse(data).checkpoint).text.partition("\n")[0]
        vkey = policy.log_of(origin).key.to_text()
    elif policy is not None and policy.logs:
        key = VerifierKey.parse(vkey)
        if key not in {log.key for log in policy.logs}:
            policy.log_of(f"{key.name}+{key.key_id.hex()}")  # refuses
    witnesses = () if policy is None else [CosignatureVerifier(each.key) for each in policy.witnesses.values()]
    return describe(verify_receipt(data, verifier_of(vkey), policy=policy, witnesses=witnesses))


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


def _find(home: Home, action: uuid.UUID) -> tuple[Any, int]:
    """The batch row and the place in it of an action's record."""
    con = home.connect()
    rows = home.book.batches()
    wanted = f"action_id = {quote(str(action))}::UUID"
    if rows:
        files = {str(file.path): (row, file.first) for row in rows for file in record_files(home.storage, row)}
        named = ", ".join(quote(file) for file in files)
        found = con.execute(
            f"""
            SELECT filename, file_row_number, outcome
            FROM read_parquet([{named}], filename = true, file_row_number = true)
            WHERE {wanted} ORDER BY outcome IN ('repeat', 'conflict'), filename, file_row_number LIMIT 1
            """
        ).fetchall()
        if found:
            row, before = files[found[0][0]]
            if found[0][2] == ERASED:
                raise refuse(
                    "record-erased",
                    f"the record of action {action} was erased with its person",
                    where="action",
                    remedy="nothing of it is left to prove; a receipt that was made before still verifies",
                )
            return row, before + found[0][1]
    pending = open_reports(home, None)
    if pending.rows:
        con.register("pending", pending.table)
        waiting = con.execute(f"SELECT min(close_day) FROM pending WHERE {wanted}").fetchall()
        if waiting[0][0] is not None:
            raise refuse(
                "not-settled",
                f"action {action} is accepted, but not settled yet",
                where="action",
                remedy=f"its window closes on {waiting[0][0]}; settle through that day, then ask again",
            )
    raise refuse(
        "unknown-action",
        f"no record of action {action}",
        where="action",
        remedy="give the action's id, or PARTNER:REFERENCE as it was reported",
    )
