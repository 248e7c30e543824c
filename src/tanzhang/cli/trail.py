"""``tanzhang audit``: who did what dangerous thing, and who looked at persons' data."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, day_of, home_of

if TYPE_CHECKING:
    from tanzhang.stores.home import Home

_MOST = 10_000


def audit(
    looks: Annotated[
        bool, typer.Option("--looks", help="Who of the staff read persons' data, in place of dangerous acts.")
    ] = False,
    actor: Annotated[str | None, typer.Option("--actor", help="Only of this one, as the rows say.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only this act, or acts that begin so; with --looks what was read.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="First local day, YYYY-MM-DD.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last local day, YYYY-MM-DD.")] = None,
    before: Annotated[int | None, typer.Option("--before", min=1, help="Only rows below this number.")] = None,
    most: Annotated[int, typer.Option("--most", min=1, max=_MOST, help="At most so many.")] = 50,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Who did what dangerous thing, or looked at whom.

    The latest first; ``next`` is what to give to --before.
    """
    with answering(as_json):
        from tanzhang.service.trail import dangerous_acts, looks_of_staff

        opened = home_of(home)
        ask = looks_of_staff if looks else dangerous_acts
        first = None if since is None else _midnight(opened, since, "--from", 0)
        last = None if until is None else _midnight(opened, until, "--to", 1)
        rows = ask(opened, before, most + 1, actor=actor, kind=kind, since=first, until=last)
        following = rows[most - 1]["id"] if len(rows) > most else None
        answer(as_json, {"items": rows[:most], "next": following}, _show)


def _midnight(home: Home, text: str, option: str, days: int) -> datetime:
    """Local midnight before a day, or so many days later."""
    zone = ZoneInfo(home.programme.time_zone)
    return datetime.combine(day_of(text, option) + timedelta(days=days), time(), zone)


def _show(result: dict[str, Any]) -> None:
    for each in result["items"]:
        if "act" in each:
            what = f"{each['act']}: {each['subject']}  from {each['origin']}"
            actor = each["actor"]
        else:
            what, actor = f"{each['what']} of {each['account']}", each["who"]
        print(f"{each['id']:>8}  {each['at'][:19]}Z  {each['role']} {actor}  {what}")
    if result["next"] is not None:
        print(f"more: --before {result['next']}")
