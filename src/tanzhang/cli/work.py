"""``tanzhang work``: what a home needs done again and again, done by this process."""

from __future__ import annotations

import logging
import os
import signal
from typing import Annotated, Any

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of

FINISH_FIRST = "finishing what is at hand; once more to stop in the middle of it, which loses nothing either"


def work(
    home: HomeOption = None,
    every: Annotated[
        float | None,
        typer.Option("--every", min=0.1, max=3600.0, help="Seconds between settlements of what waits for nothing."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do every chore now, once, and end.")] = False,
    with_parent: Annotated[
        int | None,
        typer.Option("--with-parent", hidden=True, help="Process whose child this is, and with which it ends."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Do what a home needs, when it is due, until stopped.

    Any number of these may work at once: they settle, publish, close days, tidy, deliver.
    """
    with answering(as_json):
        from tanzhang.api.logs import start_logging
        from tanzhang.api.traces import start_tracing
        from tanzhang.service.work import AT_ONCE_EVERY_S, Worker, chores

        home_of(home)  # what is wrong with it is said here
        worker = Worker(lambda: home_of(home), chores(AT_ONCE_EVERY_S if every is None else every))
        if once:
            done = worker.once()
            answer(as_json, {"status": "worked", "chores": done}, _show)
            if any(each["result"] == "failed" for each in done):
                raise typer.Exit(1)
            return
        start_logging()
        start_tracing()

        def finish(number: int, _frame: Any) -> None:
            signal.signal(number, signal.SIG_DFL)
            logging.getLogger("tanzhang.work").info(FINISH_FIRST)
            worker.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, finish)
        # The number is given: a server that died while this was starting is nobody's parent any more.
        worker.run(alive=lambda: with_parent is None or os.getppid() == with_parent)


def _show(result: dict[str, Any]) -> None:
    for each in result["chores"]:
        said = "" if each["said"] is None else ", ".join(f"{name} {value}" for name, value in each["said"].items())
        print(f"{each['chore']:10} {each['result']:8} {each['took_ms']:>8,} ms  {said}".rstrip())
