"""Verifying lots: verifiers see and decide the lots that were handed to them, the operator does what is left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from tanzhang.api.access import allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, number_after, page_of, size_of, text_after
from tanzhang.api.waiting import in_thread
from tanzhang.core.access import Caller, Role
from tanzhang.core.lot import lot_number
from tanzhang.core.lot_package import VERIFIER
from tanzhang.core.sample import LEAST_PICKS, MOST_PICKS
from tanzhang.service.market import verification as service
from tanzhang.service.market.package import make_package
from tanzhang.service.market.verifiers import VerifierSaid, put_verifier, verifier_page, verifiers

_OPERATOR, _VERIFIER = allow(Role.OPERATOR), allow(Role.VERIFIER)
_READING = allow(Role.VERIFIER, Role.OPERATOR, Role.AUDITOR)
_TAGS = ["verification"]
_CHUNK = 1 << 20
AnyRequest = Request[Any, Any, Any]
Reference = Annotated[
    str, msgspec.Meta(min_length=1, max_length=100, description="The same again is the same act.", examples=["a-1"])
]


class HandOver(msgspec.Struct, forbid_unknown_fields=True):
    """To whom a lot is handed."""

    verifier: Annotated[str, msgspec.Meta(max_length=64, examples=["green_audit"])]
    reference: Reference


class Draw(msgspec.Struct, forbid_unknown_fields=True):
    """How many milligrams of a lot are picked."""

    reference: Reference
    count: Annotated[int, msgspec.Meta(ge=LEAST_PICKS, le=MOST_PICKS)] = LEAST_PICKS


class Findings(msgspec.Struct, forbid_unknown_fields=True):
    """Findings, filed all or none."""

    reference: Reference
    findings: Annotated[list[service.Finding], msgspec.Meta(min_length=1, max_length=MOST_PICKS)]


class DecisionAsked(service.Decision, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A decision about a lot."""

    reference: Reference


class AttestationAsked(service.Attestation, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An attestation of exclusivity."""

    reference: Reference


class LookUpAsked(service.LookUp, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a registry showed."""

    reference: Reference


class Registration(msgspec.Struct, forbid_unknown_fields=True):
    """That a lot is to be registered."""

    reference: Reference


# -- verifiers --------------------------------------------------------------------------------------------------


@get("/v1/verifiers", opt=allow(Role.OPERATOR, Role.AUDITOR), sync_to_thread=True, tags=_TAGS)
def list_verifiers(home: TheHome, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Verifiers by id."""
    size = size_of(limit)
    return page_of(verifiers(home, text_after(cursor), size + 1), size, "id")


@get("/v1/verifiers/{verifier:str}", opt=allow(Role.OPERATOR, Role.AUDITOR), sync_to_thread=True, tags=_TAGS)
def show_verifier(home: TheHome, request: AnyRequest, verifier: FromPath[str]) -> Response[Any]:
    """A verifier as it was last said."""
    return private_json(request, verifier_page(home, verifier))


@put("/v1/verifiers/{verifier:str}", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def say_verifier(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    verifier: FromPath[str],
    data: JSONBody[VerifierSaid],
) -> dict[str, Any]:
    """Say a verifier as a whole, a new one or anew; a suspended one does nothing more."""
    return put_verifier(home, verifier, data, actor=actor_of(request, caller), now=now)


# -- the way of a lot -------------------------------------------------------------------------------------------


@get("/v1/verification/lots", opt=_VERIFIER, sync_to_thread=True, tags=_TAGS)
def own_lots(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """The lots that were handed to the caller's organisation, by number."""
    size = size_of(limit)
    found = service.lots_of(home, _own(caller), number_after(cursor) or 0, size + 1)
    return page_of(found, size, "number")


@get("/v1/verification/lots/{lot:str}", opt=_READING, sync_to_thread=True, tags=_TAGS)
def show(home: TheHome, caller: TheCaller, request: AnyRequest, lot: FromPath[str]) -> Response[Any]:
    """Everything that was done to verify a lot; a verifier sees its own lots."""
    return private_json(request, service.verification_page(home, lot_number(lot), _verifier_of(caller)))


@post("/v1/verification/lots/{lot:str}/hand-over", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def hand_over(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[HandOver]
) -> dict[str, Any]:
    """Hand a frozen lot to a verifier."""
    return service.hand_over(
        home, lot_number(lot), data.verifier, reference=data.reference, actor=actor_of(request, caller), now=now
    )


@post("/v1/verification/lots/{lot:str}/sample", opt=_VERIFIER, sync_to_thread=True, tags=_TAGS)
def draw(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Draw]
) -> dict[str, Any]:
    """Draw a lot's sample, once, by the log's checkpoint of now."""
    return service.draw(
        home,
        lot_number(lot),
        _own(caller),
        data.count,
        reference=data.reference,
        actor=actor_of(request, caller),
        now=now,
    )


@get("/v1/verification/lots/{lot:str}/sample", opt=allow(Role.VERIFIER, Role.OPERATOR), sync_to_thread=True, tags=_TAGS)
def sample(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str]) -> dict[str, Any]:
    """The records of a lot's sample with their content, each quantified again; who reads it is written down."""
    return service.sample(home, lot_number(lot), _verifier_of(caller), actor=actor_of(request, caller), now=now)


@post("/v1/verification/lots/{lot:str}/findings", opt=_VERIFIER, sync_to_thread=True, tags=_TAGS)
def file_findings(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Findings]
) -> dict[str, Any]:
    """File findings, each of a record of the lot or (without one) of the lot."""
    return service.file_findings(
        home,
        lot_number(lot),
        _own(caller),
        data.findings,
        reference=data.reference,
        actor=actor_of(request, caller),
        now=now,
    )


