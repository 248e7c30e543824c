"""The OpenAPI document says what the service does: it is tried with requests made from it, by every kind of caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from litestar import get
from litestar.params import FromPath
from litestar.testing import TestClient
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from tanzhang.api.access import COOKIE, CSRF_HEADER, EVERYBODY, allowed_by, routes_of
from tanzhang.api.app import create_app as create_api
from tanzhang.api.routes.uploads import PIECE_TYPE
from tanzhang.core.access import Actor, Role, Scope
from tanzhang.service.access import csrf_token, issue_key, open_session
from tanzhang.service.certificates import issue_statement, make_key
from tanzhang.service.epoch import close
from tanzhang.service.intake import intake
from tanzhang.service.reading import Reader
from tanzhang.stores.bodies import PARQUET_TYPE
from tanzhang.stores.home import Home
from tanzhang.web.app import create_app

from ...homes import account, box, market_home, on, settle_on, write
from .people import set_up

NOW = on(12)
EACH = 8  # requests for each operation and caller
CALLERS = (Role.STRANGER, Role.OPERATOR, Role.PARTNER)
load_all_checks()


@schemathesis.serializer(PIECE_TYPE, PARQUET_TYPE)
def _as_they_are(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Bytes of files are sent as they were generated."""
    return value if isinstance(value, bytes) else str(value).encode()


_NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
CHECKED = CHECKS.get_by_names([*_NAMES, "response_headers_conformance"])


@pytest.fixture(scope="module")
def home(in_memory: Path) -> Home:
    """A home with something in it."""
    home = market_home(in_memory / "described")
    intake(home, write(in_memory / "one.ndjson", [box(f"b{n}", f"p{n}") for n in range(12)]), now=on(6))
    settle_on(home, 8)
    close(home, now=on(8))
    set_up(home)
    make_key(home, actor=Actor(Role.OPERATOR, "a test", "command line"), now=on(8))
    issue_statement(Reader(home), account(home, "cainiao", "p0"), date(2025, 6, 1), now=on(8))
    return home


@pytest.fixture(scope="module")
def client(home: Home) -> Iterator[TestClient[Any]]:
    with TestClient(create_app(home, now=lambda: NOW), base_url="https://tanzhang.example") as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient[Any]) -> dict[str, Any]:
    said: dict[str, Any] = client.get("/openapi.json").json()
    return said


def headers_of(home: Home, role: Role) -> dict[str, str]:
    if role is Role.STRANGER:
        return {}
    if role is Role.PARTNER:
        return {"authorization": f"Bearer {issue_key(home, 'cainiao', Scope, now=NOW)['key']}"}
    token = open_session(home, role, "somebody", now=NOW)
    return {"cookie": f"{COOKIE}={token}", CSRF_HEADER: csrf_token(token)}


def test_every_operation_says_whom_it_is_for_and_how_it_refuses(
    client: TestClient[Any], document: dict[str, Any]
) -> None:
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len(operations) >= 12
    for each in operations:
        assert each["x-roles"], each["operationId"]
        assert each.get("summary") or each.get("description"), each["operationId"]
        assert set(each["responses"]) >= {"default"}, each["operationId"]
        refused = [answer for code, answer in each["responses"].items() if code.startswith("4")]
        assert all({*answer["content"]} == {"application/problem+json"} for answer in refused), each["operationId"]
        assert ("stranger" in each["x-roles"]) != bool(each.get("security")), each["operationId"]
    shown = {handler.operation_id for _, handler in routes_of(client.app) if handler.include_in_schema is not False}
    assert all(allowed_by(handler)[0] for _, handler in routes_of(client.app))
    assert shown


def ask_everything(app: Any, headers: dict[str, str], generated: GenerationMode) -> Counter[int]:
    """Send requests made from the document and check each answer; returns how many had which status."""
    statuses: Counter[int] = Counter()
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()

        @settings(max_examples=EACH, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @seed(20250612)
        @given(operation.as_strategy(generated))
        def ask(case: Case) -> None:
            statuses[case.call_and_validate(headers=headers, checks=CHECKED).status_code] += 1

        with suppress(Unsatisfiable):  # an operation without parameters can be asked for in one way alone
            ask()
    return statuses


@pytest.mark.parametrize("generated", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("role", CALLERS)
def test_no_request_that_the_document_allows_or_forbids_finds_a_bug(
    home: Home, client: TestClient[Any], role: Role, generated: GenerationMode
) -> None:
    """Asked of each answer: no error of the server, and a status, type, headers and body that the document names."""
    statuses = ask_everything(client.app, headers_of(home, role), generated)
    assert statuses.total() > 40
    assert statuses[200] > 10 or generated is GenerationMode.NEGATIVE
    assert any(400 <= status < 500 for status in statuses)


@get("/failing/{number:int}", opt=EVERYBODY, sync_to_thread=False)
def failing(number: FromPath[int]) -> int:
    return 1 // (number % 2)


def test_a_bug_would_be_found(home: Home) -> None:
    with pytest.raises(FailureGroup, match="Server error"):
        ask_everything(create_api(home, also=[failing]), {}, GenerationMode.POSITIVE)
