"""Witness policies (C2SP tlog-policy): which logs and witnesses are trusted, and how many of them must have signed.

A policy is a text of lines ``log``, ``witness``, ``group`` and ``quorum``. Refused, all mistakes together, are
other lines and characters, names that are not defined further up or are used twice, keys of the wrong kind or listed
twice, thresholds that no group can reach, and any number of quorum lines but one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.note import KEY_COSIGNATURE, KEY_ED25519, Signature, VerifierKey

NONE = "none"
MAX_POLICY_BYTES = 1_000_000

_ALLOWED = re.compile(rb"[\x09\x0a\x20-\x7e\x80-\xff]*")
_BLANKS = re.compile("[ \t]+")
_NUMBER = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class TrustedLog:
    """A log whose checkpoints are accepted; its key's name is its origin."""

    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness under the name that this policy gives it. ``url`` is its submission prefix, needed only to ask it."""

    name: str
    key: VerifierKey
    url: str | None

    @property
    def pair(self) -> tuple[str, bytes]:
        """Key name and key id as they stand in its signature lines."""
        return self.key.name, self.key.key_id


@dataclass(frozen=True, slots=True)
class Group:
    """Holds as soon as ``threshold`` of its members do."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read. ``quorum`` is a witness, a group, or :data:`NONE`."""

    logs: tuple[TrustedLog, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str

    def is_met(self, verified: Iterable[Signature]) -> bool:
        """Whether these signature lines, which the caller has verified, make the quorum."""
        pairs = {(line.name, line.key_id) for line in verified}
        signed = {name for name, witness in self.witnesses.items() if witness.pair in pairs}
        return self.quorum == NONE or self._holds(self.quorum, signed)

    def check_met(self, verified: Collection[Signature]) -> None:
        """Refuse signature lines that do not make the quorum: ``witness-quorum-missing``."""
        if not self.is_met(verified):
            pairs = {(line.name, line.key_id) for line in verified}
            signed = sorted(name for name, witness in self.witnesses.items() if witness.pair in pairs)
            raise refuse(
                "witness-quorum-missing",
                f"the quorum {self.quorum} is not met: {', '.join(signed) or 'no witness of the policy'} signed",
                where="cosignatures of the checkpoint",
                remedy="get the same proof again later, with more cosignatures; do not rely on this one meanwhile",
            )

    def log_of(self, origin: str) -> TrustedLog:
        """The log with this origin; ``log-not-in-policy``."""
        found = [log for log in self.logs if log.key.name == origin]
        if not found:
            raise refuse(
                "log-not-in-policy",
                f"the policy lists no log {origin!r}",
                where="log lines of the policy",
                remedy="use a policy for this log, or give the log's key as well",
            )
        return found[0]

    def _holds(self, name: str, signed: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._holds(member, signed) for member in group.members) >= group.threshold


def parse_policy(data: bytes, *, where: str) -> Policy:
    """Read a policy file. Names are compared byte by byte.

    Raises: TanzhangError ``policy-invalid``, one problem for each line that is wrong.
    """
    if len(data) > MAX_POLICY_BYTES or not _ALLOWED.fullmatch(data):
        raise TanzhangError(_wrong(where, "the file holds a control byte, or is larger than a megabyte"))
    reader = _Reader()
    problems = []
    # Bytes that are not UTF-8 stay distinct from each other, and no key name may hold one.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = _BLANKS.split(line.strip(" \t"))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            reader.read(words)
        except TanzhangError as error:
            problems.append(_wrong(f"{where}, line {number}", error.problems[0].message))
        except ValueError as error:
            problems.append(_wrong(f"{where}, line {number}", str(error)))
    if reader.quorum is None and not problems:
        problems.append(_wrong(where, "there is no quorum line"))
    if problems:
        raise TanzhangError(problems)
    return Policy(tuple(reader.logs), reader.witnesses, reader.groups, reader.quorum or NONE)


@dataclass(slots=True)
class _Reader:
    """What the lines so far have defined."""

    logs: list[TrustedLog] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    quorum: str | None = None
    _members: set[str] = field(default_factory=set)
    _keys: set[tuple[str, bytes]] = field(default_factory=set)

    def read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                key = self._key(vkey, KEY_ED25519, "log")
                self.logs.append(TrustedLog(key, url[0] if url else None))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._check_new(name)
                key = self._key(vkey, KEY_COSIGNATURE, "witness")
                self.witnesses[name] = Witness(name, key, url[0] if url else None)
            case ["group", name, threshold, *members] if members:
                self._check_new(name)
                self._add_group(name, threshold, members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise ValueError("there is a second quorum line")
                if name != NONE:
                    self._check_known(name)
                self.quorum = name
            case _:
                raise ValueError(f"{words[0][:40]!r} with {len(words) - 1} words is no line of a policy")

    def _key(self, vkey: str, key_type: int, role: str) -> VerifierKey:
        key = VerifierKey.parse(vkey)
        if key.key_type != key_type:
            raise ValueError(f"a {role}'s key has type 0x{key_type:02x}, this one 0x{key.key_type:02x}")
        if (role, key.public_key) in self._keys:
            raise ValueError("the same public key is listed twice")
        self._keys.add((role, key.public_key))
        return key

    def _add_group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            self._check_known(member)
        if len(set(members)) < len(members) or self._members & set(members):
            raise ValueError("a member is in a group already")
        needed = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
        if not _NUMBER.fullmatch(needed) or int(needed) > len(members):
            raise ValueError(f"{threshold[:40]!r} is not any, all or a number from 1 to {len(members)}")
        self._members |= set(members)
        self.groups[name] = Group(int(needed), tuple(members))

    def _check_new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name[:40]!r} is taken")

    def _check_known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name[:40]!r} is not defined on a line further up")


def _wrong(where: str, message: str) -> Problem:
    return Problem("policy-invalid", message, where, "see c2sp.org/tlog-policy, or ask whoever wrote the policy")
