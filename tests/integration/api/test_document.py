"""The OpenAPI document tells the truth: every example in it is sent, and answered with the status it states."""

from __future__ import annotations

import json
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient

from tanzhang.stores.home import Home

from .conftest import partner

REPORTED = {"withdraw": "trip-20250605-0042", "correct": "trip-20250605-0045"}
"""What earlier examples of the document report, and later ones take back and correct."""


def examples(document: dict[str, Any]) -> list[tuple[str, str, str, str, Any, int]]:
    """Method, path, name, media type, body and status of every example of a body."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for kind, media in operation.get("requestBody", {}).get("content", {}).items():
                for name, example in media.get("examples", {}).items():
                    statuses = [
                        int(status)
                        for status, response in operation["responses"].items()
                        if any(name in each.get("examples", {}) for each in response.get("content", {}).values())
                    ]
                    if "reports" in operation["tags"]:
                        assert len(statuses) == 1, (path, name)
                        found.append((method, path, name, kind, example["value"], statuses[0]))
    return found


def test_every_example_of_a_report_is_answered_as_the_document_says(client: TestClient[Litestar], home: Home) -> None:
    sent = examples(client.get("/openapi.json").json())
    assert {path for _, path, *_ in sent} >= {"/v1/actions", "/v1/actions:batch"}
    for method, path, name, kind, value, status in sent:
        content = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        headers = {"content-type": kind, **partner(home, "amap")}
        path = path.replace("{reference}", REPORTED["correct" if path.endswith("correct") else "withdraw"])
        answer = client.request(method, path, content=content, headers=headers)
        assert answer.status_code == status, (path, name, answer.text)
