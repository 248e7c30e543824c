"""A load generator of its own process: makes its requests, says ``ready``, sends them when it is told to, and reports.

A job is one line of JSON on standard input. Nothing but the standard library is loaded, so that it starts quickly.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

ENDED = datetime(2025, 6, 5, 0, 30, tzinfo=UTC)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    requests = [request(job, number) for number in range(job["requests"])]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asyncio.run(send_all(job, requests))), flush=True)


def request(job: dict[str, Any], number: int) -> bytes:
    """The bytes of one request: metro rides, all references new."""
    first = number * job["rows"]
    body = b"\n".join(event(job["name"], first + place) for place in range(job["rows"]))
    kind = "application/x-ndjson" if job["path"].endswith(":batch") else "application/json"
    head = (
        f"POST {job['path']} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {job['key']}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def event(name: str, number: int) -> bytes:
    ended = ENDED + timedelta(seconds=number % 40_000)
    found = {
        "specversion": "1.0",
        "id": f"{name}-{number}",
        "source": "amap",
        "type": "travel.metro",
        "subject": f"s{number % 997}",
        "time": ended.isoformat(),
        "data": {"distance_m": 10_000, "started_at": (ended - timedelta(minutes=30)).isoformat()},
    }
    return json.dumps(found).encode()


async def send_all(job: dict[str, Any], requests: list[bytes]) -> dict[str, Any]:
    """Send all, each connection the next one once its last is answered; with a rate, each at its moment.

    Times count from the moment at which a request was due, so that a service that falls behind shows it.
    """
    left = iter(enumerate(requests))
    start = time.perf_counter()
    statuses: dict[str, int] = {}
    times: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", job["port"], limit=1 << 24)
        for number, data in left:
            due = time.perf_counter()
            if job["rate"] is not None:
                due = start + number / job["rate"]
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            times.append(time.perf_counter() - due)
            status = head[9:12].decode()
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()

    await asyncio.gather(*(connection() for _ in range(min(job["connections"], len(requests)))))
    return {"statuses": statuses, "times": times}


if __name__ == "__main__":
    main()
