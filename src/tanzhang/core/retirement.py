"""Retirement (注销) of carbon units: what the log commits to, who it is for, and what a certificate of it must show.

A retirement is of one lot, and so of one vintage. Its row in the log says which units, for which purpose and time, and
a **commitment** to the rest: beneficiary, using entity and note. Who retired may show what the commitment is to (its
opening) to everybody, to one reader, or to nobody; the units are in the public list all the same. The commitment is
salted, so that nobody finds a name by trying, and so that a name can go and the log stays.

:func:`check_certificate` is what makes a certificate of a retirement more than its issuer's word: both the retirement
and the lot are proved to be in the log, and what the certificate says of them is what the log has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.core.log_tree import LogTree
from tanzhang.core.lot import LotEntry
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.merkle import leaf_hash
from tanzhang.core.methodology import canonical_json
from tanzhang.core.note import Verifier
from tanzhang.core.serial import Serial, lot_name
from tanzhang.core.tlog_proof import TlogProof

OPENING_FORMAT = "tanzhang.retirement-opening/1"
INCLUSION, LOT_INCLUSION, ISSUE_INCLUSION = "RetirementInclusion", "LotInclusion", "IssueInclusion"
"""Types of evidence in a certificate."""
ISSUE_FORMAT = "tanzhang.units-issued/1"
"""Of the log's entry that says into which blocks a lot was issued."""
CLAIMS: Mapping[str, Mapping[str, str]] = {
    "usingEntity": {
        "may": "claim these units, once, for the purpose and period stated here",
        "mayZh": "可就本证书所载用途与期间，对这些减排量作一次声明",
        "mayNot": "sell or use them again, or claim them for another purpose or period",
        "mayNotZh": "不得再次出售、使用，或用于其他用途、其他期间的声明",
    },
    "person": {
        "may": "say: my acts contributed so many grams to this lot",
        "mayZh": "可声明：本人行为为该批次贡献了若干克减排量",
        "mayNot": "claim to offset anything with these grams",
        "mayNotZh": "不得以这些减排量声明抵消",
    },
    "partner": {
        "may": "say: our users reported so many grams through us (facilitated, not owned)",
        "mayZh": "可声明：用户经本平台上报了若干克减排量（促成而非拥有）",
        "mayNot": "count them as reductions of its own scope 1 to 3, unless it bought and retired them",
        "mayNotZh": "除非自行购买并注销，不得计入自身范围一至三减排",
    },
    "city": {
        "may": "state totals of confirmed grams, and separately of those that were sold",
        "mayZh": "可公布已确认减排总量，并另行公布已售出总量",
        "mayNot": "add up totals of partners, which overlap",
        "mayNotZh": "不得将各合作方总量相加（存在重叠）",
    },
}
"""Who may say what of retired units; ours, after the rule that a gram is claimed once."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """One retirement as the log commits to it: no name. ``serials`` are of one lot, in order.

    ``since`` and ``until`` are the first and the last day of the period of the claim, ``commitment`` is that of
    :class:`Opening`, ``market`` the version of the market rules whose code ``purpose`` is.
    """

    id: str
    serials: tuple[str, ...]
    units: int
    purpose: str
    market: str
    since: str
    until: str
    commitment: str
    made_at: str

    @property
    def counted(self) -> tuple[str, str, int]:
        """What it adds to the totals: units of a lot."""
        first = Serial.parse(self.serials[0])
        return lot_name(first.lot), f"units:{first.unit}", self.units

    def as_dict(self) -> dict[str, Any]:
        """As JSON members."""
        return {**asdict(self), "serials": list(self.serials), "units": str(self.units)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Retirement:
        """Of its JSON members; ValueError for serials that are not of one lot in order, or are not so many units."""
        row = cls(**{**said, "serials": tuple(said["serials"]), "units": int(said["units"])})
        parsed = [Serial.parse(each) for each in row.serials]
        if not parsed or len({(each.lot, each.vintage, each.unit) for each in parsed}) != 1:
            raise ValueError("its units are not of one lot")
        ends = [place for each in parsed for place in (each.lo, each.hi)]
        if ends != sorted(ends) or sum(each.count for each in parsed) != row.units:
            raise ValueError("its serial numbers overlap, or are not so many units")
        return row


RETIREMENTS: LogTree[Retirement] = LogTree(
    kind="retirements",
    format="tanzhang.retirements/1",
    proof_format="tanzhang.retirement-proof/1",
    member="retirement",
    read=Retirement.read,
    code="retirement-proof-malformed",
    where="proof of a retirement",
    said="{amount} {unit} are part of the {total} of lot {of} that were retired by then",
)


@dataclass(frozen=True, slots=True)
class Opening:
    """What a commitment is to. ``salt`` is 32 bytes as hex; texts that were not given are empty."""

    salt: str
    beneficiary: str
    beneficiary_id: str
    using_entity: str
    note: str

    def to_text(self) -> str:
        """As canonical JSON, which is what the commitment hashes."""
        return canonical_json({"format": OPENING_FORMAT, **asdict(self)})

    @property
    def commitment(self) -> str:
        """What stands in the log."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def as_dict(self) -> dict[str, str]:
        """As JSON members, without the salt."""
        return {name: value for name, value in asdict(self).items() if name != "salt"}

    @classmethod
    def parse(cls, text: str | bytes) -> Opening:
        """Read one; ``retirement-opening-malformed`` if it is not written as ours are."""
        try:
            said = json.loads(text)
            if said.pop("format") != OPENING_FORMAT or not all(isinstance(each, str) for each in said.values()):
                raise ValueError("it is of another format")
            opening = cls(**said)
            written = text if isinstance(text, str) else text.decode()
            if opening.to_text() != written.strip() or len(bytes.fromhex(opening.salt)) != 32:
                raise ValueError("it is not written as ours are")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise refuse(
                "retirement-opening-malformed",
                f"the opening cannot be read: {error}",
                where="opening",
                remedy="ask whoever retired the units for the file again",
            ) from None
        return opening


