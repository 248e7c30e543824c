"""The witnesses of our own log: asked over HTTP (C2SP tlog-witness, client side), and what each has signed so far.

In a home: ``keys/witness.policy`` names them, ``keys/witness.use`` says what happens while their quorum is missing,
``witnesses.json`` remembers what each signed last, ``signed.checkpoint`` what was signed and waits for a quorum.

Refused is signing a tree that is smaller than one a witness holds (``log-behind-witness``), another one of the same
size (``log-split``), and, where the operator chose to wait, one whose quorum is missing.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tanzhang.core.checkpoint import Checkpoint, add_checkpoint_body, cosigned_at, decode_decimal, open_checkpoint
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.note import MAX_NOTE_BYTES, Signature, Verifier, format_note, parse_note
from tanzhang.core.policy import Policy, Witness, parse_policy
from tanzhang.core.tiled_tree import TiledTree
from tanzhang.engine.signing import CosignatureVerifier
from tanzhang.stores.files import write_durably
from tanzhang.stores.home import POLICY
from tanzhang.stores.log import Log

USE = "witness.use"
PUBLISH, WAIT = "publish", "wait"
_STATE, _SIGNED = "witnesses.json", "signed.checkpoint"
_UNCHANGED_S = 300  # the protocol asks not to send the same checkpoint again more often than every few minutes
_LONGEST_PAUSE_S = 300
_reached: dict[tuple[str, str], int] = {}
"""(Home, witness key) -> the log's size at which this process found the witness not ahead of it."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a home makes of its policy. ``when_unmet`` is :data:`PUBLISH` or :data:`WAIT`."""

    when_unmet: str = PUBLISH
    deadline_s: int = 5


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a witness: the size it signed last, when, and how the last request ended."""

    size: int | None = None
    cosigned_at: int | None = None
    asked_at: int | None = None
    failures: int = 0
    problem: dict[str, str] | None = None
    ahead: int | None = None

    @property
    def contradicts(self) -> bool:
        """Whether the last answer spoke against our log."""
        return self.problem is not None and self.problem.get("code") in ("log-behind-witness", "log-split")

    def is_due(self, size: int, now: int) -> bool:
        """Whether to ask again, unasked: not too often with the same, and ever more rarely where nobody answers."""
        if self.asked_at is None:
            return True
        pause = min(1 << min(self.failures, 20), _LONGEST_PAUSE_S) if self.failures else _UNCHANGED_S
        return (not self.failures and self.size != size) or not 0 <= now - self.asked_at < pause


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking one witness: a verified line, or why not. ``held`` is the size it says that it holds."""

    line: Signature | None = None
    held: int | None = None
    problem: Problem | None = None
    answered: bool = False


