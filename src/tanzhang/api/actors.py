"""Who does something over HTTP, as it is written down, and whether a thing is the caller's own."""

from __future__ import annotations

from typing import Any

from litestar import Request

from tanzhang.api.proxies import client_address
from tanzhang.core.access import Actor, Caller, Role
from tanzhang.core.errors import refuse
from tanzhang.service.staff import OWNER
from tanzhang.stores.home import Home

OF_A_PARTNER = (Role.PARTNER, Role.ENTERPRISE)


def actor_of(request: Request[Any, Any, Any], caller: Caller) -> Actor:
    """The caller with the address the request came from."""
    return Actor(caller.role, caller.subject, client_address(request))


def check_own(caller: Caller, partner: str) -> None:
    """Refuse a partner, its program or its staff, what is another's; ``not-allowed``."""
    if caller.role in OF_A_PARTNER and caller.partner != partner:
        raise refuse(
            "not-allowed",
            f"this is for {partner} alone",
            where="partner",
            remedy=f"ask for {caller.partner}",
        )


def partner_meant(caller: Caller, named: str | None) -> str:
    """The partner a request is about: the caller's own, or the one that the operator names."""
    if caller.role in OF_A_PARTNER and caller.partner is not None:
        check_own(caller, named or caller.partner)
        return caller.partner
    if named is None:
        raise refuse(
            "partner-unnamed", "no partner is named", where="query: partner", remedy="add ?partner= and its id"
        )
    return named


def check_own_party(caller: Caller, party: str) -> None:
    """Refuse staff of a party what is another party's; ``not-allowed``."""
    if caller.role is Role.BUYER and caller.partner != party:
        remedy = f"ask for {caller.partner}"
        raise refuse("not-allowed", f"this is for {party[:80]} alone", where="party", remedy=remedy)


def own_party(caller: Caller) -> str | None:
    """The party of a caller who is staff of one, None of every other role; ``not-allowed`` for staff of none."""
    if caller.role is not Role.BUYER:
        return None
    if caller.partner is None:
        raise refuse(
            "not-allowed", "you are staff of no party", where="party", remedy="ask the operator for an account"
        )
    return caller.partner


def party_meant(caller: Caller, named: str | None) -> str:
    """The party that a request acts for: the caller's own, or the one that the operator names."""
    own = own_party(caller)
    if own is not None:
        check_own_party(caller, named or own)
        return own
    if named is None:
        raise refuse("party-unnamed", "no party is named", where="#/party", remedy="say for which party it is")
    return named


def check_owner(home: Home, caller: Caller) -> None:
    """Refuse staff of an enterprise who only read; ``not-allowed``. Others are not looked at."""
    if caller.role is not Role.ENTERPRISE:
        return
    row = home.staff.row(caller.subject)
    if row is None or row.position != OWNER:
        raise refuse("not-allowed", "this is for owners", where="position", remedy="ask an owner of your enterprise")


def check_managing(home: Home, caller: Caller, partner: str) -> None:
    """Refuse whoever may not manage what belongs to a partner: neither the operator nor one of its owners."""
    check_own(caller, partner)
    check_owner(home, caller)
