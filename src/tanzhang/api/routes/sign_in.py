"""Signing in as a person: the ways there are, OpenID Connect, codes by phone."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import COOKIE, allow
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.proxies import client_address
from tanzhang.core.access import Caller, Role
from tanzhang.core.errors import refuse
from tanzhang.service.access import SESSION_LASTS, csrf_token, open_session
from tanzhang.service.sign_in import SIGN_IN_LASTS, begin_oidc, check_code, finish_oidc, send_code, ways
from tanzhang.stores.home import Home

BEGUN_COOKIE = "__Host-tanzhang-sign-in"
_ANYBODY = allow(Role.STRANGER, Role.PERSON)
_FOUND = 302
AnyRequest = Request[Any, Any, Any]
Text = Annotated[str, QueryParameter(max_length=4096)]


class PhoneAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Whose number a code is to be sent to, e.g. ``{"phone": "13800138000"}``."""

    phone: Annotated[str, msgspec.Meta(max_length=40, examples=["13800138000", "+86 138 0013 8000"])]


class CodeGiven(PhoneAsked, forbid_unknown_fields=True):
    """A number and the code that came to it, e.g. ``{"phone": "13800138000", "code": "042137"}``."""

    code: Annotated[str, msgspec.Meta(pattern="^[0-9]{6}$", examples=["042137"])]


@get("/v1/sign-in", opt=_ANYBODY, sync_to_thread=True, tags=["sign-in"])
def sign_in_ways(home: TheHome) -> dict[str, Any]:
    """The ways to sign in: providers by name, and whether codes are sent to phones."""
    return ways(home)


@get("/v1/sign-in/oidc/{name:str}", opt=_ANYBODY, sync_to_thread=True, tags=["sign-in"], status_code=_FOUND)
def begin(home: TheHome, now: Now, request: AnyRequest, name: FromPath[str], return_to: Text = "/") -> Response[None]:
    """Send the browser to a provider; it comes back to the callback, and then goes on to path ``return_to``."""
    url, kept = begin_oidc(home, name, client_address(request), return_to=return_to, now=now)
    answer = sent_to(url)
    answer.set_cookie(_cookie(BEGUN_COOKIE, kept, int(SIGN_IN_LASTS.total_seconds())))
    return answer


@get("/v1/sign-in/oidc/{name:str}/callback", opt=_ANYBODY, sync_to_thread=True, tags=["sign-in"], status_code=_FOUND)
def come_back(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    request: AnyRequest,
    name: FromPath[str],
    code: Text = "",
    oidc_state: Annotated[str, QueryParameter(name="state", max_length=4096)] = "",
) -> Response[None]:
    """Where a provider sends the browser back to. Whoever was signed in already has one identity more."""
    kept = request.cookies.get(BEGUN_COOKIE, "")
    account, return_to = finish_oidc(
        home, name, state=oidc_state, code=code, kept=kept, account=_signed_in(caller), now=now
    )
    answer = sent_to(return_to)
    answer.set_cookie(_cookie(BEGUN_COOKIE, "", 0))
    if _signed_in(caller) is None:
        _open(answer, home, account, request, now)
    return answer


@post("/v1/sign-in/phone", opt=_ANYBODY, sync_to_thread=True, tags=["sign-in"], status_code=202)
def phone(home: TheHome, now: Now, request: AnyRequest, data: JSONBody[PhoneAsked]) -> dict[str, Any]:
    """Have a code of six digits sent to a phone."""
    _check_json(request)
    return send_code(home, data.phone, client_address(request), now=now)


@post("/v1/sign-in/phone/verify", opt=_ANYBODY, sync_to_thread=True, tags=["sign-in"], status_code=200)
def verify_phone(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[CodeGiven]
) -> Response[dict[str, Any]]:
    """Sign in with the code that came to a phone; ``csrf`` is what changes have to carry as ``X-CSRF-Token``."""
    _check_json(request)
    account = check_code(home, data.phone, data.code, client_address(request), account=_signed_in(caller), now=now)
    answer: Response[dict[str, Any]] = Response({"account": account, "csrf": None})
    if _signed_in(caller) is None:
        token = _open(answer, home, account, request, now)
        answer.content["csrf"] = csrf_token(token)
    return answer


def _open(answer: Response[Any], home: Home, account: str, request: AnyRequest, now: Any) -> str:
    token = open_session(home, Role.PERSON, account, agent=request.headers.get("User-Agent"), now=now)
    answer.set_cookie(_cookie(COOKIE, token, int(SESSION_LASTS.total_seconds())))
    return token


def _signed_in(caller: Caller) -> str | None:
    return caller.subject if caller.role is Role.PERSON else None


def _cookie(name: str, value: str, lasts_s: int) -> Cookie:
    return Cookie(key=name, value=value, path="/", max_age=lasts_s, secure=True, httponly=True, samesite="lax")


def sent_to(url: str) -> Response[None]:
    """Send a browser elsewhere."""
    return Response(None, status_code=_FOUND, headers={"location": url, "cache-control": "no-store"})


def _check_json(request: AnyRequest) -> None:
    """Refuse what a form of another site can send, since strangers have no token that shows whose page it is."""
    if request.content_type[0] != "application/json":
        raise refuse(
            "media-type-unknown",
            f"this takes JSON, not {request.content_type[0] or 'nothing named'}",
            where="header: Content-Type",
            remedy="send Content-Type: application/json",
        )


handlers = [sign_in_ways, begin, come_back, phone, verify_phone]
