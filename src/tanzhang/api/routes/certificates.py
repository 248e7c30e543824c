"""Certificates of a person, and what everybody may read to check them: status lists and the keys of the issuer."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, PathParameter

from tanzhang.api.access import EVERYBODY, allow
from tanzhang.api.actors import actor_of
from tanzhang.api.conditional import private_json
from tanzhang.api.given import Now, TheCaller, TheHome, TheReader
from tanzhang.api.paging import Cursor, Limit, size_of
from tanzhang.api.public import AN_HOUR, on_public_refusal, public_answer, public_json
from tanzhang.api.routes.me import OWN, AnyRequest
from tanzhang.core.access import Role
from tanzhang.core.errors import TanzhangError, refuse
from tanzhang.service import certificates as service
from tanzhang.service.certificate_page import pdf_of
from tanzhang.stores.home import Home

_TAGS = ["certificates"]
_OPERATOR = allow(Role.OPERATOR)
_CREDENTIAL, _PDF = "application/vc", "application/pdf"
_FIVE_MINUTES = "public, max-age=300"
_FILES = {200: ResponseSpec(bytes, description="The file", media_type=_PDF, generate_examples=False)}
_PUBLIC: dict[str, Any] = {
    "opt": EVERYBODY,
    "sync_to_thread": True,
    "tags": _TAGS,
    "exception_handlers": {TanzhangError: on_public_refusal},
}
Member = Literal["reduction", "footprint", "acts", "categories", "grades", "points"]
Name = Annotated[
    str, msgspec.Meta(description="A name to stand on it, if one is wanted; nobody checks it.", max_length=200)
]


class CertificateAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A certificate that a person wants: ``{"kind": "statement", "month": "2025-06"}``.

    ``statement`` needs ``month``. ``green_credit`` needs ``since`` and ``until`` (local days, both included),
    ``members`` (what it is to say, and nothing else) and ``addressed_to`` (who is to read it). ``donation`` needs
    ``gift``, the id of one's own that an entry of the log commits to.
    """

    kind: Annotated[Literal["statement", "green_credit", "donation"], msgspec.Meta(examples=["statement"])]
    month: Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", examples=["2025-06"])] | None = None
    since: date | None = None
    until: date | None = None
    members: Annotated[list[Member], msgspec.Meta(max_length=6, examples=[["reduction", "grades"]])] | None = None
    addressed_to: Annotated[str, msgspec.Meta(max_length=200, examples=["Example Bank"])] | None = None
    gift: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    name: Name | None = None


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """Why a certificate is revoked; it is kept for good, so it must name nobody."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500, examples=["issued in error"])]


@post("/v1/me/certificates", opt=OWN, sync_to_thread=True, tags=_TAGS)
def issue(reader: TheReader, now: Now, caller: TheCaller, data: JSONBody[CertificateAsked]) -> Response[dict[str, Any]]:
    """Have a certificate made: of a month, for a bank of what one picks, of a gift; with the signed ``credential``."""
    account = UUID(caller.subject)
    if data.kind == "statement":
        _check_given(data, "month")
        month = _month(str(data.month))
        made = service.issue_statement(reader, account, month, name=data.name, now=now)
    elif data.kind == "donation":
        _check_given(data, "gift")
        made = service.issue_gift(reader.home, account, str(data.gift), name=data.name, now=now)
    else:
        _check_given(data, "since", "until", "members", "addressed_to")
        made = service.issue_green_credit(
            reader,
            account,
            data.since or date.min,
            data.until or date.min,
            data.members or [],
            addressed_to=data.addressed_to or "",
            name=data.name,
            now=now,
        )
    return Response(made, status_code=201, headers={"cache-control": "no-store"})


@get("/v1/me/certificates", opt=OWN, sync_to_thread=True, tags=_TAGS)
def own(
    home: TheHome, caller: TheCaller, request: AnyRequest, cursor: Cursor = None, limit: Limit = None
) -> Response[Any]:
    """One's own certificates, the latest first, revoked ones too."""
    return private_json(request, service.own_certificates(home, caller.subject, cursor=cursor, limit=size_of(limit)))


@get("/v1/me/certificates/{name:str}", opt=OWN, sync_to_thread=True, media_type=_CREDENTIAL, tags=_TAGS)
def own_json(home: TheHome, caller: TheCaller, name: FromPath[str]) -> Response[bytes]:
    """A certificate as a W3C Verifiable Credential, byte for byte as it was signed."""
    return _file(service.own_certificate(home, caller.subject, name), _CREDENTIAL, f"{name}.json")


@get("/v1/me/certificates/{name:str}/pdf", opt=OWN, sync_to_thread=True, responses=_FILES, tags=_TAGS)
def own_pdf(home: TheHome, caller: TheCaller, name: FromPath[str]) -> Response[bytes]:
    """A certificate as a page to print, with the signed credential attached."""
    return _file(pdf_of(service.own_certificate(home, caller.subject, name)), _PDF, f"{name}.pdf")


@delete("/v1/me/certificates/{name:str}", opt=OWN, sync_to_thread=True, status_code=200, tags=_TAGS)
def take_back(home: TheHome, now: Now, caller: TheCaller, name: FromPath[str]) -> dict[str, Any]:
    """Revoke a certificate of one's own, and the consent that it rests on."""
    return service.revoke_own(home, caller.subject, name, now=now)


@post("/v1/certificates/{name:str}/revocation", opt=_OPERATOR, sync_to_thread=True, status_code=200, tags=_TAGS)
def revoke(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: Request[Any, Any, Any],
    name: FromPath[str],
    data: JSONBody[Revocation],
) -> dict[str, Any]:
    """Revoke somebody's certificate."""
    return service.revoke(home, name, data.reason, actor=actor_of(request, caller), now=now)


@get("/certificates/status/{number:int}", media_type=_CREDENTIAL, **_PUBLIC)
def status(
    home: TheHome,
    now: Now,
    request: Request[Any, Any, Any],
    number: Annotated[int, PathParameter(ge=0, le=2**31 - 1, description="Which list, from 0.")],
) -> Response[bytes]:
    """A status list (W3C Bitstring Status List): all its places at once, so nobody learns which one is looked at."""
    data = service.status_of(home, number, now=now)
    return public_answer(request, data, content_type=_CREDENTIAL, keep=_FIVE_MINUTES)


@get("/.well-known/did.json", **_PUBLIC)
def did(home: TheHome, request: Request[Any, Any, Any]) -> Response[Any]:
    """The issuer's did:web document: every key that certificates were signed with."""
    return _did(home, request)


@get("/did.json", **_PUBLIC)
def did_below(home: TheHome, request: Request[Any, Any, Any]) -> Response[Any]:
    """The same, where did:web looks for it if the service's address has a path."""
    return _did(home, request)


def _did(home: Home, request: Request[Any, Any, Any]) -> Response[Any]:
    return public_json(request, service.did_document(home), keep=AN_HOUR)


def _check_given(data: CertificateAsked, *needed: str) -> None:
    missing = [name for name in needed if getattr(data, name) is None]
    if missing:
        raise refuse(
            "request-malformed",
            f"a certificate of kind {data.kind} needs {', '.join(missing)}",
            where=f"#/{missing[0]}",
            remedy="see the OpenAPI document",
        )


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise refuse("request-malformed", f"{text} is no month", where="#/month", remedy="write YYYY-MM") from None


def _file(data: bytes, kind: str, name: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "private, no-store"}
    return Response(data, headers={**headers, "content-type": kind})


handlers = [issue, own, own_json, own_pdf, take_back, revoke, status, did, did_below]
