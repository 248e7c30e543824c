"""Errors as answers: problem+json (RFC 9457) with the stable code of what is wrong, its place and what to do."""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from tanzhang.api.logs import logger
from tanzhang.core.errors import Problem, TanzhangError

MEDIA_TYPE = "application/problem+json"
UNPROCESSABLE, INTERNAL = 422, 500
RETRY_AFTER_S = 2
"""After how many seconds what was refused may be tried again, where nobody can say it better."""

STATUS: Mapping[str, int] = {
    "key-unknown": 401,
    "key-expired": 401,
    "session-ended": 401,
    "not-signed-in": 401,
    "csrf-missing": 403,
    "not-allowed": 403,
    "scope-missing": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "unknown-partner": 404,
    "unknown-report": 404,
    "partner-suspended": 403,
    "signature-missing": 401,
    "signature-wrong": 401,
    "signature-replayed": 401,
    "sign-in-failed": 401,
    "code-missing": 401,
    "code-wrong": 403,
    "sign-in-locked": 429,
    "invitation-ended": 410,
    "staff-exists": 409,
    "webhook-disabled": 409,
    "too-many-webhooks": 409,
    "codes-in-use": 409,
    "certificate-missing": 403,
    "partner-exists": 409,
    "partner-changed": 412,
    "resource-changed": 412,
    "daily-limit-reached": 429,
    "unknown-upload": 404,
    "too-many-uploads": 429,
    "upload-busy": 409,
    "upload-finished": 409,
    "upload-incomplete": 409,
    "upload-not-taken-in": 409,
    "upload-offset": 409,
    "upload-too-long": 413,
    "verdicts-gone": 410,
    "group-code-unknown": 404,
    "already-member": 409,
    "group-full": 409,
    "too-many-groups": 409,
    "unknown-action": 404,
    "provider-unknown": 404,
    "partner-page-unknown": 404,
    "link-not-begun": 403,
    "identity-taken": 409,
    "last-identity": 409,
    "already-joined": 409,
    "joining-ended": 409,
    "token-used": 409,
    "consent-revoked": 409,
    "link-overlaps": 409,
    "sign-in-unknown": 403,
    "provider-refused": 403,
    "sign-in-not-fresh": 403,
    "locked-out": 429,
    "code-not-sent": 503,
    "provider-unreachable": 503,
    "unknown-account": 404,
    "account-erased": 410,
    "record-erased": 410,
    "limit-unknown": 400,
    "not-settled": 409,
    "book-moved": 409,
    "already-withdrawn": 409,
    "cursor-malformed": 400,
    "idempotency-answer-forgotten": 409,
    "idempotency-key-malformed": 400,
    "shutting-down": 503,
    "request-malformed": 400,
    "body-too-large": 413,
    "too-many-rows": 413,
    "media-type-unknown": 415,
    "too-many-requests": 429,
    "home-busy": 503,
    "overloaded": 503,
    "book-unusable": 503,
    "storage-unusable": 503,
    "file-system": 503,
    "tile-path-invalid": 404,
    "log-file-unknown": 404,
    "log-entry-unknown": 404,
    "epoch-unknown": 404,
    "batch-unknown": 404,
    "unknown-id": 404,
    "unknown-project": 404,
    "unknown-scheme": 404,
    "unknown-retirement": 404,
    "unknown-serial": 404,
    "opening-gone": 410,
    "scheme-closed": 409,
    "passing-taken-in": 409,
    "passing-of-another": 403,
    "unknown-verifier": 404,
    "package-missing": 404,
    "rows-not-in-order": 500,
    "finding-material": 409,
    "rejection-unfounded": 409,
    "sample-checkpoint": 409,
    "sample-drawn": 409,
    "sample-missing": 409,
    "sample-unfinished": 409,
    "lot-not-frozen": 409,
    "attestation-missing": 409,
    "registry-missing": 409,
    "registry-not-clear": 409,
    "two-people": 409,
    "verifier-suspended": 409,
    "project-closed": 409,
    "grams-short": 409,
    "points-short": 409,
    "units-short": 409,
    "not-issued": 404,
    "no-shortfall": 409,
    "unknown-label": 404,
    "label-overlap": 409,
    "tier-conflict": 409,
    "import-own": 409,
    "lot-too-small": 409,
    "lot-not-logged": 409,
    "unit-state": 409,
    "blocks-differ": 409,
    "block-outside": 409,
    "reservation-unknown": 404,
    "export-unknown": 404,
    "lot-issued": 409,
    "foreign-taken": 409,
    "reserve-kept": 403,
    "reference-taken": 409,
    "not-sealed": 409,
    "unknown-lot": 404,
    "lot-state": 409,
    "lot-short": 409,
    "not-in-lot": 404,
    "vintage-open": 409,
    "terms-changed": 409,
    "unknown-benefit": 404,
    "benefit-closed": 409,
    "benefit-limit": 409,
    "payback-least": 409,
    "nothing-to-pay": 409,
    "payout-conflict": 409,
    "payout-unknown": 409,
    "sale-unfunded": 409,
    "unknown-sale": 404,
    "benefit-needs": 409,
    "budget-spent": 409,
    "token-expired": 410,
    "certificate-unknown": 404,
    "certificate-revoked": 409,
    "too-many-certificates": 429,
    "issuer-missing": 503,
    "public-url-missing": 503,
    "fonts-missing": 503,
    "unknown-points-programme": 404,
    "no-market": 404,
    "market-not-in-force": 409,
    "notice-too-short": 409,
    "terms-unknown": 409,
    "offer-exists": 409,
    "offer-changed": 412,
    "unknown-offer": 404,
    "unknown-picture": 404,
    "unknown-order": 404,
    "offer-not-open": 409,
    "sold-out": 409,
    "limit-reached": 409,
    "order-not-cancellable": 409,
    "order-not-open": 409,
    "voucher-missing": 409,
    "voucher-unknown": 404,
    "voucher-redeemed": 409,
    "voucher-expired": 410,
    "voucher-cancelled": 410,
    "idempotency-key-missing": 400,
    "guard-case-unknown": 404,
    "guard-case-decided": 409,
    "unknown-party": 404,
    "party-exists": 409,
    "party-state": 409,
    "party-in-use": 409,
    "lot-not-entrusted": 409,
    "party-documents": 409,
    "party-not-approved": 409,
    "party-unnamed": 400,
    "unknown-deal": 404,
    "unknown-auction": 404,
    "unknown-bid": 404,
    "unknown-pledge": 404,
    "unknown-payment": 404,
    "deal-over": 409,
    "deal-unpaid": 409,
    "payment-used": 409,
    "payment-of-another": 409,
    "payment-conflict": 409,
    "money-short": 409,
    "auction-not-open": 409,
    "auction-not-over": 409,
    "auction-void": 409,
    "too-many-bids": 409,
    "bid-changed": 409,
    "internal-error": INTERNAL,
}
"""HTTP status of a code; 422 for every other one: the request was understood and what it says cannot be done."""

