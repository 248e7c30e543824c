"""Carbon units: labels and totals for everybody; whose they are, and what is done with them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of, party_meant
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, size_of
from tanzhang.api.public import A_MOMENT, public_json, public_route
from tanzhang.core.access import Caller, Role
from tanzhang.core.lot import lot_number
from tanzhang.core.units import PARTY
from tanzhang.service.market import compensate as compensating
from tanzhang.service.market import issue as issuing
from tanzhang.service.market import labels as labelling
from tanzhang.service.market import units as service

_OPERATOR = allow(Role.OPERATOR)
_HOLDERS = allow(Role.OPERATOR, Role.BUYER)
_TAGS = ["units"]
_EXAMPLE = "TZ1-CN110000-BJGT-L000042-2025-T-1-1200-52"
AnyRequest = Request[Any, Any, Any]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=service.LONGEST, examples=["2026-07-01/1"])]
HeldFor = Annotated[str, msgspec.Meta(min_length=1, max_length=2 * service.LONGEST, examples=["party:steel 2026-1"])]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=service.LONGEST)]
SerialText = Annotated[str, msgspec.Meta(max_length=120, examples=[_EXAMPLE])]
Serials = Annotated[list[SerialText], msgspec.Meta(min_length=1, max_length=1_000)]
Count = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,9}$", examples=["100"])]
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", examples=["ab" * 32])]


class Issuing(msgspec.Struct, forbid_unknown_fields=True):
    """The issue of a lot. The same ``reference`` again is told the same."""

    reference: Reference


class Splitting(msgspec.Struct, forbid_unknown_fields=True):
    """A block is cut into blocks of so many units, the rest last."""

    serial: SerialText
    counts: Annotated[list[Count], msgspec.Meta(min_length=1, max_length=1_000)]
    reference: Reference


class Merging(msgspec.Struct, forbid_unknown_fields=True):
    """All blocks in the range of a serial number become one."""

    serial: SerialText
    reference: Reference


class Act(msgspec.Struct, forbid_unknown_fields=True):
    """What is done with units, and why. The same ``reference`` again is told the same."""

    serials: Serials
    reference: Reference
    why: Why


class Cancelling(Act, forbid_unknown_fields=True):
    """``party`` is whose units they are, of an operator who cancels for one."""

    party: str | None = None


class Exporting(msgspec.Struct, forbid_unknown_fields=True):
    """Units leave for another registry; ``party`` as above."""

    serials: Serials
    reference: Reference
    registry: Name
    party: str | None = None


class Exported(msgspec.Struct, forbid_unknown_fields=True):
    """The other registry has what waited under ``reference`` (``held_for`` of its units), and calls it ``there``."""

    reference: HeldFor
    there: Name


class Returned(msgspec.Struct, forbid_unknown_fields=True):
    """The other registry did not take what waited under ``reference``."""

    reference: HeldFor
    why: Why


class Importing(msgspec.Struct, forbid_unknown_fields=True):
    """Units that left another registry, with their serial number there and the digest of what shows it."""

    registry: Name
    foreign: Name
    units: Count
    unit: Literal["T", "K"]
    vintage: Annotated[int, msgspec.Meta(ge=1990, le=9998)]
    region: Annotated[str, msgspec.Meta(max_length=20, examples=["CN-110000"])]
    tier: Name
    holder: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["programme", "party:steel"])]
    evidence: Digest
    reference: Reference


class Labelling(msgspec.Struct, forbid_unknown_fields=True):
    """A label of the market rules, from a local day on until another one (not included; null: for good)."""

    serial: SerialText
    scheme: Annotated[str, msgspec.Meta(max_length=64, examples=["ets_surrender"])]
    granted_by: Name
    evidence: Digest
    first_day: date
    reference: Reference
    until_day: date | None = None
    scope: Annotated[str, msgspec.Meta(max_length=service.LONGEST, examples=["2026"])] = ""


class Revoking(msgspec.Struct, forbid_unknown_fields=True):
    """A label holds no longer."""

    reference: Reference
    why: Why


# -- for everybody ----------------------------------------------------------------------------------------------


class ShownLabel(msgspec.Struct):
    """A label of units: what scheme says what of them, from a day on until another one (null: for good)."""

    number: str
    serial: str
    scheme: str
    scope: str
    tier: str
    granted_by: str
    evidence: str
    first_day: str
    until_day: str | None


class UnitLabels(msgspec.Struct):
    """The labels over units that nobody revoked; those of other days than today among them."""

    serial: str
    labels: list[ShownLabel]


class Compensation(msgspec.Struct):
    """What was taken back of a lot since it was frozen, how many units that makes due, and how many were cancelled."""

    reversed_mg: str
    due: str
    made_good: str
    shortfall: str


class LotUnits(msgspec.Struct):
    """The units of a lot by state, which add up to ``units``; ``reserve`` are those kept for errors."""

    lot: str
    kind: str
    programme: str
    region: str
    vintage: int
    unit: str
    units: str
    states: dict[str, str]
    reserve: str
    compensation: Compensation | None
    registry: str | None = None
    foreign: str | None = None


@get("/v1/market/serials/{serial:str}/labels", **public_route(_TAGS, UnitLabels, "Labels of the units."))
def labels(home: TheHome, request: AnyRequest, serial: FromPath[str]) -> Response[bytes]:
    """The labels of the units of a serial number."""
    return public_json(request, service.labels_of(home, serial), keep=A_MOMENT)


@get("/v1/market/lots/{lot:str}/units", **public_route(_TAGS, LotUnits, "The units of the lot."))
def of_lot(home: TheHome, request: AnyRequest, lot: FromPath[str]) -> Response[bytes]:
    """How many units of a lot are in which state, and what errors were found in it since."""
    return public_json(request, compensating.lot_with_compensation(home, lot), keep=A_MOMENT)


# -- for holders ------------------------------------------------------------------------------------------------


@get("/v1/market/units", opt=allow(Role.OPERATOR, Role.AUDITOR, Role.BUYER), sync_to_thread=True, tags=_TAGS)
def list_(
    home: TheHome,
    caller: TheCaller,
    holder: Annotated[str | None, QueryParameter(description="Of one holder, such as programme or party:ID.")] = None,
    lot: Annotated[str | None, QueryParameter(description="Of one lot, such as L000042.")] = None,
    unit_state: Annotated[str | None, QueryParameter(name="state", description="Those in one state alone.")] = None,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Page:
    """Blocks by lot and serial; a buyer's own."""
    if caller.role is Role.BUYER:
        holder = _own(caller, None)
    found = service.blocks_page(home, holder=holder, lot=lot, state=unit_state, cursor=cursor, limit=size_of(limit))
    return Page(found["items"], found["next"])


