"""Links between platform accounts and persons, and what else a person agrees to."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from tanzhang.api.access import COOKIE, allow
from tanzhang.api.conditional import check_if_match, private_json
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.routes.me import OWN, AnyRequest
from tanzhang.api.routes.sign_in import Text, sent_to
from tanzhang.core.access import Role, Scope
from tanzhang.service.consents import (
    begin_link,
    consent_of,
    consents,
    finish_link,
    link_by_token,
    link_token_state,
    links,
    merge_by_token,
    new_link_token,
    new_merge_token,
    revoke,
    show_name,
    split,
    unlink,
)
from tanzhang.service.privacy import check_fresh

_LINKING = allow(Role.PARTNER, scope=Scope.LINK)
_TAGS = ["links and consents"]
_NO_STORE = {"cache-control": "no-store"}
Token = Annotated[str, msgspec.Meta(min_length=20, max_length=100, description="As it was shown, once.")]


class LinkTokenAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Which of its users a partner makes a token for, by the name it reports them under: ``{"subject": "u-81"}``."""

    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=256, examples=["u-81"])]


class LinkAsked(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from"}):
    """A person agrees to link the platform account of a token: ``{"token": "..."}``.

    ``from`` is the first day of acts, by default the first whose window may still be open. With ``carry`` false what
    the platform account holds stays in it.
    """

    token: Token
    since: date | None = None
    carry: bool = True


class MergeAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the account that is to become part of this one: ``{"token": "..."}``."""

    token: Token


class NameAgreed(msgspec.Struct, forbid_unknown_fields=True):
    """Agree to be shown under a name: ``{"scope": "display_name", "name": "Panda"}``."""

    scope: Literal["display_name"]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["Panda"])]


@post("/v1/link-tokens", opt=_LINKING, sync_to_thread=True, tags=_TAGS)
def make_link_token(
    home: TheHome, now: Now, caller: TheCaller, data: JSONBody[LinkTokenAsked]
) -> Response[dict[str, Any]]:
    """A token for one user of the partner, to be shown to that user alone: as text, as a link, as a QR code.

    It works once, for some minutes. Whoever signs in and shows it links the partner's account to their own.
    """
    made = new_link_token(home, str(caller.partner), data.subject, now=now)
    return Response(made, status_code=201, headers=_NO_STORE)


@get("/v1/link-tokens/{name:str}", opt=_LINKING, sync_to_thread=True, tags=_TAGS)
def see_link_token(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str]
) -> Response[Any]:
    """What became of a token: open, expired, linked, ended; ``person`` is a pseudonym for this partner alone."""
    return private_json(request, link_token_state(home, str(caller.partner), name, now=now))


@get("/v1/me/links", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_links(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """Linked platform accounts and merged accounts, those of before too, the latest first."""
    return private_json(request, {"items": links(home, caller.subject), "next": None})


@post("/v1/me/links", opt=OWN, sync_to_thread=True, tags=_TAGS)
def link(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[LinkAsked]) -> dict[str, Any]:
    """Link the platform account of a token, with consent from a day on.

    Its acts from that day on that are not settled are decided together with all others of the person; what it holds
    moves to the person's account.
    """
    return link_by_token(home, caller.subject, data.token, since=data.since, carry=data.carry, now=now)


@get("/v1/me/links/with/{partner:str}", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=302)
def go_to_partner(
    home: TheHome, now: Now, caller: TheCaller, partner: FromPath[str], return_to: Text = "/"
) -> Response[None]:
    """Send the browser to a partner, to link an account there; it comes back to /v1/me/links/return."""
    return sent_to(begin_link(home, caller.subject, partner, return_to=return_to, now=now))


@get("/v1/me/links/return", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=302)
def come_back_from_partner(
    home: TheHome,
    now: Now,
    caller: TheCaller,
    token: Text = "",
    asked: Annotated[str, QueryParameter(name="state", max_length=4096)] = "",
) -> Response[None]:
    """Where a partner sends the browser back to, with ``state`` as it got it and a link token that it made."""
    return sent_to(finish_link(home, caller.subject, state=asked, token=token, now=now))


@delete("/v1/me/links/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def end_link(home: TheHome, now: Now, caller: TheCaller, name: FromPath[str]) -> dict[str, Any]:
    """End a link from today on; what the platform account brought goes back to it, acts of between stay."""
    return unlink(home, caller.subject, name, now=now)


@post("/v1/me/merge-tokens", opt=OWN, sync_to_thread=True, tags=_TAGS)
def make_merge_token(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest) -> Response[dict[str, Any]]:
    """A token by which this account becomes part of another of the same person; needs a fresh sign-in."""
    check_fresh(home, request.cookies.get(COOKIE), now=now)
    return Response(new_merge_token(home, caller.subject, now=now), status_code=201, headers=_NO_STORE)


@post("/v1/me/merges", opt=OWN, sync_to_thread=True, tags=_TAGS)
def merge(
    home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, data: JSONBody[MergeAsked]
) -> dict[str, Any]:
    """Make the account of a token part of this one, with its platforms, identities and all it holds."""
    made = merge_by_token(home, caller.subject, data.token, now=now)
    request.app.state.recogniser.forget()
    return made


@delete("/v1/me/merges/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def end_merge(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> dict[str, Any]:
    """Split what was merged: the other account has again its platforms, its identities and what it brought."""
    check_fresh(home, request.cookies.get(COOKIE), now=now)
    return split(home, caller.subject, name, now=now)


@get("/v1/me/consents", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_consents(home: TheHome, caller: TheCaller, request: AnyRequest) -> Response[Any]:
    """What was agreed to: scope, purpose, from, until, when it was given and taken back."""
    return private_json(request, {"items": consents(home, caller.subject), "next": None})


@get("/v1/me/consents/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS)
def my_consent(home: TheHome, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> Response[Any]:
    """One consent, given or taken back."""
    return private_json(request, consent_of(home, caller.subject, name))


@post("/v1/me/consents", opt=OWN, sync_to_thread=True, tags=_TAGS)
def agree(home: TheHome, now: Now, caller: TheCaller, data: JSONBody[NameAgreed]) -> dict[str, Any]:
    """Agree to something. To link a platform account, POST /v1/me/links."""
    return show_name(home, caller.subject, data.name, now=now)


@delete("/v1/me/consents/{name:str}", opt=OWN, sync_to_thread=True, tags=_TAGS, status_code=200)
def take_back(home: TheHome, now: Now, caller: TheCaller, request: AnyRequest, name: FromPath[str]) -> dict[str, Any]:
    """Take a consent back, as easily as it was given (PIPL, article 15); what rests on it ends."""
    check_if_match(request, lambda: consent_of(home, caller.subject, name))
    return revoke(home, caller.subject, name, now=now)


handlers = [
    make_link_token,
    see_link_token,
    my_links,
    link,
    go_to_partner,
    come_back_from_partner,
    end_link,
    make_merge_token,
    merge,
    end_merge,
    my_consents,
    my_consent,
    agree,
    take_back,
]
