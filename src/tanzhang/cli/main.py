"""``tanzhang``: the same verbs as :mod:`tanzhang.service`, for operators.

Every command takes ``--json``, ends with 0 or 1, and says what is wrong as a coded message. Modules are imported
inside the commands, so that a quick question gets a quick answer.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tanzhang.cli.engines import EngineOption, MasterOption, settling_with
from tanzhang.cli.replay import replay
from tanzhang.cli.simulate import simulate
from tanzhang.core.errors import Problem, TanzhangError, refuse

if TYPE_CHECKING:
    from tanzhang.stores.catalogue import Catalogue
    from tanzhang.stores.home import Home

app = typer.Typer(
    name="tanzhang",
    help="Tanzhang 碳账: personal carbon accounts that anyone can verify.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
catalogue_app = typer.Typer(help="What is published: behaviours, methodologies, factors.")
account_app = typer.Typer(help="Accounts of persons.")
receipt_app = typer.Typer(help="Receipts that verify offline.")
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(account_app, name="account")
app.add_typer(receipt_app, name="receipt")

INTERRUPTED = 130  # what Typer makes of Ctrl-C

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
HomeOption = Annotated[Path | None, typer.Option("--home", envvar="TANZHANG_HOME", help="Folder of the programme.")]
Overlays = Annotated[
    list[Path] | None, typer.Option("--catalogue", help="Folder of your own catalogue files over the shipped ones.")
]
Region = Annotated[str, typer.Option("--region", help="CN, or CN- and six digits of GB/T 2260.")]
Day = Annotated[str, typer.Option("--on", help="Local day of the act, YYYY-MM-DD.")]


def run() -> None:
    """Entry point of the command: exit code 0 or 1, and whatever goes wrong is said as a coded message."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = _run(arguments, "--json" in arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough; nothing more can be said, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        code = app(arguments, prog_name="tanzhang", standalone_mode=False)
    except BrokenPipeError:
        raise
    except Exception as error:
        # What Typer and Click say of a command line they cannot read knows how to format itself.
        misused = hasattr(error, "format_message")
        _say(TanzhangError(_misused(error) if misused else _unexpected(error)), as_json)
        return 1
    if code == INTERRUPTED:
        remedy = "run the same command again; what was acknowledged is kept, what was not left nothing behind"
        _say(refuse("interrupted", "stopped by Ctrl-C", where="tanzhang", remedy=remedy), as_json)
    return 1 if code else 0


