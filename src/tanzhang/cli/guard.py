"""``tanzhang guard``: what is held, why, and deciding it."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now

guard_app = typer.Typer(help="Acts that look wrong: what is held, why, and deciding it.")

Cases = Annotated[list[int], typer.Argument(metavar="CASE...", help="Numbers of cases.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the person and the partner read it, so it names nobody.")]


@guard_app.command("run")
def run(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Look at all open reports now; a worker does so hourly, and every settlement before it consumes any."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.guard import look

        answer(as_json, look(home_of(home), now=now()), tree)


@guard_app.command("list")
def list_(
    state: Annotated[str, typer.Option("--state", help="held (default), noted, released, refused, or all.")] = "held",
    partner: Annotated[str | None, typer.Option("--partner", help="Only reports of this partner.")] = None,
    appealed: Annotated[bool, typer.Option("--appealed", help="Only those that their person spoke to.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Cases, the latest first, how many there are by state, and partners whose means moved."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.guard import overview
        from tanzhang.service.held import queue

        opened = home_of(home)
        wanted = None if state == "all" else state
        found = queue(opened, state=wanted, partner=partner, appealed=appealed, limit=limit)
        answer(as_json, {**overview(opened), "items": found["items"]}, tree)


@guard_app.command("show")
def show(
    case: Annotated[int, typer.Argument(metavar="CASE", help="Number of the case.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """One case with all its reasons and what the person said."""
    with answering(as_json):
        from tanzhang.cli.show import tree
        from tanzhang.service.guard import case_of, shown_with_appeal

        opened = home_of(home)
        answer(as_json, shown_with_appeal(opened, case_of(opened, case)), tree)


@guard_app.command("release")
def release(cases: Cases, reason: Reason, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let held acts be settled by the next settlement, as any act."""
    with answering(as_json):
        from tanzhang.cli.partner import operator
        from tanzhang.cli.show import tree
        from tanzhang.service.guard import release as release_cases

        answer(as_json, release_cases(home_of(home), cases, reason, actor=operator(), now=now()), tree)


@guard_app.command("refuse")
def refuse(cases: Cases, reason: Reason, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Keep held acts from ever being settled; they stay visible with the reason."""
    with answering(as_json):
        from tanzhang.cli.partner import operator
        from tanzhang.cli.show import tree
        from tanzhang.service.guard import refuse as refuse_cases

        answer(as_json, refuse_cases(home_of(home), cases, reason, actor=operator(), now=now()), tree)
