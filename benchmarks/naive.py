"""The naive service that benchmarks/service.py compares with: an insert by the ORM for each act, a unique reference.

It checks nothing but that the reference is new, quantifies nothing and gives no verdict; each request is one
transaction, in which an act that was reported before is passed over (a savepoint each, as the ORM's manual has it).
"""

from __future__ import annotations

import json
import os
from typing import Any

import sqlalchemy as sa
from litestar import Litestar, Request, post
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

ADDRESS_VARIABLE = "BENCH_NAIVE"


class Base(DeclarativeBase):
    pass


class Action(Base):
    __tablename__ = "action"
    __table_args__ = (sa.UniqueConstraint("partner", "reference"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    partner: Mapped[str]
    reference: Mapped[str]
    behaviour: Mapped[str]
    subject: Mapped[str]
    ended_at: Mapped[str]
    data: Mapped[str]


def engine_of(address: str) -> sa.Engine:
    """SQLite with the settings of our own book, or PostgreSQL with its defaults."""
    engine = sa.create_engine(address)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def pragmas(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA busy_timeout = 10000")

    return engine


def served() -> Litestar:
    engine = engine_of(os.environ[ADDRESS_VARIABLE])

    @post("/v1/actions:batch", sync_to_thread=False, status_code=202)
    def report(body: bytes) -> dict[str, int]:
        new = 0
        with Session(engine) as session, session.begin():
            for line in body.splitlines():
                event = json.loads(line)
                try:
                    with session.begin_nested():
                        session.add(
                            Action(
                                partner=event["source"],
                                reference=event["id"],
                                behaviour=event["type"],
                                subject=event["subject"],
                                ended_at=event["time"],
                                data=json.dumps(event["data"]),
                            )
                        )
                except sa.exc.IntegrityError:
                    continue
                new += 1
        return {"accepted": new}

    @post("/v1/actions", status_code=202)
    async def report_one(request: Request[Any, Any, Any]) -> dict[str, int]:
        return report.fn(await request.body())  # type: ignore[no-any-return]

    return Litestar([report, report_one], openapi_config=None)


def prepare(address: str) -> None:
    engine = engine_of(address)
    Base.metadata.create_all(engine)
    engine.dispose()
