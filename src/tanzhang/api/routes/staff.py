"""Staff: invitations, signing in and out, one-time codes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody

from tanzhang.api.access import COOKIE, EVERYBODY, Recogniser, allow
from tanzhang.api.actors import actor_of, check_own, check_owner
from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.cookies import no_cookie, session_cookie
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, Page, page_of, size_of, text_after
from tanzhang.api.proxies import client_address
from tanzhang.core.access import Role, secret_hash
from tanzhang.core.errors import refuse
from tanzhang.service import staff as service
from tanzhang.service.access import STAFF_SESSION_LASTS, csrf_token

_INVITING = allow(Role.OPERATOR, Role.ENTERPRISE)
_SIGNED_IN = allow(*service.STAFF_ROLES)
_TAGS = ["staff"]
Secret = Annotated[str, msgspec.Meta(max_length=1024)]


class Invitation(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody to be invited; an owner invites staff of the own enterprise alone."""

    name: Annotated[str, msgspec.Meta(description="To sign in by.", max_length=200, examples=["li.na@metro.example"])]
    role: Annotated[str, msgspec.Meta(examples=["enterprise"])]
    partner: Annotated[
        str | None,
        msgspec.Meta(description="Of role buyer a party, of role verifier a verifier.", examples=["metro_co"]),
    ] = None
    position: Annotated[str | None, msgspec.Meta(description="owner or analyst", examples=["analyst"])] = None


