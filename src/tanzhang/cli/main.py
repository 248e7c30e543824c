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
from pathlib import Path
from typing import Annotated, Any

import typer

from tanzhang.cli.accounts import account_app
from tanzhang.cli.auction import auction_app
from tanzhang.cli.benefits import benefits_app
from tanzhang.cli.catalogue import catalogue_app
from tanzhang.cli.certificate import certificate_app
from tanzhang.cli.common import (
    AsJson,
    Day,
    HomeOption,
    Overlays,
    Region,
    answer,
    answering,
    book_access,
    catalogue_of,
    day_of,
    fail,
    folder_of,
    home_of,
    home_to_close,
    now,
    say,
)
from tanzhang.cli.deal import deal_app, pledge_app
from tanzhang.cli.donate import donate_app
from tanzhang.cli.engines import EngineOption, MasterOption, settling_with
from tanzhang.cli.guard import guard_app
from tanzhang.cli.key import key_app
from tanzhang.cli.log import log_app
from tanzhang.cli.lot import authorise_app, lot_app
from tanzhang.cli.mall import mall_app
from tanzhang.cli.market import market_app
from tanzhang.cli.operations import backup, migrate, restore
from tanzhang.cli.partner import partner_app
from tanzhang.cli.party import party_app
from tanzhang.cli.pass_on import pass_on_app
from tanzhang.cli.payback import payback_app
from tanzhang.cli.payment import payment_app
from tanzhang.cli.people import people_app
from tanzhang.cli.points import points_app
from tanzhang.cli.receipts import receipt_app
from tanzhang.cli.replay import replay
from tanzhang.cli.retire import retire_, retirement_app
from tanzhang.cli.sections import Sectioned
from tanzhang.cli.serve import serve
from tanzhang.cli.simulate import simulate
from tanzhang.cli.staff import staff_app
from tanzhang.cli.totals import city_app, epoch_app
from tanzhang.cli.trail import audit
from tanzhang.cli.unit import unit_app
from tanzhang.cli.verification import verification_app, verify_package
from tanzhang.cli.whatif import whatif_app
from tanzhang.cli.witness import witness_app
from tanzhang.cli.work import work
from tanzhang.core.errors import Problem, TanzhangError, file_system_problem, refuse

app = typer.Typer(
    name="tanzhang",
    cls=Sectioned,
    help="Tanzhang 碳账: personal carbon accounts that anyone can verify.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(account_app, name="account")
app.add_typer(receipt_app, name="receipt")
app.add_typer(guard_app, name="guard")
app.add_typer(people_app, name="people")
app.add_typer(epoch_app, name="epoch")
app.add_typer(city_app, name="city")
app.add_typer(log_app, name="log")
app.add_typer(witness_app, name="witness")
app.add_typer(partner_app, name="partner")
app.add_typer(mall_app, name="mall")
app.add_typer(party_app, name="party")
app.add_typer(deal_app, name="deal")
app.add_typer(auction_app, name="auction")
app.add_typer(pledge_app, name="pledge")
app.add_typer(payment_app, name="payment")
app.add_typer(key_app, name="key")
app.add_typer(staff_app, name="staff")
app.add_typer(donate_app, name="donate")
app.add_typer(pass_on_app, name="pass-on")
app.add_typer(retirement_app, name="retirement")
app.add_typer(benefits_app, name="benefits")
app.add_typer(payback_app, name="payback")
app.add_typer(certificate_app, name="certificate")
app.add_typer(points_app, name="points")
app.add_typer(whatif_app, name="whatif")
app.add_typer(market_app, name="market")
app.add_typer(unit_app, name="unit")
app.add_typer(authorise_app, name="authorise")
app.add_typer(lot_app, name="lot")
app.add_typer(verification_app, name="verification")

INTERRUPTED = 130  # what Typer makes of Ctrl-C


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
        say(TanzhangError(_misused(error) if misused else _unexpected(error)), as_json)
        return 1
    if code == INTERRUPTED:
        remedy = "run the same command again; what was acknowledged is kept, what was not left nothing behind"
        say(refuse("interrupted", "stopped by Ctrl-C", where="tanzhang", remedy=remedy), as_json)
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
            folder_of(home),
            programme=programme,
            origin=origin or f"tanzhang.local/{programme}",
            overlays=tuple(catalogue or ()),
            now=now(),
            book=book,
            book_access=book_access(),
            storage=storage,
        )
        values = {"status": "created", "home": str(created.folder), **created.values, "book": created.book.name}
        values["storage"] = str(created.storage)
        from tanzhang.cli import show

        answer(as_json, values, show.created)


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
            catalogue_of(catalogue),
            behaviour,
            region=region,
            on=day_of(on, "--on"),
            inputs=_inputs(inputs or []),
            variant=variant,
            evidence=evidence,
            elapsed_s=elapsed_s,
            programme=programme,
            methodology=methodology,
        )
    except TanzhangError as error:
        if not as_json:
            fail(error, as_json)
        print(json.dumps(refusal(error), ensure_ascii=False, indent=2))
        raise typer.Exit(1) from None
    from tanzhang.cli import show

    answer(as_json, result, show.quantified)