@app.command()
def init(
    programme: Annotated[str, typer.Option("--programme", help="Id of the programme this home runs.")],
    home: HomeOption = None,
    catalogue: Overlays = None,
    origin: Annotated[str | None, typer.Option("--origin", help="Name of the log, best its public URL.")] = None,
    book: Annotated[
        str | None,
        typer.Option(
            "--book",
            help="postgresql://user@host/database?schema=NAME for a book on a server (default: a file in the home); "
            "TANZHANG_BOOK does the same and keeps the password out of the home.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="s3://bucket/prefix[?endpoint=https://host&region=name] or an absolute folder for reports, records, "
            "links and log (default: the home); credentials come from the environment.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set up a new home: book, keys and an empty log."""
    with answering(as_json):
        from tanzhang.stores.home import Home

        created = Home.create(
            _folder(home),
            programme=programme,
            origin=origin or f"tanzhang.local/{programme}",
            overlays=tuple(catalogue or ()),
            now=_now(),
            book=book,
            book_access=_book_access(),
            storage=storage,
        )
        values = {"status": "created", "home": str(created.folder), **created.values, "book": created.book.name}
        values["storage"] = str(created.storage)
        from tanzhang.cli import show

        _answer(as_json, values, show.created)


@app.command()
def quantify(
    behaviour: Annotated[str, typer.Argument(help="Behaviour id, for example travel.metro.")],
    region: Region,
    on: Day,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="name=whole number, e.g. distance_m=7350.")
    ] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Named case, e.g. battery_bus.")] = None,
    evidence: Annotated[str, typer.Option("--evidence", help="measured, sensed or declared.")] = "measured",
    elapsed_s: Annotated[int | None, typer.Option("--elapsed-s", help="Seconds from start to end of the act.")] = None,
    programme: Annotated[str | None, typer.Option("--programme", help="Only what this programme lists.")] = None,
    methodology: Annotated[str | None, typer.Option("--methodology", help="Only this methodology id.")] = None,
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """Quantify one act and say why it is that much."""
    from tanzhang.service.quantify import quantify as service
    from tanzhang.service.quantify import refusal

    try:
        result = service(
            _catalogue(catalogue),
            behaviour,
            region=region,
            on=_day(on, "--on"),
            inputs=_inputs(inputs or []),
            variant=variant,
            evidence=evidence,
            elapsed_s=elapsed_s,
            programme=programme,
            methodology=methodology,
        )
    except TanzhangError as error:
        if not as_json:
            _fail(error, as_json)
        print(json.dumps(refusal(error), ensure_ascii=False, indent=2))
        raise typer.Exit(1) from None
    from tanzhang.cli import show

    _answer(as_json, result, show.quantified)


@app.command()
def intake(
    file: Annotated[Path, typer.Argument(help="CloudEvents .json or .ndjson, .csv or .parquet (also .gz).")],
    map_: Annotated[Path | None, typer.Option("--map", help="Mapping file for a foreign CSV or Parquet.")] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="Id of the partner who submits.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="NAME=PATH of a mapping's look-up table.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take in a file of reports; every row gets its verdict."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.intake import intake as service

        opened = _home(home)
        with progress_line("intake") as progress:
            result = service(
                opened,
                file,
                partner=partner,
                mapping=map_,
                tables=_tables(table or []),
                now=_now(),
                progress=progress,
            )
        if result["verdicts"] is not None:
            result["verdicts"] = str(opened.storage / result["verdicts"])
        _answer(as_json, result, show.taken_in)
        if result["rows"] and not result["accepted"]:
            raise typer.Exit(1)


@app.command()
def settle(
    through: Annotated[
        str | None, typer.Option("--through", help="Settle windows closed by this local day (default yesterday).")
    ] = None,
    home: HomeOption = None,
    engine: EngineOption = "embedded",
    master: MasterOption = None,
    as_json: AsJson = False,
) -> None:
    """Decide reports whose window has closed, book and seal them."""
    with answering(as_json), settling_with(engine, master) as chosen:
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.settle import settle as service

        opened = _home(home)
        day = None if through is None else _day(through, "--through")
        with progress_line("settle") as progress:
            result = service(opened, through=day, now=_now(), progress=progress, engine=chosen)
        _answer(as_json, result, show.settled)


@app.command()
def verify(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Rebuild everything from the files and say what holds."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.verify import verify as service

        with progress_line("verify") as progress:
            result = service(_home(home), progress=progress)
        _answer(as_json, result, show.checked)
        if result["status"] != "verified":
            raise typer.Exit(1)


@app.command()
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Remove what the retention calendar no longer keeps, and strays."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.retention import tidy as service

        _answer(as_json, service(_home(home), now=_now(), dry_run=dry_run), show.tree)


@app.command()
def demo(
    home: Annotated[Path | None, typer.Option("--home", help="New folder for it (default: a temporary one).")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same day.")] = 20250605,
    people: Annotated[int, typer.Option("--people", min=2, max=100_000, help="Simulated persons.")] = 400,
    as_json: AsJson = False,
) -> None:
    """Simulate a small city day and look at it from all sides."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.demo import demo as service

        with progress_line("demo") as progress:
            result = service(home, seed=seed, people=people, progress=progress)
        _answer(as_json, result, show.demo)


app.command()(simulate)
app.command()(replay)


@catalogue_app.command("check")
def catalogue_check(catalogue: Overlays = None, as_json: AsJson = False) -> None:
    """Check every file: all mistakes at once, each with file, line and remedy."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import check_catalogue

        report = check_catalogue(_catalogue(catalogue))
        result = {
            "status": "failed" if report.problems else "checked",
            "counts": dict(report.counts),
            "problems": [problem.as_dict() for problem in report.problems],
        }
        _answer(as_json, result, show.catalogue_checked)
        if report.problems:
            raise typer.Exit(1)


@catalogue_app.command("list")
def catalogue_list(catalogue: Overlays = None, as_json: AsJson = False) -> None:
    """Every behaviour with its methodologies, and the declared gaps."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import listing

        _answer(as_json, listing(_catalogue(catalogue)), show.catalogue_listed)


@catalogue_app.command("show")
def catalogue_show(
    item: Annotated[str, typer.Argument(metavar="ID", help="Behaviour, methodology, factor, programme or source.")],
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """Everything the catalogue says of one thing."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import show as service

        _answer(as_json, service(_catalogue(catalogue), item), show.tree)


@catalogue_app.command("resolve")
def catalogue_resolve(
    item: Annotated[str, typer.Argument(metavar="ID", help="Factor or methodology.")],
    on: Day,
    region: Region,
    variant: Annotated[str | None, typer.Option("--variant", help="Named case of a methodology.")] = None,
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """The value in force for a day and a region, and why this one."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import resolve

        result = resolve(_catalogue(catalogue), item, on=_day(on, "--on"), region=region, variant=variant)
        _answer(as_json, result, show.tree)


@catalogue_app.command("snapshot")
def catalogue_snapshot(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Where to (default: in the last folder).")] = None,
    catalogue: Overlays = None,
    as_json: AsJson = False,
) -> None:
    """Write every resolved number, one a line, so that a review shows what a change moves."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.catalogue import SNAPSHOT, write_snapshot

        opened = _catalogue(catalogue)
        path = out or opened.folders[-1] / SNAPSHOT
        write_snapshot(opened, path)
        lines = len(path.read_text(encoding="utf-8").splitlines())
        _answer(as_json, {"status": "written", "snapshot": str(path), "lines": lines}, show.tree)


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

        count, rows = balances(_home(home), limit)
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
        _answer(as_json, result, show.accounts)


@account_app.command("show")
def account_show(
    account: Annotated[str, typer.Argument(metavar="ID", help="Account id, or PARTNER:SUBJECT.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """One account: balances, behaviours, latest records and why each is what it is."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import account_named, statement

        opened = _home(home)
        _answer(as_json, statement(opened, account_named(opened, account)), show.statement)


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

        opened = _home(home)
        result = link_child(
            opened,
            account_named(opened, child),
            account_named(opened, to),
            valid_from=_day(since, "--from"),
            valid_until=None if until is None else _day(until, "--until"),
            now=_now(),
        )
        _answer(as_json, {"status": "linked", **result}, show.tree)


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

        _answer(as_json, {"status": "linked", **link_many(_home(home), file, now=_now())}, show.tree)


@account_app.command("export")
def account_export(
    account: Annotated[str, typer.Argument(metavar="ID", help="Account id, or PARTNER:SUBJECT.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New ZIP file.")],
    receipts: Annotated[bool, typer.Option("--receipts", help="With the receipt of each record.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Everything about one person as JSON and CSV, with a page that explains it in Chinese and English."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import account_named
        from tanzhang.service.export import export_account as service

        opened = _home(home)
        result = service(opened, account_named(opened, account), out, now=_now(), receipts=receipts)
        _answer(as_json, result, show.tree)


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

        opened = _home(home)
        named = [account_named(opened, each) for each in [*(accounts or []), *_lines(file)]]
        if not named:
            remedy = "give their ids, PARTNER:SUBJECT, or a file of them with --file"
            raise refuse("account-malformed", "no account is named", where="an account", remedy=remedy)
        with progress_line("erase") as progress:
            result = service(opened, named, reason=reason, now=_now(), progress=progress)
        _answer(as_json, result, show.erased)


@receipt_app.command("create")
def receipt_create(
    action: Annotated[str, typer.Argument(help="Action id, or PARTNER:REFERENCE.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write the receipt.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Write the receipt of one settled record."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.accounts import action_named
        from tanzhang.service.receipt import create_receipt

        opened = _home(home)
        data = create_receipt(opened, action_named(opened, action))
        out.write_bytes(data)
        result = {"status": "created", "receipt": str(out), "bytes": len(data), "key": opened.values["vkey"]}
        _answer(as_json, result, show.receipt_created)


@receipt_app.command("verify")
def receipt_verify(
    file: Annotated[Path, typer.Argument(help="A receipt file.")],
    key: Annotated[str, typer.Option("--key", help="The log's public key (vkey), or a file that holds it.")],
    as_json: AsJson = False,
) -> None:
    """Check a receipt offline, with nothing but the log's public key."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.receipt import check_receipt

        held = Path(key)
        vkey = held.read_text(encoding="ascii", errors="replace").strip() if "+" not in key and held.exists() else key
        _answer(as_json, check_receipt(file.read_bytes(), vkey), show.receipt_checked)


# -- helpers --------------------------------------------------------------------------------------------------


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Turn a coded error into its message and exit code 1."""
    try:
        yield
    except TanzhangError as error:
        _fail(error, as_json)


def _fail(error: TanzhangError, as_json: bool) -> NoReturn:
    _say(error, as_json)
    raise typer.Exit(1)


def _say(error: TanzhangError, as_json: bool) -> None:
    if as_json:
        problems = [problem.as_dict() for problem in error.problems]
        print(json.dumps({"status": "error", **problems[0], "problems": problems}, ensure_ascii=False, indent=2))
    else:
        from tanzhang.cli.show import printable

        print(printable(str(error)), file=sys.stderr)


def _misused(error: Any) -> Problem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tanzhang"
    return Problem("usage", str(error.format_message()), command, f"see '{command} --help'")


def _unexpected(error: Exception) -> Problem:
    if isinstance(error, OSError):
        where = str(error.filename or "file system")
        remedy = "check the path, its permissions and the free space, then run the same command again"
        return Problem("file-system", error.strerror or str(error), where, remedy)
    from tanzhang.stores.storage import refusal_in

    refusal = refusal_in(error)
    if refusal is not None:
        return refusal
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{Path(last.filename).name}, line {last.lineno}"
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    return Problem("internal-error", message, where, "this is a bug in Tanzhang; please report it with this message")


def _answer(as_json: bool, result: dict[str, Any], render: Any) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        render(result)


def _now() -> datetime:
    return datetime.now(UTC)


def _folder(home: Path | None) -> Path:
    if home is None:
        raise refuse("home-unnamed", "no home is named", where="--home", remedy="give --home DIR, or set TANZHANG_HOME")
    return home


def _home(home: Path | None) -> Home:
    from tanzhang.stores.home import Home

    return Home(_folder(home), book_access=_book_access())


def _book_access() -> str | None:
    """How the book on PostgreSQL is reached, where that is not in the home: see docs/postgresql.md."""
    from tanzhang.stores.home import ACCESS_VARIABLE

    return os.environ.get(ACCESS_VARIABLE) or None


def _catalogue(overlays: list[Path] | None) -> Catalogue:
    from tanzhang.stores.catalogue import Catalogue

    return Catalogue(*(overlays or ()))


def _day(text: str, option: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise refuse(
            "day-malformed", f"{text!r} is not a day", where=option, remedy="write an existing day as YYYY-MM-DD"
        )
    return day


def _inputs(pairs: list[str]) -> dict[str, int]:
    inputs: dict[str, int] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch("-?[0-9]{1,19}", value):
            raise refuse(
                "not-a-whole-number",
                f"{pair!r} is not name=whole number",
                where="--input",
                remedy="write for example --input distance_m=7350, in the unit at the end of the name",
            )
        if name in inputs:
            raise refuse("input-twice", f"{name} is given twice", where="--input", remedy="give each input once")
        inputs[name] = int(value)
    return inputs


def _lines(path: Path | None) -> list[str]:
    """The lines of a file that are not empty."""
    if path is None:
        return []
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _tables(pairs: list[str]) -> dict[str, Path]:
    tables: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals:
            raise refuse(
                "table-malformed",
                f"{pair!r} is not NAME=PATH",
                where="--table",
                remedy="write --table stations=file.csv",
            )
        tables[name] = Path(path)
    return tables