@dataclass
class Witnesses:
    """The witnesses of one home's log. Also who :meth:`Log.publish` asks before it signs and before it releases."""

    home: Path
    policy: Policy
    use: Use
    log: Verifier
    now: Callable[[], float] = time.time
    known: dict[str, Known] = field(init=False)

    def __post_init__(self) -> None:
        self.known = _read_state(self.home / _STATE)

    @classmethod
    def of(cls, home: Path, log: Verifier) -> Witnesses | None:
        """Those of a home; None where no policy was set. Raises ``policy-invalid``, ``witness-use-malformed``."""
        file = home / "keys" / POLICY
        if not file.is_file():
            return None
        policy = parse_policy(file.read_bytes(), where=str(file))
        return cls(home, policy, _read_use(home / "keys" / USE), log)

    def verifiers(self) -> list[CosignatureVerifier]:
        """The keys of all witnesses of the policy."""
        return [CosignatureVerifier(witness.key) for witness in self.policy.witnesses.values()]

    # -- before a checkpoint is signed and released ---------------------------------------------------------------

    def before_signing(self, note: bytes, published: Checkpoint) -> None:
        """Ask who holds more than we do: an old backup would otherwise sign a second past.

        Every process asks each witness once, and again as long as one has not answered. ``log-behind-witness``,
        ``log-split``; ``witness-quorum-missing`` if we are to wait and too few answer.
        """
        pending = self._pending()
        own = max(published.size, pending.size if pending else 0)
        for witness in self.policy.witnesses.values():
            memory = max(_reached.get(self._key(witness), 0), self._known(witness).size or 0)
            if memory > own:
                raise _behind(witness, memory, own)
        unsure = [
            each
            for each in self._reachable()
            if self._key(each) not in _reached or self._known(each).contradicts
            if self.use.when_unmet == WAIT or not self._known(each).failures or self._due(each, published.size)
        ]
        body = add_checkpoint_body(published.size, [], note)
        replies = self._in_parallel(unsure, lambda each, end: self._send(each, body, note, published.size, end))
        for witness, reply in replies.items():
            if reply.held is not None and reply.held > own:
                self._remember(witness, reply, published.size)
                raise _behind(witness, reply.held, own)
            if reply.problem is not None and reply.problem.code == "log-split":
                self._remember(witness, reply, published.size)
                raise TanzhangError(reply.problem)
            if reply.answered:
                _reached[self._key(witness)] = published.size
            self._remember(witness, reply, published.size)
        self._save()
        if self.use.when_unmet == WAIT:
            reached = [Signature(*each.pair, b"") for each in self._reachable() if self._key(each) in _reached]
            if not self.policy.is_met(reached):
                raise _quorum_missing(self.policy.quorum, "nothing is signed before enough witnesses answer")

    def before_release(self, note: bytes, tree: TiledTree) -> bytes:
        """Where the operator chose to wait: the checkpoint with the cosignatures of a quorum.

        What is signed is on disk before a witness sees it, and nothing that contradicts it is signed later.
        ``log-split``, ``witness-quorum-missing``.
        """
        pending = self._pending()
        if pending is not None and (
            tree.size < pending.size or (pending.size and tree.consistency_proof(pending.size)[0] != pending.root)
        ):
            raise _split(f"another tree was signed at size {pending.size}", str(self.home / _SIGNED))
        if self.use.when_unmet == PUBLISH:
            return note
        write_durably(self.home / _SIGNED, note)
        lines = self._gather(note, tree, self._reachable())
        if not self.policy.is_met(lines):
            said = "the checkpoint is signed, and released by the next publication that finds a quorum"
            raise _quorum_missing(self.policy.quorum, said)
        parsed = parse_note(note)
        return format_note(parsed.text, [*parsed.signatures, *lines])

    # -- after it was published -----------------------------------------------------------------------------------

    def collect(self, log: Log, *, at_once: bool = False) -> None:
        """Ask for cosignatures of the published checkpoint and put those that verify under it.

        Witnesses that have signed it, or do not answer, are left in peace for a while unless ``at_once``. Whoever
        does not answer is remembered, and nothing is raised.
        """
        note = log.checkpoint_bytes()
        tree = log.tree()
        asked = [each for each in self._reachable() if at_once or self._due(each, tree.size)]
        lines = self._gather(note, tree, asked)
        if lines:
            log.add_signatures(parse_note(note).text, lines)
        for witness in asked:
            if self._known(witness).problem is None:
                _reached[self._key(witness)] = tree.size

    def status(self, log: Log) -> dict[str, Any]:
        """Whether the published checkpoint has its quorum, and where each witness stands, as JSON members."""
        note = log.checkpoint_bytes()
        _, opened = open_checkpoint(note, self.log.name, self.log, self.verifiers())
        times = {(line.name, line.key_id): line for line in opened.verified}
        rows = []
        for name, witness in self.policy.witnesses.items():
            known, line = self._known(witness), times.get(witness.pair)
            rows.append(
                {
                    "name": name,
                    "url": witness.url,
                    "signed": line is not None,
                    "signed_at": None if line is None else cosigned_at(line),
                    "last_size": known.size,
                    "last_cosigned_at": known.cosigned_at,
                    "asked_at": known.asked_at,
                    "ahead": known.ahead,
                    "problem": known.problem,
                }
            )
        return {
            "quorum": self.policy.quorum,
            "met": self.policy.is_met(opened.verified),
            "when_unmet": self.use.when_unmet,
            "deadline_s": self.use.deadline_s,
            "witnesses": rows,
        }

    # -- asking ---------------------------------------------------------------------------------------------------

    def _gather(self, note: bytes, tree: TiledTree, asked: Sequence[Witness]) -> list[Signature]:
        replies = self._in_parallel(asked, lambda each, end: self._ask(each, note, tree, end))
        for witness, reply in replies.items():
            self._remember(witness, reply, tree.size)
        if replies:
            self._save()
        return [reply.line for reply in replies.values() if reply.line is not None]

    def _ask(self, witness: Witness, note: bytes, tree: TiledTree, end: float) -> Reply:
        """One witness, from the size that we know of it; from the one it names if it has another one."""
        reply = Reply()
        old = min(self._known(witness).size or 0, tree.size)
        for _ in range(2):
            try:
                proof = tree.consistency_proof(old)[1] if 0 < old < tree.size else []
            except TanzhangError as error:  # tiles further back were changed; what is published is right all the same
                return Reply(problem=error.problems[0])
            reply = self._send(witness, add_checkpoint_body(old, proof, note), note, tree.size, end)
            if reply.held is None or reply.held > tree.size:
                return reply
            old = reply.held
        return Reply(problem=_failed(witness, "it names another size each time"))

    def _send(self, witness: Witness, body: bytes, note: bytes, size: int, end: float) -> Reply:
        """One request. Nothing that comes back is believed but a line that verifies; a size is only a hint."""
        try:
            status, answer = _post(f"{(witness.url or '').rstrip('/')}/add-checkpoint", body, end)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            return Reply(problem=_failed(witness, f"{type(error).__name__}: {error}"))
        if status == 200:
            line = _line_of(witness, note, answer)
            problem = None if line else _failed(witness, "it answered without a signature of its key")
            return Reply(line, problem=problem, answered=line is not None)
        if status == 409:
            held = _size_in(answer)
            if held is not None and held != _old_of(body):
                return Reply(held=held, answered=True)
        # Another root of one size is 422, and was 409; of a proof that does not hold, 422 always.
        if status in (409, 422):
            said = f"it holds a tree of which ours of size {size} is no continuation"
            return Reply(problem=_split(said, witness.name).problems[0], answered=True)
        return Reply(problem=_failed(witness, f"it answered {status}: {answer[:200].decode('utf-8', 'replace')}"))

    def _in_parallel(self, asked: Sequence[Witness], ask: Callable[[Witness, float], Reply]) -> dict[Witness, Reply]:
        """Ask all at once; whoever has not answered by the deadline has not answered."""
        if not asked:
            return {}
        end = time.monotonic() + self.use.deadline_s
        pool = ThreadPoolExecutor(len(asked), thread_name_prefix="witness")
        try:
            futures = {each: pool.submit(ask, each, end) for each in asked}
            wait(futures.values(), self.use.deadline_s)
            return {
                each: future.result() if future.done() else Reply(problem=_failed(each, "no answer by the deadline"))
                for each, future in futures.items()
            }
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    # -- remembering ----------------------------------------------------------------------------------------------

    def _reachable(self) -> list[Witness]:
        return [each for each in self.policy.witnesses.values() if each.url is not None]

    def _known(self, witness: Witness) -> Known:
        return self.known.get(witness.key.to_text(), Known())

    def _key(self, witness: Witness) -> tuple[str, str]:
        return str(self.home.resolve()), witness.key.to_text()

    def _due(self, witness: Witness, size: int) -> bool:
        return self._known(witness).is_due(size, int(self.now()))

    def _remember(self, witness: Witness, reply: Reply, size: int) -> None:
        """What an answer says; sizes that nobody signed are kept apart, as ``ahead``."""
        before = self._known(witness)
        problem = reply.problem
        ahead = reply.held if reply.held is not None and reply.held > size else None
        if ahead is not None:
            problem = _behind(witness, ahead, size).problems[0]
        after = replace(
            before,
            asked_at=int(self.now()),
            failures=0 if reply.answered else before.failures + 1,
            problem=None if problem is None else problem.as_dict(),
            ahead=ahead,
        )
        if reply.line is not None:
            after = replace(after, size=size, cosigned_at=cosigned_at(reply.line))
        self.known[witness.key.to_text()] = after

    def _save(self) -> None:
        text = json.dumps({key: asdict(known) for key, known in sorted(self.known.items())}, indent=1)
        write_durably(self.home / _STATE, text.encode() + b"\n")

    def _pending(self) -> Checkpoint | None:
        """What was signed last while waiting for a quorum; ``log-checkpoint-changed`` if it cannot be believed."""
        file = self.home / _SIGNED
        if not file.is_file():
            return None
        try:
            return open_checkpoint(file.read_bytes(), self.log.name, self.log)[0]
        except TanzhangError as error:
            raise refuse(
                "log-checkpoint-changed",
                f"what was signed last cannot be believed: {error.problems[0].message}",
                where=str(file),
                remedy="restore the file; without it two trees of one size might be signed",
            ) from error