@app.command()
def intake(
    file: Annotated[Path, typer.Argument(help="CloudEvents .json or .ndjson, .csv or .parquet (also .gz).")],
    map_: Annotated[Path | None, typer.Option("--map", help="Mapping file for a foreign CSV or Parquet.")] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="Id of the partner who submits.")] = None,
    table: Annotated[list[str] | None, typer.Option("--table", help="NAME=PATH of a mapping's look-up table.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of each row; keep nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Take in a file of reports; every row gets its verdict."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service import intake as service

        opened = home_of(home)
        with progress_line("intake") as progress:
            asked: dict[str, Any] = {"partner": partner, "mapping": map_, "tables": _tables(table or [])}
            if dry_run:
                result, _ = service.check(opened, file, **asked, now=now(), progress=progress)
            else:
                result = service.intake(opened, file, **asked, now=now(), progress=progress)
        if result["verdicts"] is not None:
            result["verdicts"] = str(opened.storage / result["verdicts"])
        answer(as_json, result, show.taken_in)
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
    """Decide reports whose window closed; book, seal, award."""
    with answering(as_json), settling_with(engine, master) as chosen:
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.award import award_due
        from tanzhang.service.settle import settle as service

        opened = home_to_close(home)
        day = None if through is None else day_of(through, "--through")
        with progress_line("settle") as progress:
            result = service(opened, through=day, now=now(), progress=progress, engine=chosen)
            if opened.programme.points:
                result["points"] = award_due(opened, now=now(), progress=progress)["programmes"]
        answer(as_json, result, show.settled)


@app.command()
def verify(
    lot: Annotated[
        Path | None, typer.Option("--lot", help="Check a lot's data package (folder or ZIP) instead, without a home.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="With --lot: the log's public key, or the file that holds it.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="With --lot: a policy with the log and witnesses.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild everything from the files and say what holds."""
    with answering(as_json):
        if lot is not None:
            verify_package(lot, key, policy, as_json)
            return
        from tanzhang.cli import show
        from tanzhang.cli.progress import progress_line
        from tanzhang.service.verify import verify as service

        with progress_line("verify") as progress:
            result = service(home_of(home), progress=progress)
        answer(as_json, result, show.checked)
        if result["status"] != "verified":
            raise typer.Exit(1)


@app.command()
def tidy(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Remove what the retention calendar drops, and strays."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.retention import tidy as service

        answer(as_json, service(home_to_close(home), now=now(), dry_run=dry_run), show.tree)


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
        answer(as_json, result, show.demo)


app.command()(simulate)
app.command()(replay)
app.command()(serve)
app.command("retire")(retire_)
app.command()(migrate)
app.command()(work)
app.command()(backup)
app.command()(restore)
app.command()(audit)


def _misused(error: Any) -> Problem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tanzhang"
    return Problem("usage", str(error.format_message()), command, f"see '{command} --help'")


def _unexpected(error: Exception) -> Problem:
    if isinstance(error, OSError):
        return file_system_problem(error)
    from tanzhang.stores.storage import refusal_in

    refusal = refusal_in(error)
    if refusal is not None:
        return refusal
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{Path(last.filename).name}, line {last.lineno}"
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    return Problem("internal-error", message, where, "this is a bug in Tanzhang; please report it with this message")


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
