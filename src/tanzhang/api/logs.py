"""The log of a server's process: one JSON object a line on standard error, for whatever the machine keeps logs with.

Of an error its type and the places in the code are written, never its message: that may repeat what somebody sent. The
line of a refusal has its code. Lines of one request share its ``request_id``.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from tanzhang.core.errors import TanzhangError

_DEEPEST = 30


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose lines go where those of the standard library's of this name go: nowhere, until that is said."""
    made: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name), wrapper_class=structlog.stdlib.BoundLogger
    )
    return made


def start_logging(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Write every logger's lines as JSON, those of libraries from warnings on; ``stream`` is standard error."""
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(json_formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("tanzhang").setLevel(level)


SERVER_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": f"{__name__}.json_formatter"}},
    "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "loggers": {"_granian": {"handlers": ["json"], "level": "INFO", "propagate": False}},
}
"""What the server itself says, such as that a process was started, in the same form."""


def json_formatter() -> logging.Formatter:
    """Makes lines of JSON of the records of any logger."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        without_messages,
    ]


def without_messages(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its type and places; of a refusal the codes."""
    found = event.pop("exc_info", None)
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = f"{type(error).__module__}.{type(error).__qualname__}"
        if isinstance(error, TanzhangError):
            event["codes"] = [problem.code for problem in error.problems]
        places = traceback.extract_tb(error.__traceback__)[-_DEEPEST:]
        event["at"] = [f"{each.filename}:{each.lineno} {each.name}" for each in places]
    return event