_OF_STATUS = {
    400: ("request-malformed", "correct the request; the OpenAPI document says what it may hold"),
    401: ("not-signed-in", "send a key as 'Authorization: Bearer tz_...', or sign in"),
    403: ("not-allowed", "ask the operator"),
    404: ("not-found", "look at the paths of the OpenAPI document at /openapi.json"),
    405: ("method-not-allowed", "use a method that header Allow names"),
    413: ("body-too-large", "send less at once, or use an upload"),
    415: ("media-type-unknown", "use a content type that the OpenAPI document names"),
}
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""What the operating system says of a disk that is full or failing, as against a bug of ours."""
_log = logger("tanzhang.api")


def status_of(code: str) -> int:
    """The HTTP status of an error's code."""
    return STATUS.get(code, UNPROCESSABLE)


def problem_response(
    error: TanzhangError, headers: Mapping[str, str] | None = None, *, status: int | None = None
) -> Response[bytes]:
    """The answer to a request that was refused; ``status`` if it is another one than that of the first code."""
    status = status or status_of(error.code)
    sent = {"content-type": MEDIA_TYPE, "cache-control": "no-store", **(headers or {})}
    if status in (429, 503):
        again_in_s = RETRY_AFTER_S if error.again_in_s is None else max(1, math.ceil(error.again_in_s))
        sent.setdefault("Retry-After", str(again_in_s))
    if status == 401:
        sent["www-authenticate"] = 'Bearer realm="tanzhang"'
    return Response(msgspec.json.encode(as_problem(error, status)), status_code=status, headers=sent)


def as_problem(error: TanzhangError, status: int | None = None) -> dict[str, Any]:
    """A refusal as the members of problem+json; ``errors`` has every problem, ``pointer`` where it is in the body."""
    first = error.problems[0]
    return {
        "type": f"urn:tanzhang:problem:{first.code}",
        "title": first.code.replace("-", " "),
        "status": status or status_of(first.code),
        "detail": first.message,
        "code": first.code,
        "remedy": first.remedy,
        "errors": [_member(problem) for problem in error.problems],
    }


def _member(problem: Problem) -> dict[str, str]:
    named = {"code": problem.code, "detail": problem.message, "where": problem.where, "remedy": problem.remedy}
    return {**named, "pointer": problem.where} if problem.where.startswith("#") else named


def on_refusal(_: Request[Any, Any, Any], error: TanzhangError) -> Response[bytes]:
    """Answer what the service refused."""
    return problem_response(error)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refused, in the same shape."""
    if error.status_code >= INTERNAL:
        return on_anything(request, error)
    code, remedy = _OF_STATUS.get(error.status_code, _OF_STATUS[400])
    problems = [Problem(code, str(error.detail or code.replace("-", " ")), request.url.path, remedy)]
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        named = [each for each in error.extra if isinstance(each, dict) and each.get("message")]
        problems = [Problem(code, str(each["message"]), _place(each), remedy) for each in named] or problems
    return problem_response(TanzhangError(problems), error.headers)


def _place(found: Mapping[str, Any]) -> str:
    """Where in a request a value was not as the document says: a pointer into the body, or the parameter's name."""
    name, source = str(found.get("key", "")), str(getattr(found.get("source"), "value", found.get("source", "")))
    if source in ("query", "header", "cookie", "path"):
        return f"{source}: {name}"
    return f"#/{name.replace('.', '/')}" if name else "#"


def on_anything(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a bug, or a disk that is full, without telling a stranger about the inside; the log has it all."""
    _log.error("request failed", method=request.method, route=request.scope.get("path_template"), exc_info=error)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        remedy = "wait as long as header Retry-After says and send it again"
        problem = Problem("file-system", "nothing can be written at the moment", request.url.path, remedy)
    else:
        remedy = "try again; then report it"
        problem = Problem("internal-error", "something went wrong inside", request.url.path, remedy)
    return problem_response(TanzhangError(problem))
