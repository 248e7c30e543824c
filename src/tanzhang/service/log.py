"""The log in public: where it stands, what its witnesses say, and tidying what is no longer served."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tanzhang.core.errors import refuse
from tanzhang.stores.home import Home
from tanzhang.stores.witnesses import PUBLISH, WAIT, Use, Witnesses
from tanzhang.stores.witnesses import set_policy as keep_policy


def status(home: Home) -> dict[str, Any]:
    """Size, root and key of the published log; with a policy, its quorum and every witness. Nothing is asked."""
    log = home.log
    checkpoint = log.checkpoint()
    witnesses = home.witnesses
    return {
        "status": "published",
        "origin": checkpoint.origin,
        "key": home.values["vkey"],
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "waiting": len(home.log_entries(checkpoint.size)),
        "now": int(time.time()),
        "witnessing": None if witnesses is None else witnesses.status(log),
    }


def publish(home: Home) -> dict[str, Any]:
    """Publish what the book has and the log not; what :func:`status` says, and how many entries were ``added``.

    The same call after a crash, after restoring a backup, and on a day when there is nothing to do. Raises
    ``home-busy``, ``book-behind-log``, ``log-behind-witness``, ``key-missing``.
    """
    before = home.log.size
    with home.settling():
        home.publish()
    return {**status(home), "added": home.log.size - before}


def ask_witnesses(home: Home) -> dict[str, Any]:
    """Ask every witness now; what :func:`status` says afterwards. Publishes first what the book has and the log not.

    Raises: ``witnesses-unset``, ``home-busy``, and what :meth:`Home.publish` raises.
    """
    witnesses = _witnesses(home)
    if home.log_entries(home.log.size):
        with home.settling():
            home.publish()
    else:
        witnesses.collect(home.log, at_once=True)
    return status(home)


def use_of(when_unmet: str, deadline_s: int) -> Use:
    """What an operator chose for the time without a quorum. ``witness-use-malformed``."""
    if when_unmet not in (PUBLISH, WAIT):
        raise refuse(
            "witness-use-malformed",
            f"{when_unmet!r} is neither {PUBLISH} nor {WAIT}",
            where="--when-unmet",
            remedy=f"write {PUBLISH} to show checkpoints without a quorum, {WAIT} to hold them back",
        )
    return Use(when_unmet, deadline_s)


def set_policy(home: Home, file: Path, use: Use) -> dict[str, Any]:
    """Keep a policy and its use. ``policy-invalid``, ``log-not-in-policy``."""
    policy = keep_policy(home.folder, file.read_bytes(), use, home.verifier, where=str(file))
    return {
        "status": "set",
        "quorum": policy.quorum,
        "when_unmet": use.when_unmet,
        "deadline_s": use.deadline_s,
        "witnesses": [{"name": each.name, "url": each.url} for each in policy.witnesses.values()],
        "not_asked": [each.name for each in policy.witnesses.values() if each.url is None],
    }


def tidy(home: Home) -> dict[str, Any]:
    """Remove partial files of the log that a full one has replaced."""
    with home.settling():
        return {"status": "tidied", "removed": home.log.tidy()}


def _witnesses(home: Home) -> Witnesses:
    witnesses = home.witnesses
    if witnesses is None:
        raise refuse(
            "witnesses-unset",
            "this log has no witnesses",
            where=str(home.folder / "keys"),
            remedy="run 'tanzhang log policy set FILE' first",
        )
    return witnesses
