"""``tanzhang epoch`` and ``tanzhang city``: totals of a programme, sealed and as they stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tanzhang.cli.common import AccountArgument, answer, answering, day_of, home_of, home_to_close, now, vkey_of

if TYPE_CHECKING:
    from datetime import date

epoch_app = typer.Typer(help="Sealed totals of a day, and each person's proof of a share.")
city_app = typer.Typer(help="Totals of a programme, of a partner, and rankings.")

_AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
_Home = Annotated[Path | None, typer.Option("--home", envvar="TANZHANG_HOME", help="Folder of the programme.")]
_Since = Annotated[str | None, typer.Option("--from", help="First local day of the acts, YYYY-MM-DD.")]
_Until = Annotated[str | None, typer.Option("--to", help="Last local day of the acts, YYYY-MM-DD.")]
_By = Annotated[
    str, typer.Option("--by", help="Cuts with commas between: day, week, month, category, behaviour, district ...")
]


@epoch_app.command("close")
def close(
    day: Annotated[str | None, typer.Option("--day", help="Local day that is over (default yesterday).")] = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """Seal the totals of all accounts at the end of a day; a second time gives the same."""
    from tanzhang.cli import show
    from tanzhang.cli.progress import progress_line

    with answering(as_json):
        from tanzhang.service.epoch import close as service

        opened = home_to_close(home)
        with progress_line("epoch") as progress:
            result = service(opened, _day(day, "--day"), now=now(), progress=progress)
        answer(as_json, {"status": "closed", **result}, show.tree)


@epoch_app.command("list")
def list_(home: _Home = None, as_json: _AsJson = False) -> None:
    """Every closed epoch, the latest first."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.epoch import epochs

        answer(as_json, {"epochs": epochs(home_of(home))}, show.tree)


@epoch_app.command("prove")
def prove(
    account: AccountArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the proof.")],
    day: Annotated[str | None, typer.Option("--day", help="Day of the epoch (default: the latest).")] = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """Write the file with which a person checks that the sealed total contains their milligrams."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.accounts import account_named
        from tanzhang.service.epoch import prove as service

        opened = home_of(home)
        data = service(opened, account_named(opened, account), _day(day, "--day"))
        out.write_bytes(data)
        result = {"status": "created", "proof": str(out), "bytes": len(data), "key": opened.values["vkey"]}
        answer(as_json, result, show.tree)


@epoch_app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="A proof file.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key (vkey), or a file that holds it.")],
    as_json: _AsJson = False,
) -> None:
    """Check a proof file offline, with nothing but the log's public key."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.epoch import check as service

        answer(as_json, service(file.read_bytes(), vkey_of(key)), show.tree)


@city_app.command("show")
def city_show(
    by: _By = "behaviour",
    since: _Since = None,
    until: _Until = None,
    region: Annotated[str | None, typer.Option("--region", help="Only inside: CN-, six digits of GB/T 2260.")] = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """Confirmed totals of the programme, in which each act counts once, with the latest sealed epoch."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.city import city_totals
        from tanzhang.service.epoch import latest_epoch

        opened = home_of(home)
        totals = city_totals(
            opened, by=_cuts(by), since=_day(since, "--from"), until=_day(until, "--to"), region=region
        )
        answer(as_json, {**totals, "epoch": _named(latest_epoch(opened))}, show.tree)


@city_app.command("partner")
def city_partner(
    partner: Annotated[str, typer.Argument(help="Id of the partner.")],
    by: _By = "behaviour",
    since: _Since = None,
    until: _Until = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """What the users of one partner saved through it: facilitated by it, not owned."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.city import partner_ledger
        from tanzhang.service.epoch import latest_epoch

        opened = home_of(home)
        ledger = partner_ledger(opened, partner, by=_cuts(by), since=_day(since, "--from"), until=_day(until, "--to"))
        answer(as_json, {**ledger, "epoch": _named(latest_epoch(opened))}, show.tree)


@city_app.command("grade")
def city_grade(
    partner: Annotated[str, typer.Argument(help="Id of the partner.")],
    month: Annotated[str, typer.Option("--month", help="Calendar month of the acts, YYYY-MM.")],
    scheme: Annotated[
        str | None, typer.Option("--scheme", help="Grading scheme of the catalogue (default: the programme's).")
    ] = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """The grade of a partner for a month, from what its users were confirmed through it."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.grading import grade_partner

        found = grade_partner(home_of(home), partner, day_of(f"{month}-01", "--month"), scheme_id=scheme)
        answer(as_json, found, show.tree)


@city_app.command("ranking")
def city_ranking(
    period: Annotated[str, typer.Option("--period", help="day, week (from Monday) or month.")] = "day",
    on: Annotated[str | None, typer.Option("--on", help="A local day in it (default: the last with an act).")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Only acts inside: CN-, six digits.")] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="Only acts reported by one partner.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=10_000, help="At most so many.")] = 20,
    account: Annotated[str | None, typer.Option("--account", help="Also the rank of this account.")] = None,
    home: _Home = None,
    as_json: _AsJson = False,
) -> None:
    """Who was confirmed most reductions, under pseudonyms; equal amounts have equal ranks."""
    from tanzhang.cli import show

    with answering(as_json):
        from tanzhang.service.accounts import account_named
        from tanzhang.service.city import last_day
        from tanzhang.service.ranking import Scope, ranking

        opened = home_of(home)
        scope = Scope.of(period, _day(on, "--on") or last_day(opened), region, partner)
        own = None if account is None else account_named(opened, account)
        answer(as_json, ranking(opened, scope, top=top, account=own), show.tree)


def _cuts(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _day(text: str | None, option: str) -> date | None:
    return None if text is None else day_of(text, option)


def _named(epoch: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of an epoch a page of totals names: day, entry, roots."""
    if epoch is None:
        return None
    return {name: epoch[name] for name in ("day", "log", "entry", "trees")}