# -- certificates ---------------------------------------------------------------------------------------------


def check_certificate(document: Mapping[str, Any], log: Verifier, opening: bytes | None = None) -> list[str]:
    """What holds of a certificate of a retirement beside its signature, in words; ``retirement-unproved`` if not.

    The retirement and the lot are in the log, and what the certificate says of units, purpose, period, lot, region,
    methodologies and beneficiary is what they say. ``opening`` is a file that shows the beneficiary of one that keeps
    silent.
    """
    subject = document["credentialSubject"]
    try:
        proof = _evidence(document, INCLUSION)["proof"].encode()
        verified = RETIREMENTS.verify(proof, log)
        row = verified.row
        wanted = {
            "reference": row.id,
            "serials": list(row.serials),
            "units": str(row.units),
            "commitment": row.commitment,
            "retiredAt": row.made_at,
        }
        said = {name: subject[name] for name in wanted}
        claimed = (subject["purpose"]["code"], subject["claimPeriod"]["since"], subject["claimPeriod"]["until"])
        if said != wanted or claimed != (row.purpose, row.since, row.until):
            raise _unproved("it says another retirement than the one that the log has")
        if verified.sealed.programme != subject["programme"]["id"]:
            raise _unproved("the retirement is of another programme")
        checks = [f"the retirement is in the log: {each}" for each in verified.checks[-1:]]
        serial = Serial.parse(row.serials[0])
        mass = UNIT_MASS_MG[serial.unit]
        weighs = {"letter": serial.unit, "massMg": str(mass)}, str(row.units * mass)
        if (subject["unit"], subject["massMg"]) != weighs:
            raise _unproved("the mass is not that of so many units")
        if (subject["vintage"], subject["region"]) != (str(serial.vintage), serial.region):
            raise _unproved("vintage or region are not those of the serial numbers")
        checks += _check_lot(document, subject, serial, max(Serial.parse(each).hi for each in row.serials), log)
        checks += _check_opening(subject, row.commitment, opening)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise _unproved(f"a member is missing or not of its type: {error}") from None
    return checks