@get("/v1/market/units/{serial:str}", opt=allow(Role.OPERATOR, Role.AUDITOR), sync_to_thread=True, tags=_TAGS)
def show_whole(home: TheHome, request: AnyRequest, serial: FromPath[str]) -> Response[Any]:
    """What stands under a serial number, with holders, references and who did it."""
    return private_json(request, service.block_page(home, serial))


@post("/v1/market/units/cancel", opt=_HOLDERS, sync_to_thread=True, tags=_TAGS)
def cancel(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Cancelling]
) -> dict[str, Any]:
    """Take units out without a claim, for good."""
    holder, actor = _holder(caller, data.party), actor_of(request, caller)
    return service.cancel(home, holder, data.serials, reference=data.reference, why=data.why, actor=actor, now=now)


@post("/v1/market/units/export", opt=_HOLDERS, sync_to_thread=True, tags=_TAGS)
def export(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Exporting]
) -> dict[str, Any]:
    """Ask for units to be moved to another registry: they wait until the operator has its answer."""
    holder, actor = _holder(caller, data.party), actor_of(request, caller)
    return service.export(
        home, holder, data.serials, registry=data.registry, reference=data.reference, actor=actor, now=now
    )


# -- for the operator -------------------------------------------------------------------------------------------


@post("/v1/market/lots/{lot:str}/issue", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def issue(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Issuing]
) -> dict[str, Any]:
    """Issue the units of a registered lot, once."""
    actor = actor_of(request, caller)
    return issuing.issue(home, lot_number(lot), reference=data.reference, actor=actor, now=now)


