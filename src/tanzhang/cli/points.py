"""``tanzhang points``: what accounts hold of each points programme, award runs, what ends, budgets of sponsors."""

from __future__ import annotations

from typing import Annotated

import typer

from tanzhang.cli.common import (
    AccountArgument,
    AsJson,
    HomeOption,
    answer,
    answering,
    home_of,
    home_to_close,
    looked_at,
    now,
)

points_app = typer.Typer(help="Awards by batch, what accounts hold, budgets.")

_Programme = Annotated[str, typer.Argument(metavar="PROGRAMME", help="Id of the points programme.")]


@points_app.command("show")
def show_(account: AccountArgument, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What an account has: usable, expected, waiting to be collected, ending soon."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.points import points_of
        from tanzhang.service.reading import Reader

        opened, moment = home_of(home), now()
        named = looked_at(opened, account, "points", moment=moment)
        answer(as_json, points_of(Reader(opened), named, now=moment), show.tree)


@points_app.command("statement")
def statement(
    account: AccountArgument,
    programme: Annotated[str, typer.Option("--programme", help="Id of the points programme.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many of the latest.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="'next' of the page before.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """What made an account's points what they are, with rule and reason, the latest first."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.points import statement_of
        from tanzhang.service.reading import Reader

        opened = home_of(home)
        named = looked_at(opened, account, "points")
        answer(as_json, statement_of(Reader(opened), programme, named, cursor=cursor, limit=limit), show.tree)


@points_app.command("award")
def award(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Award every sealed batch that was not awarded yet; 'settle' and workers do so by themselves."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.award import award_due

        with progress_line("award") as progress:
            result = award_due(home_of(home), now=now(), progress=progress)
        answer(as_json, {"status": "awarded" if result["batches"] else "nothing", **result}, show.tree)


@points_app.command("expire")
def expire(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Book what nobody used, or collected, by its last day; workers do so every day."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.award import expire_due

        ended = expire_due(home_to_close(home), now=now())
        answer(as_json, {"status": "ended" if ended else "nothing", "programmes": ended}, show.tree)


@points_app.command("budgets")
def budgets(programme: _Programme, home: HomeOption = None, as_json: AsJson = False) -> None:
    """What a programme granted, took back and let end, what accounts hold, and the budgets of its sponsors."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.points import figures_of

        answer(as_json, figures_of(home_of(home), programme, now=now()), show.tree)
