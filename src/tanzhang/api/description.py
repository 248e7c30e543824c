"""The OpenAPI document: what the framework says of the routes, and what holds of all of them.

Every refusal is problem+json of one shape, so one response stands for all of an operation's. Who may use it stands
beside it as ``x-roles``, and what a partner's key needs as ``x-scope``.
"""

from __future__ import annotations

from typing import Any

from litestar import Litestar

from tanzhang.api.access import COOKIE, CSRF_HEADER, allowed_by, routes_of
from tanzhang.api.problems import MEDIA_TYPE
from tanzhang.core.access import Role

_TEXT = {"type": "string"}
PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "A refusal (RFC 9457). `code` is stable and listed in docs/reference/codes.md.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "remedy", "errors"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:tanzhang:problem:not-found"]},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": {"type": "string", "examples": ["not-found"]},
        "remedy": _TEXT,
        "errors": {
            "type": "array",
            "description": "Every problem that was found; `pointer` where it is in the body.",
            "items": {
                "type": "object",
                "required": ["code", "detail", "where", "remedy"],
                "properties": dict.fromkeys(("code", "detail", "where", "remedy", "pointer"), _TEXT),
            },
        },
    },
}
_REFUSED = {
    "description": "The request was refused; `code` says why.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A partner's key, `tz_...`."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"A signed-in person or member of staff; changes need header `{CSRF_HEADER}` too.",
    },
}


def described(app: Litestar) -> dict[str, Any]:
    """The document of an application, made once. Operations keep their own successful responses."""
    found: dict[str, Any] | None = getattr(app.state, "described", None)
    if found is None:
        found = app.openapi_schema.to_schema()
        _describe(found, app)
        app.state.described = found
    return found


ALSO_ANSWERS = "also_answers"
"""Key of a route's ``opt``: media types that it answers in beside the one of its handler."""


def _describe(document: dict[str, Any], app: Litestar) -> None:
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    components["securitySchemes"] = _SCHEMES
    operations = {
        each["operationId"]: each
        for methods in document.get("paths", {}).values()
        for each in methods.values()
        if isinstance(each, dict) and "operationId" in each
    }
    for operation in operations.values():
        responses = operation["responses"]
        own = {code: each for code, each in responses.items() if code < "400" or MEDIA_TYPE in each.get("content", {})}
        operation["responses"] = own | {"default": _REFUSED}
    for path, handler in routes_of(app):
        roles, scope = allowed_by(handler)
        for method in handler.http_methods:
            operation = document["paths"].get(_spelled(path), {}).get(method.lower())
            if operation is None:
                continue
            operation["x-roles"] = sorted(roles)
            for kind in handler.opt.get(ALSO_ANSWERS, ()):
                operation["responses"]["200"]["content"][kind] = {"schema": {"type": "string"}}
            if scope is not None:
                operation["x-scope"] = scope.value
            if Role.STRANGER not in roles:
                ways = {"key": Role.PARTNER in roles, "session": roles != {Role.PARTNER}}
                operation["security"] = [{name: []} for name, is_one in ways.items() if is_one]


def _spelled(path: str) -> str:
    """A route's path as the document has it: without the types of its parameters."""
    parts = [
        f"{each.partition(':')[0]}}}" if each.startswith("{") and ":" in each else each for each in path.split("/")
    ]
    return "/".join(parts)