def _check_lot(
    document: Mapping[str, Any], subject: Mapping[str, Any], serial: Serial, end: int, log: Verifier
) -> list[str]:
    said = subject["lot"]
    if said["number"] != lot_name(serial.lot):
        raise _unproved("the lot is not that of the serial numbers")
    if "registry" in said:  # units that came from another registry have no lot of ours
        return [f"the lot came from {str(said['registry'])[:80]}; what stands behind it is that registry's word"]
    text, index, size = _in_log(document, LOT_INCLUSION, log)
    lot = LotEntry.parse(text)
    issue, issue_index, _ = _in_log(document, ISSUE_INCLUSION, log)
    wanted = {
        "number": lot_name(lot.number),
        "root": lot.root.hex(),
        "units": str(lot.units),
        "totalMg": str(lot.total_mg),
        "methodologies": {name: list(digests) for name, digests in lot.methodologies.items()},
        "entry": str(index),
        "issueEntry": str(issue_index),
    }
    same = (lot.vintage, lot.region, lot.programme) == (serial.vintage, serial.region, subject["programme"]["id"])
    if dict(said) != wanted or not same or lot.unit_mass_mg != UNIT_MASS_MG[serial.unit] or end > lot.units:
        raise _unproved("what it says of the lot is not what the log has")
    issued = json.loads(issue)
    named = {name: issued[name] for name in ("format", "programme", "lot", "units")}
    if named != {"format": ISSUE_FORMAT, "programme": lot.programme, "lot": wanted["number"], "units": wanted["units"]}:
        raise _unproved("the log's entry of the issue is not of this lot")
    return [
        f"lot {wanted['number']} is entry {index} of the log {log.name}, signed at size {size}",
        f"its {lot.units} units were issued by entry {issue_index}",
    ]


def _in_log(document: Mapping[str, Any], kind: str, log: Verifier) -> tuple[str, int, int]:
    """An entry that a certificate carries, once it is proved: its text, index, and the size of the log."""
    evidence = _evidence(document, kind)
    text: str = evidence["entry"]
    proof = TlogProof.parse(evidence["proof"].encode())
    checkpoint, _ = proof.verify(leaf_hash(text.encode()), log.name, log)
    return text, proof.index, checkpoint.size


def _check_opening(subject: Mapping[str, Any], commitment: str, given: bytes | None) -> list[str]:
    shown = subject.get("beneficiary")
    if shown is None and given is None:
        return ["the beneficiary is a commitment; whoever has its opening can show it"]
    said = None if shown is None else Opening(**shown)
    opening = Opening.parse(given) if given is not None else said
    if opening is None or opening.commitment != commitment or said not in (None, opening):
        raise _unproved("the beneficiary is not the one that the log commits to")
    return [f"the beneficiary {opening.beneficiary!r} is the one that the log commits to"]


def _evidence(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = [each for each in document["evidence"] if isinstance(each, Mapping) and each.get("type") == kind]
    if len(found) != 1:
        raise _unproved(f"it carries no {kind}, or several")
    return found[0]


def _unproved(message: str) -> TanzhangError:
    remedy = "ask whoever gave it to you for another one; do not trust this one"
    return refuse("retirement-unproved", message, where="certificate of a retirement", remedy=remedy)


def serials_of(make: Serial, ranges: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The serial numbers of ranges of a lot's units, neighbours joined; ``make`` is any block of it."""
    joined: list[tuple[int, int]] = []
    for lo, hi in sorted(ranges):
        if joined and joined[-1][1] == lo:
            joined[-1] = (joined[-1][0], hi)
        else:
            joined.append((lo, hi))
    named = (make.region, make.programme, make.lot, make.vintage, make.unit)
    return tuple(Serial(*named, lo, hi).text for lo, hi in joined)