@post("/v1/market/units/split", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def split(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Splitting]) -> dict[str, Any]:
    """Cut a block; nothing else of it changes."""
    counts, actor = [int(each) for each in data.counts], actor_of(request, caller)
    return service.split(home, data.serial, counts, reference=data.reference, actor=actor, now=now)


@post("/v1/market/units/merge", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def merge(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Merging]) -> dict[str, Any]:
    """Make one block of neighbours that are equal in everything."""
    return service.merge(home, data.serial, reference=data.reference, actor=actor_of(request, caller), now=now)


@post("/v1/market/units/freeze", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def freeze(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Act]) -> dict[str, Any]:
    """Hold units back for an authority or a court."""
    actor = actor_of(request, caller)
    return service.freeze(home, data.serials, reference=data.reference, why=data.why, actor=actor, now=now)


@post("/v1/market/units/thaw", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def thaw(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Act]) -> dict[str, Any]:
    """End such a hold."""
    actor = actor_of(request, caller)
    return service.thaw(home, data.serials, reference=data.reference, why=data.why, actor=actor, now=now)


@post("/v1/market/units/expire", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def expire(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Act]) -> dict[str, Any]:
    """End units whose time of use is over by a rule, which ``why`` names."""
    actor = actor_of(request, caller)
    return service.expire(home, data.serials, reference=data.reference, why=data.why, actor=actor, now=now)


@post("/v1/market/units/exported", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def exported(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Exported]
) -> dict[str, Any]:
    """The other registry has the units."""
    return service.exported(home, data.reference, there=data.there, actor=actor_of(request, caller), now=now)


@post("/v1/market/units/returned", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def export_back(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Returned]
) -> dict[str, Any]:
    """The other registry did not take the units: they are held again."""
    return service.export_back(home, data.reference, why=data.why, actor=actor_of(request, caller), now=now)


@post("/v1/market/units/import", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def import_(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Importing]
) -> dict[str, Any]:
    """Take units of another registry in, as a lot of their own."""
    said = {name: getattr(data, name) for name in data.__struct_fields__ if name != "units"}
    return service.import_units(home, **said, units=int(data.units), actor=actor_of(request, caller), now=now)


@post("/v1/market/lots/{lot:str}/make-good", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def make_good(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Act]
) -> dict[str, Any]:
    """Cancel other units for what a lot's error reserve did not reach for."""
    actor = actor_of(request, caller)
    said = {"reference": data.reference, "why": data.why}
    return compensating.make_good(home, lot, data.serials, **said, actor=actor, now=now)


@post("/v1/market/labels", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def label(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[Labelling]) -> dict[str, Any]:
    """Label units; no serial number changes."""
    said = {name: getattr(data, name) for name in data.__struct_fields__ if name != "serial"}
    return labelling.label(home, data.serial, **said, actor=actor_of(request, caller), now=now)


@post("/v1/market/labels/{number:int}/revoke", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def revoke(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, number: FromPath[int], data: JSONBody[Revoking]
) -> dict[str, Any]:
    """Let a label hold no longer, from today on."""
    actor = actor_of(request, caller)
    return labelling.revoke(home, number, reference=data.reference, why=data.why, actor=actor, now=now)


def _own(caller: Caller, named: str | None) -> str:
    return f"{PARTY}{party_meant(caller, named)}"


def _holder(caller: Caller, named: str | None) -> str | None:
    """Whose units they must be: a buyer's own; of an operator, whoever is named, or whoever holds them."""
    return _own(caller, named) if caller.role is Role.BUYER or named is not None else None


handlers = [
    labels,
    of_lot,
    list_,
    show_whole,
    cancel,
    export,
    issue,
    split,
    merge,
    freeze,
    thaw,
    expire,
    exported,
    export_back,
    import_,
    make_good,
    label,
    revoke,
]
