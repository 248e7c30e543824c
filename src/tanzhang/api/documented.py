"""What the OpenAPI document says of bodies that handlers read themselves, with examples that the tests send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

from tanzhang.api.problems import MEDIA_TYPE
from tanzhang.core.action import EVIDENCE, INPUT_UNITS
from tanzhang.stores.bodies import BATCH_TYPES

TEXT = Schema(type=OpenAPIType.STRING)


class ProblemMember(msgspec.Struct):
    """One mistake. ``pointer`` is its place in the body, where it has one."""

    code: str
    detail: str
    where: str
    remedy: str
    pointer: str | msgspec.UnsetType = msgspec.UNSET


class ProblemDetails(msgspec.Struct):
    """Why a request was refused (RFC 9457): ``code`` is stable, ``errors`` has every mistake."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str
    errors: list[ProblemMember]


_MEANING = {
    400: "The request is not of its form",
    404: "There is no such thing of yours",
    409: "It is not in a state for this",
    413: "Too much at once",
    415: "A content type that is not taken here",
    422: "Refused, with every mistake",
    429: "Too much of yours is waiting; come again after Retry-After seconds",
    503: "Too much is waiting, or this process is ending; come again after Retry-After seconds",
}


def refused(*statuses: int) -> dict[int, ResponseSpec]:
    """How a request may be refused."""
    return {
        status: ResponseSpec(
            ProblemDetails, description=_MEANING[status], media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in statuses
    }


def answered(status: int, kind: Any, description: str) -> dict[int, ResponseSpec]:
    """What a request is answered with."""
    return {status: ResponseSpec(kind, description=description, generate_examples=False)}


def operation_with(
    content: Mapping[str, tuple[Schema, Mapping[str, tuple[Any, int]]]], *, required: bool = True
) -> type[Operation]:
    """An operation whose body is of one of some media types: its schema, and examples with the status of each.

    An example's status stands in the document as an example of that name at the response.
    """

    @dataclass  # Operation's own __init__ calls no __post_init__
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                content={
                    kind: OpenAPIMediaType(
                        schema=schema,
                        examples={name: Example(summary=name, value=value) for name, (value, _) in examples.items()},
                    )
                    for kind, (schema, examples) in content.items()
                },
                required=required,
            )
            for _, examples in content.values():
                for name, (_, status) in examples.items():
                    _mark(self, name, status)

    return Documented


def _mark(operation: Operation, name: str, status: int) -> None:
    response = (operation.responses or {}).get(str(status))
    if not isinstance(response, OpenAPIResponse) or not response.content:
        raise AssertionError(f"example {name} has status {status}, which is not described")
    for media in response.content.values():
        if isinstance(media, OpenAPIMediaType):
            media.examples = {**(media.examples or {}), name: Example(summary=f"the answer to {name}")}


def _event_schema() -> Schema:
    text = dict.fromkeys(("region", "variant", "group", "withdraws"), TEXT)
    inputs = {name: Schema(type=OpenAPIType.INTEGER, description=f"whole {unit}") for name, unit in INPUT_UNITS.items()}
    moment = Schema(type=OpenAPIType.STRING, format="date-time")  # type: ignore[arg-type]
    data = Schema(
        type=OpenAPIType.OBJECT,
        description="What the act was; which inputs it needs says the methodology of its behaviour.",
        properties={
            "started_at": moment,
            **text,
            "evidence": Schema(type=OpenAPIType.STRING, enum=list(EVIDENCE)),
            "claim": Schema(
                type=OpenAPIType.OBJECT,
                description="The issuer's identifier of the act: a ticket, an order, a box.",
                properties={"issuer": TEXT, "identifier": TEXT},
                required=["issuer", "identifier"],
                additional_properties=False,
            ),
            **inputs,
        },
        additional_properties=False,
    )
    return Schema(
        type=OpenAPIType.OBJECT,
        title="Event",
        description="One act as a CloudEvent 1.0. `id` is the partner's reference, `source` the partner, `type` the "
        "behaviour, `subject` the person at the partner, `time` when the act ended.",
        properties={
            "specversion": Schema(const="1.0"),
            **dict.fromkeys(("id", "source", "type", "subject"), TEXT),
            "time": moment,
            "data": data,
        },
        required=["specversion", "id", "type", "subject", "time"],
    )


EVENT = _event_schema()
EVENTS = Schema(type=OpenAPIType.ARRAY, items=EVENT)
LINES = Schema(type=OpenAPIType.STRING, description="One event a line.")
ROWS = Schema(
    type=OpenAPIType.STRING,
    description="A header and one act a line; columns: those of an event, of its data, claim_issuer, claim_identifier.",
)
WITHDRAWAL = Schema(
    type=OpenAPIType.OBJECT,
    title="Withdrawal",
    description="`subject` is that of the report; `id` is the withdrawal's own reference, that of the report and "
    "`~withdrawn` by default; `time` by default that of the act.",
    properties={"subject": TEXT, "id": TEXT, "time": Schema(type=OpenAPIType.STRING)},
    required=["subject"],
    additional_properties=False,
)
UPLOAD = Schema(
    type=OpenAPIType.OBJECT,
    title="Begun",
    description="A file that is to be uploaded; size and SHA-256 are those of the bytes that are sent.",
    properties={
        "name": TEXT,
        "size": Schema(type=OpenAPIType.INTEGER),
        "sha256": Schema(type=OpenAPIType.STRING, pattern="[0-9a-f]{64}"),
        "content_type": Schema(type=OpenAPIType.STRING, enum=list(BATCH_TYPES)),
        "content_encoding": Schema(type=OpenAPIType.STRING, enum=["gzip"]),
    },
    required=["name", "size", "sha256", "content_type"],
    additional_properties=False,
)
BINARY = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
