"""The words of a report: closed lists that every methodology, format and store shares.

An action is a flat row. Its inputs are whole numbers in the smallest unit, the unit last in the name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

# Closed list (design, section 5): name -> unit of units.yaml.
INPUT_UNITS: dict[str, str] = {
    "distance_m": "m",
    "energy_wh": "Wh",
    "mass_g": "g",
    "volume_ml": "mL",
    "duration_s": "s",
    "steps": "step",
    "count": "item",
    "amount_fen": "fen",
    "occupants": "person",
}
INPUT_NAMES: tuple[str, ...] = tuple(INPUT_UNITS)

# Known from the act's times, not reported: seconds from started_at to time. Usable in guards only.
ELAPSED = "elapsed_s"

# What an event may carry for the programme's guard (core/guard.py) alone: no input of any methodology, in no record.
# ``device`` and ``image_hash`` become keyed hashes at intake; ``straight_m`` is the line between both ends of a trip.
FOR_GUARD: tuple[str, ...] = ("device", "image_hash", "straight_m")
STRAIGHT = FOR_GUARD[-1]

# Evidence classes, best first; the position is the rank in the total order of settlement.
EVIDENCE: dict[str, str] = {
    "measured": "recorded by the issuer's own gate, meter, order or payment (闸机、电表、订单、支付)",
    "sensed": "sensed by the platform: positions, steps, navigation (定位、步数、导航)",
    "declared": "declared by the person: photo or check-in (自主打卡)",
}
EVIDENCE_RANK: dict[str, int] = {name: rank for rank, name in enumerate(EVIDENCE)}
DEFAULT_EVIDENCE = "measured"

KINDS = ("reduction", "emission")


@dataclass(frozen=True, slots=True)
class Action:
    """One report as its partner means it, before anything is looked up; the reference engine's input.

    ``ended_at`` and ``started_at`` carry their offset. ``inputs`` holds whole numbers by :data:`INPUT_NAMES`.
    """

    partner: str
    reference: str
    behaviour: str
    subject: str
    ended_at: datetime
    started_at: datetime | None = None
    region: str | None = None
    variant: str | None = None
    evidence: str = DEFAULT_EVIDENCE
    claim_issuer: str | None = None
    claim_identifier: str | None = None
    group: str | None = None
    withdraws: str | None = None
    inputs: dict[str, int] = field(default_factory=dict)
