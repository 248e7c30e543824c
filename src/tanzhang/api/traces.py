"""Spans of requests and steps for OpenTelemetry; none unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where they go.

Names and labels are those of routes and steps; nothing of a request's content or caller is in a span.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from tanzhang.core.errors import refuse

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_tracer: Any = None


def start_tracing() -> bool:
    """Whether spans are sent from now on: where the environment says to where. ``traces-driver-missing``."""
    if not os.environ.get(ENDPOINT_VARIABLE):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise refuse(
            "traces-driver-missing",
            f"sending traces needs a package that is missing: {error.name or error}",
            where=ENDPOINT_VARIABLE,
            remedy="pip install 'tanzhang[traces]', or take the variable away",
        ) from None
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: "tanzhang"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace_by(provider)
    return True


def trace_by(provider: Any) -> None:
    """Make spans by this provider from now on; None: no more."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer("tanzhang")


def request_span(method: str, traceparent: bytes | None) -> AbstractContextManager[Any]:
    """The span of a request, below the one that its ``traceparent`` names (W3C Trace Context)."""
    return nullcontext() if _tracer is None else _request_span(method, traceparent)


@contextmanager
def _request_span(method: str, traceparent: bytes | None) -> Iterator[Any]:
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if traceparent is None else {"traceparent": traceparent.decode("ascii", "replace")}
    above = TraceContextTextMapPropagator().extract(carrier)
    with _tracer.start_as_current_span(
        method, context=above, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:
        yield span


def end_request(span: Any, method: str, route: str, status: int) -> None:
    """What is known of a request at its end."""
    if span is None:
        return
    from opentelemetry.trace import StatusCode

    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def step_span(name: str) -> AbstractContextManager[Any]:
    """The span of a step of the work, below whatever is going on."""
    if _tracer is None:
        return nullcontext()
    span: AbstractContextManager[Any] = _tracer.start_as_current_span(name, record_exception=False)
    return span
