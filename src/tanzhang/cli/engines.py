"""``--engine``: what decides and writes a settlement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tanzhang.core.errors import refuse

if TYPE_CHECKING:
    from tanzhang.service.settle import Engine

EngineOption = Annotated[
    str, typer.Option("--engine", help="embedded (this process), or spark (a cluster; the same records come out).")
]
MasterOption = Annotated[
    str | None, typer.Option("--master", help="Spark's master: spark://HOST:PORT, or local[N] for this machine.")
]


@contextmanager
def settling_with(engine: str, master: str | None) -> Iterator[Engine | None]:
    """The chosen engine while the block lasts; None is this process itself."""
    if engine == "spark" and master:
        from tanzhang.service.spark.session import spark_settlement

        with spark_settlement(master) as chosen:
            yield chosen
    elif engine == "embedded" and master is None:
        yield None
    elif engine in ("spark", "embedded"):
        raise refuse(
            "engine-master",
            "Spark needs a master" if engine == "spark" else f"--master {master} is given without --engine spark",
            where="--master",
            remedy="write --engine spark --master spark://HOST:7077, or neither",
        )
    else:
        raise refuse(
            "engine-unknown",
            f"there is no engine {engine!r}",
            where="--engine",
            remedy="write embedded or spark",
        )