@post("/v1/verification/lots/{lot:str}/decision", opt=_VERIFIER, sync_to_thread=True, tags=_TAGS)
def decide(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[DecisionAsked]
) -> dict[str, Any]:
    """Decide about a lot; a rejection releases all that it holds."""
    said = service.Decision(data.decision, data.statement, data.evidence)
    actor = actor_of(request, caller)
    return service.decide(home, lot_number(lot), _own(caller), said, reference=data.reference, actor=actor, now=now)


@post("/v1/verification/lots/{lot:str}/attestation", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def attest(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    lot: FromPath[str],
    data: JSONBody[AttestationAsked],
) -> dict[str, Any]:
    """Attest that a verified lot's acts are in no other scheme."""
    said, actor = service.Attestation(data.statement, data.evidence), actor_of(request, caller)
    return service.attest(home, lot_number(lot), said, reference=data.reference, actor=actor, now=now)


@post("/v1/verification/lots/{lot:str}/registries", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def look_up(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[LookUpAsked]
) -> dict[str, Any]:
    """Keep what a registry showed of a verified lot; the last look at each counts."""
    said = service.LookUp(data.registry, data.on, data.clear, data.found, data.evidence)
    actor = actor_of(request, caller)
    return service.look_up(home, lot_number(lot), said, reference=data.reference, actor=actor, now=now)


@post("/v1/verification/lots/{lot:str}/registration", opt=_OPERATOR, sync_to_thread=True, tags=_TAGS)
def register(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str], data: JSONBody[Registration]
) -> dict[str, Any]:
    """Register a verified lot, by another person than who attested; the log says how it was verified."""
    actor = actor_of(request, caller)
    return service.register(home, lot_number(lot), reference=data.reference, actor=actor, now=now)


@get(
    "/v1/verification/lots/{lot:str}/package",
    opt=allow(Role.VERIFIER, Role.OPERATOR),
    tags=_TAGS,
    media_type="application/zip",
)
@in_thread
def package(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, lot: FromPath[str]) -> Stream:
    """The data package of a lot with the whole record of every member: what 'tanzhang verify --lot' reads."""
    number = lot_number(lot)
    if caller.role is Role.VERIFIER:
        service.check_own(home, number, _own(caller))
    made = tempfile.TemporaryDirectory(prefix="tanzhang-lot-")
    try:
        out = Path(made.name) / f"{lot}.zip"
        make_package(home, number, VERIFIER, out, actor=actor_of(request, caller), now=now)
    except BaseException:
        made.cleanup()
        raise
    headers = {"content-disposition": f'attachment; filename="{out.name}"', "cache-control": "private, no-store"}
    return Stream(_sent(made, out), media_type="application/zip", headers=headers)


def _sent(made: tempfile.TemporaryDirectory[str], out: Path) -> Iterator[bytes]:
    """The file in parts; it is gone when it was sent, or nobody reads on."""
    with made, out.open("rb") as file:
        while data := file.read(_CHUNK):
            yield data


def _own(caller: Caller) -> str:
    """The organisation of a verifier's staff."""
    return caller.partner or ""


def _verifier_of(caller: Caller) -> str | None:
    """The organisation whose lots alone are shown; None for whoever sees all."""
    return _own(caller) if caller.role is Role.VERIFIER else None


handlers = [
    list_verifiers, show_verifier, say_verifier, own_lots, show, hand_over, draw, sample, file_findings, decide, attest,
    look_up, register, package,
]  # fmt: skip
