"""Between handlers, which are tasks of an event loop, and reception and teller, which are threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import anyio.to_thread
from litestar import Litestar, Request

from tanzhang.core.errors import refuse
from tanzhang.service.receive import LONGEST_KEY, Answer
from tanzhang.service.receive import Request as Reports
from tanzhang.service.reception import Reception
from tanzhang.stores.bodies import unpacked

P = ParamSpec("P")
T = TypeVar("T")

MAX_BODY_BYTES = 64 << 20
"""Of one request, packed or not."""
KEY_HEADER, REPLAYED_HEADER = "Idempotency-Key", "Idempotency-Replayed"
_INLINE_BYTES = 1 << 18  # what takes a millisecond to read is read at once, the rest in a thread


class Outbox:
    """Answers on their way from a thread to the tasks that wait for them; the loop is woken once for many."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._answers: list[tuple[asyncio.Future[Any], Any]] = []

    def put(self, future: asyncio.Future[T], answer: T) -> None:
        """Hand an answer over, from any thread."""
        with self._lock:
            self._answers.append((future, answer))
            first = len(self._answers) == 1
        if first:
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        for future, answer in answers:
            if not future.done():  # whoever waited may have gone
                future.set_result(answer)


async def taken_in(
    request: Request[Any, Any, Any],
    partner: str,
    read: Callable[[bytes], Reports],
    *,
    dry_run: bool,
    slow: bool = False,
) -> Answer:
    """The answer to a partner's request, once what it brought is durable; ``read`` makes reports of its body.

    It is ``slow`` if it asks the book. Raises why the request was refused as a whole.
    """
    reception: Reception = request.app.state.reception
    size = request.content_length
    announced = MAX_BODY_BYTES if size is None else min(max(size, 0), MAX_BODY_BYTES)
    with reception.room(partner, announced, dry_run=dry_run) as room:
        data = await request.body()
        encoding = request.headers.get("Content-Encoding")
        if slow or encoding or len(data) > _INLINE_BYTES:
            reports = await anyio.to_thread.run_sync(lambda: read(unpacked(data, encoding, MAX_BODY_BYTES)))
        else:
            reports = read(data)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        reception.submit(reports, room, partial(outbox_of(request.app).put, future))
        answer = await future
    if answer.error is not None:
        raise answer.error
    return answer


def outbox_of(app: Litestar) -> Outbox:
    """The outbox of the loop that serves an application."""
    if app.state.get("outbox") is None:
        app.state.outbox = Outbox()
    outbox: Outbox = app.state.outbox
    return outbox


def in_thread(handler: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A handler that runs in a thread.

    Litestar's own ``sync_to_thread`` wraps a handler again for each other handler that its path has, and then answers
    with a coroutine (2.25).
    """

    @wraps(handler)
    async def threaded(*arguments: P.args, **named: P.kwargs) -> T:
        return await anyio.to_thread.run_sync(partial(handler, *arguments, **named))

    return threaded


def given_key(header: str | None) -> str | None:
    """The key in header Idempotency-Key, with or without the quotes of the draft; ``idempotency-key-malformed``."""
    if header is None:
        return None
    key = header.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise refuse(
            "idempotency-key-malformed",
            f"an Idempotency-Key is 1 to {LONGEST_KEY} printable ASCII characters",
            where=f"header: {KEY_HEADER}",
            remedy="send a new UUID for each new request",
        )
    return key


def media_type(request: Request[Any, Any, Any]) -> str:
    """The content type of a body without its parameters."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
