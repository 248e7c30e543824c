"""``tanzhang verify --lot``: check the data package of a lot, with nothing but the package and the log's public key.

Every check runs whatever the others found, and says what it compared. From the bottom up: digests and signature of the
package; the checkpoint, and each entry of the log up to it; recipes by their digests; members, their records, leaves,
batches and the lot's tree (or, in a public package, the tree's upper nodes and the published cells); units and their
blocks; the sample that the seed gives, and the log's word for how the lot was verified.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tanzhang.core.checkpoint import Checkpoint, open_checkpoint
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.lot import LotEntry, lot_text
from tanzhang.core.lot_package import (
    CELLS,
    CHECKPOINT,
    CONTENTS,
    ENTRIES,
    FINDINGS,
    LOT,
    NODES,
    NOTE,
    PLANS,
    PUBLIC,
    UNITS,
    VERIFICATION,
    VERIFIER,
    Contents,
    check_blocks,
    entries_from_bytes,
    folded,
    malformed,
    nodes_from_bytes,
)
from tanzhang.core.merkle import leaf_hash, verify_inclusion
from tanzhang.core.methodology import canonical_json
from tanzhang.core.policy import Policy
from tanzhang.core.receipt import MANIFEST_FORMAT
from tanzhang.core.recipe import read_recipe
from tanzhang.core.sample import RULE, picks, seed
from tanzhang.core.sum_tree import Node
from tanzhang.core.units import State
from tanzhang.engine.signing import CosignatureVerifier, NoteVerifier
from tanzhang.service.findings import Check
from tanzhang.service.market.issue import FORMAT as ISSUE_FORMAT
from tanzhang.service.market.open_data import PUBLISHED
from tanzhang.service.market.verification import FORMAT as VERIFICATION_FORMAT
from tanzhang.service.market.verify_members import REMEDY, BatchSaid, check_members, manifest_said
from tanzhang.service.progress import Progress, silent
from tanzhang.service.receipt import trusted_log

_CHUNK = 1 << 20
_MOST_JSON_BYTES = 1 << 28


def verify_lot(
    package: Path, vkey: str | None = None, policy: Policy | None = None, *, progress: Progress = silent
) -> dict[str, Any]:
    """Check a package, a folder or a ZIP file; ``status`` is ``verified`` or ``failed``.

    A key of the log, or a policy that lists it, has to come from somewhere else than the package. Raises ``usage``
    without, ``package-missing``, ``package-malformed`` for what cannot be begun with.
    """
    with _opened(package) as folder:
        contents = Contents.parse(_read(folder, CONTENTS))
        log = trusted_log(vkey, policy, lambda: contents.origin, where="verify --lot")
        run = _Verification(folder, contents, log, policy, progress)
        checks = run.run()
    wrong = sum(len(check.problems) for check in checks)
    return {
        "status": "failed" if wrong else "verified",
        "lot": lot_text(contents.lot),
        "kind": contents.kind,
        "programme": contents.programme,
        "made_at": contents.made_at,
        "log": log.name,
        "problems": wrong,
        "checks": [check.as_dict() for check in checks],
    }


@contextmanager
def _opened(package: Path) -> Iterator[Path]:
    """The folder of a package; a ZIP file is unpacked beside where temporary files go."""
    if package.is_dir():
        yield package
        return
    if not package.is_file():
        remedy = "name the folder or the ZIP file of a package"
        raise refuse("package-missing", f"{package} is not there", where=str(package), remedy=remedy)
    with tempfile.TemporaryDirectory(prefix="tanzhang-lot-") as made:
        try:
            with zipfile.ZipFile(package) as archive:
                for info in archive.infolist():
                    if Path(info.filename).name != info.filename:
                        raise malformed(f"{info.filename[:80]!r} is no file of a package", package.name)
                    _unpack(archive, info, Path(made) / info.filename)
        except zipfile.BadZipFile as error:
            raise malformed(f"it is no ZIP file: {error}", package.name) from None
        yield Path(made)


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(info) as packed, path.open("xb") as file:
        while data := packed.read(_CHUNK):
            file.write(data)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise malformed(f"{name} is missing", name)
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise malformed(f"{name} has more than {_MOST_JSON_BYTES} bytes", name)
    return path.read_bytes()


@dataclass(slots=True)
class _Said:
    """What the log says, once it is proved: the lot, its batches, how it was verified."""

    lot: LotEntry
    index: int
    checkpoint: Checkpoint
    batches: dict[int, BatchSaid] = field(default_factory=dict)
    verified: list[str] = field(default_factory=list)
    issued: list[dict[str, Any]] = field(default_factory=list)


class _Verification:
    """One run over a package."""

    def __init__(
        self, folder: Path, contents: Contents, log: NoteVerifier, policy: Policy | None, progress: Progress
    ) -> None:
        self.folder, self.contents, self.log, self.policy, self.progress = folder, contents, log, policy, progress
        self.sampled: list[tuple[int, int]] | None = None

    def run(self) -> list[Check]:
        """Every check; one that cannot be completed counts as failed, and the next one runs."""
        steps: list[Callable[[], list[Check]]] = [self._package, self._log, self._recipes]
        steps += [self._members] if self.contents.kind == VERIFIER else [self._nodes, self._cells]
        steps += [self._units, self._sample, self._verified]
        checks: list[Check] = []
        for step in steps:
            name = step.__name__.strip("_")
            try:
                checks += step()
            except TanzhangError as error:
                checks.append(Check(name, "could not be completed", 0, [*error.problems]))
            except Exception as error:  # whatever was changed, the other checks still have to run
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                problem = _wrong("check-impossible", f"the check stopped at {reason}", name)
                checks.append(Check(name, "could not be completed", 0, [problem]))
            self.progress(name, 100 * (steps.index(step) + 1) // len(steps), 0)
        return checks

    def _package(self) -> list[Check]:
        """Every file against its digest, and the list of them against the note that the log's key signed."""
        check = Check("package", "every file against its digest; the list of files against the signed note")
        there = {path.name for path in self.folder.iterdir()}
        for name in sorted(there ^ {*self.contents.files, CONTENTS, NOTE}):
            check.problems.append(_wrong("package-file", f"{name} is missing, or not a file of the package", name))
        for name, said in sorted(self.contents.files.items()):
            path = self.folder / name
            check.count += 1
            if path.is_file() and (path.stat().st_size, _digest_of(path)) != (said.size_bytes, said.sha256):
                check.problems.append(_wrong("package-file", f"{name} is not what the package was made with", name))
        if self.contents.origin != self.log.name:
            check.problems.append(_wrong("package-note", "the package is of another log than the key", CONTENTS))
        try:
            self.contents.check_note(_read(self.folder, NOTE), self.log)
        except TanzhangError as error:
            check.problems += error.problems
        return [check]

    # -- the log ----------------------------------------------------------------------------------------------

    @cached_property
    def said(self) -> _Said:
        """What the log says of the lot and its batches, up to the checkpoint; raises at what is not proved."""
        witnesses = () if self.policy is None else [CosignatureVerifier(w.key) for w in self.policy.witnesses.values()]
        checkpoint, note = open_checkpoint(_read(self.folder, CHECKPOINT), self.log.name, self.log, witnesses)
        if self.policy is not None:
            self.policy.check_met(note.verified)
        text = _read(self.folder, LOT).decode("utf-8", "replace")
        entries = entries_from_bytes(_read(self.folder, ENTRIES))
        for each in entries:
            verify_inclusion(each.index, checkpoint.size, leaf_hash(each.text.encode()), each.path, checkpoint.root)
        index = next((each.index for each in entries if each.text == text), None)
        if index is None:
            raise _wrong_error("lot-not-in-log", "the lot's entry is not among the proved ones", LOT)
        said = _Said(LotEntry.parse(text), index, checkpoint)
        if (said.lot.number, said.lot.programme) != (self.contents.lot, self.contents.programme):
            raise _wrong_error("lot-not-in-log", "the package says that it is of another lot or programme", CONTENTS)
        for each in entries:
            self._sort(said, each.text)
        return said

    def _sort(self, said: _Said, text: str) -> None:
        try:
            entry = json.loads(text)
            kind = entry.get("format")
        except (ValueError, AttributeError, RecursionError):
            return
        if kind == MANIFEST_FORMAT:
            manifest = manifest_said(entry)
            number = str(entry.get("batch"))
            if manifest is not None and number.isascii() and number.isdigit():
                said.batches[int(number)] = manifest
        elif kind == VERIFICATION_FORMAT and entry.get("lot") == lot_text(said.lot.number):
            said.verified.append(text)
        elif kind == ISSUE_FORMAT and entry.get("lot") == lot_text(said.lot.number):
            said.issued.append(entry)

    def _log(self) -> list[Check]:
        """The checkpoint and each entry; the batches of the lot are all there."""
        check = Check("log", "the checkpoint's signature, and the path of each entry to it")
        said = self.said
        check.count = 1 + len(entries_from_bytes(_read(self.folder, ENTRIES)))
        wanted = (
            {said.lot.first_batch, said.lot.last_batch}
            if self.contents.kind == PUBLIC
            else set(range(said.lot.first_batch, said.lot.last_batch + 1))
        )
        for number in sorted(wanted - said.batches.keys()):
            message = f"the manifest of batch {number} is not among the proved entries"
            check.problems.append(_wrong("batch-not-in-log", message, ENTRIES))
        check.notes.append(f"lot is entry {said.index} of {self.log.name}, signed at size {said.checkpoint.size}")
        return [check]

    @cached_property
    def plans(self) -> Mapping[str, str]:
        """The recipes of the package, digest -> document."""
        found = self._json(PLANS)
        if not isinstance(found, dict) or any(not isinstance(each, str) for each in found.values()):
            raise malformed("the recipes are not digests and documents", PLANS)
        return found

    def _recipes(self) -> list[Check]:
        """Recipes against their digests, and against the methodologies that the lot's entry names."""
        check = Check("recipes", "recipes against their digests and the lot's methodologies", len(self.plans))
        named = {digest: name for name, digests in self.said.lot.methodologies.items() for digest in digests}
        for digest in sorted(named.keys() ^ self.plans.keys()):
            check.problems.append(_wrong("plan-missing", f"recipe {digest} is missing, or not one of the lot", PLANS))
        for digest, document in sorted(self.plans.items()):
            if hashlib.sha256(document.encode()).hexdigest() != digest:
                check.problems.append(_wrong("plan-changed", f"recipe {digest} has another text", PLANS))
            elif digest in named and read_recipe(document).methodology != named[digest]:
                message = f"recipe {digest} is not of {named[digest]}, which the log says"
                check.problems.append(_wrong("plan-changed", message, PLANS))
        return [check]

    # -- members, or what everybody may see of them -----------------------------------------------------------

    def _members(self) -> list[Check]:
        found = check_members(
            self.folder, self.said.lot, self.said.batches, self.plans, self._picks(), progress=self.progress
        )
        self.sampled = found.sampled
        return found.checks

    def _nodes(self) -> list[Check]:
        """The upper nodes of the lot's tree against its root and total."""
        nodes = nodes_from_bytes(_read(self.folder, NODES))
        check = Check("lot tree", "sums of the lot's tree against root and total in the log", len(nodes))
        root = folded(nodes, self.said.lot.leaves)
        if root != Node(self.said.lot.total_mg, self.said.lot.root):
            check.problems.append(
                _wrong("lot-root-mismatch", f"the nodes give root {root.hash.hex()} over {root.amount} mg", NODES)
            )
        return [check]

    def _cells(self) -> list[Check]:
        """What is published by region and behaviour against the total, and nothing of too few accounts."""
        said = self._json(CELLS)
        cells, least = said["cells"], int(said["least_accounts"])
        check = Check("cells", "published cells against the lot's total; none of too few accounts", len(cells))
        totals = [each for each in cells if each["total"]]
        for name, whole in (("reduction_mg", self.said.lot.total_mg), ("records", self.said.lot.members)):
            if sum(int(each[name]) for each in totals) != whole:
                check.problems.append(_wrong("cells-mismatch", f"{name} of all regions do not come to {whole}", CELLS))
            for total in totals:
                below = [each for each in cells if not each["total"] and each["region"] == total["region"]]
                if below and sum(int(each[name]) for each in below) != int(total[name]):
                    message = f"{name} of region {total['region']} do not add up"
                    check.problems.append(_wrong("cells-mismatch", message, CELLS))
        if said["lot"] != lot_text(self.contents.lot):
            check.problems.append(_wrong("cells-mismatch", "the cells are of another lot", CELLS))
        if any(each["accounts"] is not None and int(each["accounts"]) < least for each in cells):
            check.problems.append(_wrong("cells-small", f"a cell of fewer than {least} accounts is shown", CELLS))
        return [check]

    # -- units ------------------------------------------------------------------------------------------------

    def _units(self) -> list[Check]:
        """Blocks tile the lot's units, and the states come to what was issued."""
        said, lot = self._json(UNITS), self.said.lot
        blocks = [{**each, "lo": int(each["lo"]), "hi": int(each["hi"])} for each in said["blocks"]]
        check = Check("units", "blocks tile the lot's units; states come to what was issued", len(blocks))
        states = {name: int(count) for name, count in said["states"].items()}
        issued = int(said["issued"])
        if issued not in (0, lot.units) or int(said["unit_mass_mg"]) != lot.unit_mass_mg:
            message = f"{issued} units of {said['unit_mass_mg']} mg are said to be issued; the log says {lot.units}"
            check.problems.append(_wrong("units-mismatch", message, UNITS))
        for message in check_blocks(blocks, issued, states):
            check.problems.append(_wrong("units-mismatch", message, UNITS))
        self._check_issue(check, issued, states)
        if any(int(each["vintage"]) != lot.vintage for each in blocks):
            check.problems.append(_wrong("units-mismatch", "a block is of another vintage than the lot", UNITS))
        if not issued:
            check.notes.append("no units were issued yet")
        return [check]

    def _check_issue(self, check: Check, issued: int, states: Mapping[str, int]) -> None:
        """What the log says of the issue; what was cancelled by it stays cancelled."""
        entries = self.said.issued
        if len(entries) != bool(issued) or any(int(each["units"]) != issued for each in entries):
            message = f"{issued} units are said to be issued, and the log says {[each['units'] for each in entries]}"
            check.problems.append(_wrong("units-mismatch", message, UNITS))
        for each in entries:
            gone = sum(int(part["count"]) for part in each["parts"] if part["state"] == State.CANCELLED)
            if states.get(State.CANCELLED, 0) < gone:
                message = f"{gone} units were cancelled as they were issued, and fewer are now"
                check.problems.append(_wrong("units-mismatch", message, UNITS))

    # -- how it was verified ----------------------------------------------------------------------------------

    @cached_property
    def verification(self) -> Mapping[str, Any]:
        """What the package says of how the lot was verified."""
        said = self._json(VERIFICATION)
        if not isinstance(said, dict):
            raise malformed("it does not say how the lot was verified", VERIFICATION)
        return said

    def _picks(self) -> tuple[int, ...]:
        drawn = self.verification["sample"]
        if drawn is None:
            return ()
        made = seed(self.said.lot.root, self.said.index, drawn["checkpoint"])
        return picks(made, int(drawn["picks"]), self.said.lot.total_mg)

    def _sample(self) -> list[Check]:
        """The seed again from root and checkpoint; in a verifier's package that each sampled record was looked at."""
        check = Check("sample", "the seed from root and checkpoint; a finding of each record that it picks")
        said, drawn = self.verification, self.verification["sample"]
        if said["root"] != self.said.lot.root.hex() or said["lot"] != lot_text(self.contents.lot):
            check.problems.append(_wrong("sample-mismatch", "it is told of another lot", VERIFICATION))
        if drawn is None:
            check.notes.append("no sample was drawn yet")
            return [check]
        check.count = len(self._picks())
        made = seed(self.said.lot.root, self.said.index, drawn["checkpoint"])
        origin = Checkpoint.parse(drawn["checkpoint"]).origin
        if (drawn["seed"], drawn["rule"], origin) != (made.hex(), RULE, self.log.name):
            check.problems.append(
                _wrong("sample-mismatch", "the seed is not that of root and checkpoint", VERIFICATION)
            )
        if self.contents.kind == VERIFIER:
            self._check_findings(check)
        return [check]

    def _check_findings(self, check: Check) -> None:
        findings = self._json(FINDINGS)
        if hashlib.sha256(canonical_json(findings).encode()).hexdigest() != self.verification["findings_digest"]:
            check.problems.append(_wrong("findings-mismatch", "the findings are not those that are told", FINDINGS))
        counted = [each["severity"] for each in findings]
        if self.verification["found"] != {name: str(counted.count(name)) for name in ("none", "minor", "material")}:
            check.problems.append(_wrong("findings-mismatch", "the findings are not as many as told", FINDINGS))
        looked_at = {
            (int(each["record"]["batch"]), int(each["record"]["place"]))
            for each in findings
            if each["record"] is not None
        }
        decision = self.verification["decision"]
        left = set(self.sampled or ()) - looked_at
        if decision is not None and decision["decision"] == "verified" and left:
            message = f"{len(left)} records of the sample have no finding"
            check.problems.append(_wrong("findings-mismatch", message, FINDINGS))

    def _verified(self) -> list[Check]:
        """The log's word for how a registered lot was verified is what the package says."""
        check = Check("verification", "what is told of the verification against the log", len(self.said.verified))
        own = canonical_json({"format": VERIFICATION_FORMAT, **self.verification})
        if len(self.said.verified) > 1:
            check.problems.append(_wrong("verification-mismatch", "the log has several entries of it", ENTRIES))
        if self.said.verified and self.said.verified[0] != own:
            check.problems.append(_wrong("verification-mismatch", "the log says something else", VERIFICATION))
        decision = self.verification["decision"]
        material = self.verification["found"]["material"] != "0"
        if decision is not None and (decision["decision"] == "verified") == material:
            message = f"it was {decision['decision']} with {self.verification['found']['material']} material findings"
            check.problems.append(_wrong("verification-mismatch", message, VERIFICATION))
        became = self._json(UNITS)
        registered = became["state"] in PUBLISHED or became["issued"] != "0"
        if registered != bool(self.said.verified):
            message = (
                f"the lot is said to be {became['state']}, and the log has {len(self.said.verified)} entries of it"
            )
            check.problems.append(_wrong("verification-mismatch", message, UNITS))
        if not self.said.verified:
            check.notes.append("the lot is not registered: the log does not say yet how it was verified")
        return [check]

    def _json(self, name: str) -> Any:
        data = _read(self.folder, name)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise malformed(f"{name} is no JSON", name) from None
        if canonical_json(found).encode() != data:
            raise malformed(f"{name} is not written as packages are", name)
        return found


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wrong(code: str, message: str, where: str) -> Problem:
    return Problem(code, message, f"package: {where}", REMEDY)


def _wrong_error(code: str, message: str, where: str) -> TanzhangError:
    return TanzhangError(_wrong(code, message, where))