class Acceptance(msgspec.Struct, forbid_unknown_fields=True):
    """The token of an invitation, and the password that is chosen."""

    token: Secret
    password: Annotated[str, msgspec.Meta(max_length=1024, examples=["several words together"])]


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody signs in by; ``code`` where one-time codes are on."""

    name: Annotated[str, msgspec.Meta(max_length=200)]
    password: Secret
    code: Annotated[str | None, msgspec.Meta(examples=["123456"])] = None


class Code(msgspec.Struct, forbid_unknown_fields=True):
    """A one-time code."""

    code: Annotated[str, msgspec.Meta(max_length=20, examples=["123456"])]


@post("/v1/staff", opt=_INVITING, sync_to_thread=True, tags=_TAGS)
def invite(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], data: JSONBody[Invitation]
) -> dict[str, Any]:
    """Invite somebody; ``path`` with its token is the one-time link, shown this once, good for a week."""
    if caller.role is Role.ENTERPRISE:
        check_owner(home, caller)
        check_own(caller, data.partner or "")
        _check_enterprise(data.role)
    return service.invite(
        home,
        data.role,
        data.name,
        partner=data.partner,
        position=data.position,
        actor=actor_of(request, caller),
        now=now,
    )


@get("/v1/staff", opt=_INVITING, sync_to_thread=True, tags=_TAGS)
def list_(home: TheHome, caller: TheCaller, cursor: Cursor = None, limit: Limit = None) -> Page:
    """Staff by name; an enterprise sees its own."""
    size = size_of(limit)
    return page_of(service.listed(home, caller.partner, text_after(cursor), size + 1), size, "name")


@get("/v1/staff/{member:str}", opt=_INVITING, sync_to_thread=True, tags=_TAGS)
def show(home: TheHome, caller: TheCaller, request: Request[Any, Any, Any], member: FromPath[str]) -> Response[Any]:
    """One of the staff; an owner sees that of the own enterprise."""
    _check_staff(home, caller, member)
    return private_json(request, service.described(service.member(home, member)))


@delete("/v1/staff/{member:str}", opt=_INVITING, sync_to_thread=True, status_code=200, tags=_TAGS)
def disable(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], member: FromPath[str]
) -> dict[str, Any]:
    """Let somebody sign in no more; their sessions end."""
    _check_staff(home, caller, member)
    check_if_match(request, lambda: service.described(service.member(home, member)))
    found = service.disable(home, member, actor=actor_of(request, caller), now=now)
    _forget(request)
    return found


@post("/v1/staff/{member:str}/invitation", opt=_INVITING, sync_to_thread=True, tags=_TAGS)
def invite_again(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], member: FromPath[str]
) -> dict[str, Any]:
    """A new one-time link for somebody who lost theirs, or the password."""
    _check_staff(home, caller, member)
    check_if_match(request, lambda: service.described(service.member(home, member)))
    return service.invite_again(home, member, actor=actor_of(request, caller), now=now)


@post("/v1/staff/invitation", opt=EVERYBODY, sync_to_thread=True, status_code=200, tags=_TAGS)
def accept(home: TheHome, now: Now, data: JSONBody[Acceptance]) -> dict[str, str]:
    """Take a password by the token of an invitation; it works once."""
    service.accept(home, data.token, data.password, now=now)
    return {"status": "accepted"}


@post("/v1/staff/session", opt=EVERYBODY, sync_to_thread=True, tags=_TAGS)
def sign_in(
    home: TheHome, now: Now, request: Request[Any, Any, Any], data: JSONBody[SignIn]
) -> Response[dict[str, Any]]:
    """Sign in; the answer sets the cookie of the session and has its ``csrf`` token."""
    token, found = service.sign_in(
        home,
        data.name,
        data.password,
        data.code,
        address=client_address(request),
        agent=request.headers.get("user-agent"),
        now=now,
    )
    said = {name: found[name] for name in ("id", "name", "role", "partner", "position", "codes")}
    cookie = session_cookie(token, STAFF_SESSION_LASTS)
    return Response({**said, "csrf": csrf_token(token)}, status_code=201, cookies=[cookie])


@delete("/v1/staff/session", opt=_SIGNED_IN, sync_to_thread=True, status_code=200, tags=_TAGS)
def sign_out(home: TheHome, request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
    """End this session."""
    home.access.end_session(secret_hash(request.cookies[COOKIE]))
    _forget(request)
    return Response({"status": "signed out"}, cookies=[no_cookie()])


@post("/v1/staff/codes", opt=_SIGNED_IN, sync_to_thread=True, tags=_TAGS)
def new_codes(home: TheHome, caller: TheCaller) -> dict[str, Any]:
    """A new secret for one-time codes, for an app; it holds once a code of it was sent by PUT."""
    return service.new_code_secret(home, caller.subject)


@put("/v1/staff/codes", opt=_SIGNED_IN, sync_to_thread=True, tags=_TAGS)
def codes_on(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], data: JSONBody[Code]
) -> dict[str, bool]:
    """Ask for a one-time code at each sign-in from now on."""
    service.use_codes(home, caller.subject, data.code, wanted=True, actor=actor_of(request, caller), now=now)
    return {"codes": True}


@delete("/v1/staff/codes", opt=_SIGNED_IN, sync_to_thread=True, status_code=200, tags=_TAGS)
def codes_off(
    home: TheHome, now: Now, caller: TheCaller, request: Request[Any, Any, Any], data: JSONBody[Code]
) -> dict[str, bool]:
    """Ask for no one-time code any more."""
    service.use_codes(home, caller.subject, data.code, wanted=False, actor=actor_of(request, caller), now=now)
    return {"codes": False}


def _check_staff(home: Any, caller: Any, member: str) -> None:
    """An owner manages the staff of the own enterprise alone."""
    row = service.member(home, member)
    if caller.role is Role.ENTERPRISE:
        check_owner(home, caller)
        check_own(caller, row.partner or "")
        _check_enterprise(row.role)


def _check_enterprise(role: str) -> None:
    """Staff of another kind of organisation may have the same id as theirs, and is not an owner's to manage."""
    if role != Role.ENTERPRISE:
        what = f"owners manage staff of role {Role.ENTERPRISE.value}, not of role {role[:40]}"
        raise refuse("not-allowed", what, where="role", remedy="ask the operator")


def _forget(request: Request[Any, Any, Any]) -> None:
    recogniser: Recogniser = request.app.state.recogniser
    recogniser.forget()


handlers = [
    invite, list_, show, disable, invite_again, accept, sign_in, sign_out, new_codes, codes_on, codes_off
]  # fmt: skip