def _post(url: str, body: bytes, end: float) -> tuple[int, bytes]:
    """Status and body, all of it before ``end`` and no more than a note may have."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    answer = b""
    with (
        httpx.Client(timeout=left, verify=_trusted()) as client,
        client.stream("POST", url, content=body, headers={"Content-Type": "text/plain"}) as response,
    ):
        for part in response.iter_bytes():
            answer += part
            if len(answer) > MAX_NOTE_BYTES or time.monotonic() > end:
                raise TimeoutError("the answer is too long, or comes too slowly")
        return response.status_code, answer


@cache
def _trusted() -> ssl.SSLContext:
    """The certificate authorities, read once: that takes longer than a request."""
    return httpx.create_ssl_context()


def _line_of(witness: Witness, note: bytes, answer: bytes) -> Signature | None:
    """The line of this witness in an answer, if it verifies; lines of other keys are ignored."""
    text = parse_note(note).text
    try:
        lines = parse_note(text.encode() + b"\n" + answer).signatures
    except TanzhangError:
        return None
    verifier = CosignatureVerifier(witness.key)
    own = (line for line in lines if (line.name, line.key_id) == witness.pair)
    return next((line for line in own if verifier.verify(text.encode(), line.data)), None)


def _size_in(answer: bytes) -> int | None:
    try:
        text = answer.decode("ascii").removesuffix("\n")
        return decode_decimal(text, code="witness-failed", where="answer of a witness")
    except (UnicodeDecodeError, TanzhangError):
        return None


def _old_of(body: bytes) -> int:
    return int(body.partition(b"\n")[0].removeprefix(b"old "))


def _read_state(file: Path) -> dict[str, Known]:
    """What is remembered; a file that cannot be read is forgotten, because every witness tells its size again."""
    try:
        return {key: Known(**said) for key, said in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def set_policy(home: Path, data: bytes, use: Use, log: Verifier, *, where: str) -> Policy:
    """Keep a policy and its use. ``policy-invalid``; ``log-not-in-policy`` if it lists logs, and not this one."""
    policy = parse_policy(data, where=where)
    if policy.logs:
        key = policy.log_of(log.name).key
        if key.key_id != log.key_id:
            raise refuse(
                "log-not-in-policy",
                f"the policy has another key of {log.name} than this log's",
                where=where,
                remedy="take the key in log.vkey",
            )
    write_durably(home / "keys" / USE, json.dumps(asdict(use)).encode() + b"\n")
    write_durably(home / "keys" / POLICY, data)
    return policy


def _read_use(file: Path) -> Use:
    try:
        use = Use(**json.loads(file.read_bytes())) if file.is_file() else Use()
        if use.when_unmet not in (PUBLISH, WAIT) or type(use.deadline_s) is not int or use.deadline_s < 1:
            raise ValueError(f"{use}")
    except (ValueError, TypeError) as error:
        raise refuse(
            "witness-use-malformed",
            f"what happens without a quorum cannot be read: {error}",
            where=str(file),
            remedy="run 'tanzhang log policy set' again",
        ) from None
    return use


def _failed(witness: Witness, message: str) -> Problem:
    return Problem(
        "witness-failed",
        f"witness {witness.name}: {message}",
        str(witness.url),
        "it is asked again later; if it stays so, tell its operator",
    )


def _behind(witness: Witness, held: int, own: int) -> TanzhangError:
    return refuse(
        "log-behind-witness",
        f"witness {witness.name} has signed size {held} of this log, which has {own} here",
        where=str(witness.url or witness.key.name),
        remedy="an old copy was restored: bring back the newest one, and never sign over what was published; if the "
        "witness is wrong, take it out of the policy",
    )


def _split(message: str, where: str) -> TanzhangError:
    return refuse(
        "log-split",
        message,
        where=where,
        remedy="sign nothing more; compare this log with what was published, and bring back the newest copy",
    )


def _quorum_missing(quorum: str, message: str) -> TanzhangError:
    return refuse(
        "witness-quorum-missing",
        f"the quorum {quorum} is not met: {message}",
        where="keys/witness.policy",
        remedy="what was booked stays booked; run 'tanzhang log witness' when the witnesses answer again",
    )
