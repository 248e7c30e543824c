"""``tanzhang account``: the accounts of persons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tanzhang.cli.common import AccountArgument, AsJson, HomeOption, answer, answering, day_of, home_of, looked_at, now
from tanzhang.core.errors import refuse

account_app = typer.Typer(help="Accounts of persons.")


@account_app.command("list")
def account_list(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Accounts with confirmed and provisional balances, most reductions first."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import balances

        count, rows = balances(home_of(home), limit)
        result = {
            "accounts": count,
            "shown": [
                {
                    "account": str(row.account),
                    "reduction_mg": str(row.reduction_mg),
                    "footprint_mg": str(row.footprint_mg),
                    "provisional_reduction_mg": str(row.provisional_reduction_mg),
                    "provisional_footprint_mg": str(row.provisional_footprint_mg),
                }
                for row in rows
            ],
        }
        answer(as_json, result, show.accounts)


@account_app.command("show")
def account_show(
    account: AccountArgument,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """One account: balances, behaviours, latest records and why each is what it is."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import statement

        opened = home_of(home)
        own = looked_at(opened, account, "account show")
        answer(as_json, statement(opened, own), show.statement)


@account_app.command("grade")
def account_grade(
    account: AccountArgument,
    month: Annotated[str, typer.Option("--month", help="Calendar month of the acts, YYYY-MM.")],
    scheme: Annotated[
        str | None, typer.Option("--scheme", help="Grading scheme of the catalogue (default: the programme's).")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """The grade of a person for a month, by a scheme whose thresholds and source are data."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.grading import grade_account

        opened = home_of(home)
        own = looked_at(opened, account, "account grade")
        answer(as_json, grade_account(opened, own, day_of(f"{month}-01", "--month"), scheme_id=scheme), show.tree)


@account_app.command("badges")
def account_badges(
    account: AccountArgument,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """The badges of a person: what each needs, how far they are, since when they have it."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.badges import badges_of
        from tanzhang.service.reading import Reader

        opened = home_of(home)
        own = looked_at(opened, account, "account badges")
        answer(as_json, badges_of(Reader(opened), own), show.tree)


@account_app.command("link")
def account_link(
    child: Annotated[str, typer.Argument(help="Platform account: id, or PARTNER:SUBJECT.")],
    to: Annotated[str, typer.Option("--to", help="The person's account: id, or PARTNER:SUBJECT.")],
    since: Annotated[str, typer.Option("--from", help="First local day of the person's consent.")],
    until: Annotated[str | None, typer.Option("--until", help="First day after the consent; open if left out.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Link a platform account to a person's account (1+N), with consent from-to."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import account_named
        from tanzhang.service.links import link_child

        opened = home_of(home)
        result = link_child(
            opened,
            account_named(opened, child),
            account_named(opened, to),
            valid_from=day_of(since, "--from"),
            valid_until=None if until is None else day_of(until, "--until"),
            now=now(),
        )
        answer(as_json, {"status": "linked", **result}, show.tree)


@account_app.command("join")
def account_join(
    account: Annotated[str, typer.Argument(help="The account that becomes part of another: id, or PARTNER:SUBJECT.")],
    to: Annotated[str, typer.Option("--to", help="The other account: id, or PARTNER:SUBJECT.")],
    since: Annotated[
        str | None, typer.Option("--from", help="First local day of acts (default: the first that may be open).")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Make an account part of another: its acts from a day on, its platform accounts, and what it holds."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import account_named
        from tanzhang.service.joining import MERGE, join

        opened = home_of(home)
        first = None if since is None else day_of(since, "--from")
        names = [account_named(opened, each) for each in (account, to)]
        answer(as_json, {"status": "joined", **join(opened, *names, kind=MERGE, since=first, now=now())}, show.tree)


@account_app.command("part")
def account_part(
    joining: Annotated[str, typer.Argument(metavar="JOINING", help="Id of the joining, as 'account join' said it.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Undo a joining from today on: what the account brought goes back to it."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.parting import part

        answer(as_json, {"status": "parted", **part(home_of(home), joining, now=now())}, show.tree)


@account_app.command("links")
def account_links(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet of links.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Link all platform accounts of a file: partner, subject, with_partner, with_subject, valid_from[, valid_until]."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.links import link_many

        answer(as_json, {"status": "linked", **link_many(home_of(home), file, now=now())}, show.tree)


@account_app.command("export")
def account_export(
    account: AccountArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="New ZIP file.")],
    receipts: Annotated[bool, typer.Option("--receipts", help="With the receipt of each record.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Everything about one person as JSON and CSV, with a page that explains it in Chinese and English."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.export import export_account as service

        opened = home_of(home)
        own = looked_at(opened, account, "account export")
        result = service(opened, own, out, now=now(), receipts=receipts)
        answer(as_json, result, show.tree)


@account_app.command("erase")
def account_erase(
    accounts: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="Account ids, or PARTNER:SUBJECT.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="More of them, one a line.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Kept for good: name nobody in it.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Erase persons: whose, what and salts go; leaves, amounts and sealed totals stay and verify."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.accounts import account_named
        from tanzhang.service.erase import erase as service

        opened = home_of(home)
        named = [account_named(opened, each) for each in [*(accounts or []), *_lines(file)]]
        if not named:
            remedy = "give their ids, PARTNER:SUBJECT, or a file of them with --file"
            raise refuse("account-malformed", "no account is named", where="an account", remedy=remedy)
        with progress_line("erase") as progress:
            result = service(opened, named, reason=reason, now=now(), progress=progress)
        answer(as_json, result, show.erased)


def _lines(path: Path | None) -> list[str]:
    """The lines of a file that are not empty."""
    if path is None:
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
