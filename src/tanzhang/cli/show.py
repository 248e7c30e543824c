"""Answers as tables for people. Every number shown comes from the answer; nothing is computed here but its writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tanzhang.core.formula import decimal_text

_UNITS = {"co2e_mg": "reductions", "footprint_mg": "footprints"}
_console = Console(highlight=False, soft_wrap=False)


def mass(mg: str | int | None) -> str:
    """Milligrams as people read them, exactly, in g or kg.

    >>> mass("343245"), mass(0), mass("-37000"), mass("92992240000000000")
    ('343.245 g', '0 g', '-37 g', '92992240 kg')
    """
    if mg is None:
        return "-"
    amount = int(mg)
    sign, rest = ("-" if amount < 0 else ""), abs(amount)
    unit, places = ("kg", 6) if rest >= 1_000_000 else ("g", 3)
    whole, part = divmod(rest, 10**places)
    digits = f"{part:0{places}d}".rstrip("0")
    return f"{sign}{whole}{'.' + digits if digits else ''} {unit}"


def printable(text: str) -> str:
    """A text that may come from a partner's file, without what could steer a terminal."""
    return "".join(character if character.isprintable() or character == "\n" else "\ufffd" for character in text)


def tonnes(mg: str | int) -> str:
    """Milligrams as tonnes with two digits, cut and not rounded.

    >>> tonnes("92992240000000"), tonnes(-5_000_000)
    ('92,992.24 t', '-0.00 t')
    """
    amount = int(mg)
    hundredths = abs(amount) // 10_000_000
    return f"{'-' if amount < 0 else ''}{hundredths // 100:,}.{hundredths % 100:02d} t"


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        name = column.removesuffix(">")
        table.add_column(name, justify="right" if column.endswith(">") else "left", overflow="fold")
    return table


def _pairs(pairs: Sequence[tuple[str, Any]], title: str | None = None) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, title=title, title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            table.add_row(name, Text(printable(str(value))))
    _console.print(table)


def _under(text: str, *, left: int = 2, mark: str = "") -> None:
    """A text whose following lines stand under its first; nothing in it is read as markup."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=left - 1)
    if mark:
        grid.add_column(no_wrap=True, style="green")
    grid.add_column(overflow="fold")
    grid.add_row(*([""] + ([mark] if mark else []) + [Text(printable(text))]))
    _console.print(grid)


def created(answer: Mapping[str, Any]) -> None:
    """A new home."""
    _pairs(
        [
            ("home", answer["home"]),
            ("programme", answer["programme"]),
            ("log", answer["origin"]),
            ("book", answer["book"]),
            ("files", answer["storage"]),
        ],
        "Home created",
    )
    _console.print(f"[dim]public key[/dim] {answer['vkey']}", soft_wrap=True)
    _console.print("\nNext: [bold]tanzhang intake FILE[/bold], then [bold]tanzhang settle[/bold].")


def quantified(answer: Mapping[str, Any]) -> None:
    """One act's quantity and everything it rests on."""
    kind = "reduction" if "reduction_mg" in answer else "emission"
    mg = answer[f"{kind}_mg"]
    flag = "  [yellow]provisional[/yellow]" if answer["provisional"] else ""
    _console.print(f"[bold]{kind} {mass(mg)}[/bold] {answer['gases']} ({int(mg):,} mg){flag}\n")
    source = answer["source"]
    _pairs(
        [
            ("methodology", f"{answer['methodology']}  {answer['title']['zh']}"),
            ("taken because", answer["why"]),
            ("status", answer["methodology_status"]),
            ("source", ", ".join(str(source[key]) for key in ("title", "number", "date", "address") if key in source)),
            ("digest", answer["digest"]),
        ]
    )
    for factor in answer["factors"]:
        _console.print()
        cited = factor["source"]
        _pairs(
            [
                (factor["parameter"], f"{_fraction(factor['value'])} {factor['unit']}"),
                ("published as", factor["published"]),
                ("factor", factor.get("factor")),
                ("region, year", " ".join(factor[key] for key in ("region", "measured_for") if key in factor) or None),
                ("days applied", factor.get("applies")),
                ("status", factor["status"]),
                ("source", f"{cited.get('title', cited['id'])}: {factor['locator']}"),
            ]
        )
    _console.print()
    for step in answer["steps"]:
        _under(step)


def _fraction(text: str) -> str:
    return decimal_text(Fraction(text))


def taken_in(answer: Mapping[str, Any]) -> None:
    """What became of a submission's rows."""
    _console.print(
        f"[bold]{answer['rows']:,} rows: {answer['accepted']:,} accepted, {answer['refused']:,} refused[/bold]"
        f"  ({'nothing is kept' if answer['submission'] is None else 'submission ' + str(answer['submission'])})"
    )
    if answer["paired"]:
        _console.print(f"  {answer['paired']:,} rows are the other half of a pair")
    for name, count in answer["skipped"].items():
        _under(f"{count:,} rows left out by the mapping's filter {name!r}")
    if answer["quantified"]:
        table = _table("behaviour", "actions>", "quantified>")
        for row in answer["quantified"]:
            table.add_row(row["behaviour"], f"{row['actions']:,}", mass(row["quantified_mg"]))
        _console.print()
        _console.print(table)
    if answer["refused_by_code"]:
        table = _table("refused because", "rows>")
        for code, count in answer["refused_by_code"].items():
            table.add_row(code, f"{count:,}")
        _console.print()
        _console.print(table)
        _console.print()
        for problem in answer["first_problems"][:3]:
            reference = f" ({problem['reference']})" if problem["reference"] else ""
            _under(f"row {problem['row']}{reference} {problem['code']}: {problem['message']}")
            _under(f"fix  {problem['remedy']}", left=4)
        if answer["verdicts"] is not None:
            _console.print(f"\nEvery mistake with its remedy: {answer['verdicts']}", markup=False, soft_wrap=True)


def settled(answer: Mapping[str, Any]) -> None:
    """A settlement, and the points that were awarded after it."""
    if answer["batch"] is None:
        _console.print(f"Nothing to settle through {answer['through']}: every closed window is settled already.")
        _awarded(answer)
        return
    _console.print(
        f"[bold]Batch {answer['batch']}: {answer['records']:,} records settled through {answer['through']}[/bold]"
    )
    table = _table("outcome", "records>")
    for outcome, count in answer["outcomes"].items():
        table.add_row(outcome, f"{int(count):,}")
    _console.print(table)
    _pairs(
        [
            *((f"granted, {_UNITS[unit]}", mass(amount)) for unit, amount in answer["granted"].items()),
            *(
                (f"taken back, {_UNITS[unit]}", mass(amount))
                for unit, amount in answer["reversed"].items()
                if amount != "0"
            ),
        ]
    )
    _awarded(answer)
    _console.print(f"[dim]record root[/dim] {answer['root']}", soft_wrap=True)


def _awarded(answer: Mapping[str, Any]) -> None:
    """What batches that had no points yet were awarded."""
    for programme, said in answer.get("points", {}).items():
        back = f", {int(said['taken_back']):,} taken back" if said["taken_back"] != "0" else ""
        _console.print(f"points of {programme}: {int(said['granted']):,} granted{back}")


def checked(answer: Mapping[str, Any]) -> None:
    """A verification, check by check."""
    table = _table("", "check", "compared>", "what")
    for check in answer["checks"]:
        mark = "[red]failed[/red]" if check["problems"] else "[green]ok[/green]"
        table.add_row(mark, check["check"], f"{check['count']:,}", check["what"])
    _console.print(table)
    for note in (note for check in answer["checks"] for note in check["notes"]):
        _under(note, left=1)
    _problems(problem for check in answer["checks"] for problem in check["problems"])
    verdict = "everything holds" if answer["status"] == "verified" else f"{answer['problems']} problems"
    _console.print(f"\n[bold]{answer['status']}[/bold]: {verdict}")


def _problems(problems: Any) -> None:
    for problem in problems:
        _console.print(f"\n{problem['code']}: {printable(problem['message'])}", markup=False, style="red")
        _under(problem["where"], left=3, mark="where")
        _under(problem["remedy"], left=3, mark="fix  ")


def catalogue_checked(answer: Mapping[str, Any]) -> None:
    """The check of the catalogue."""
    _pairs(sorted(answer["counts"].items()), "Checked")
    _problems(answer["problems"])
    _console.print(f"\n[bold]{answer['status']}[/bold], {len(answer['problems'])} problems")


def catalogue_listed(answer: Mapping[str, Any]) -> None:
    """Behaviours by category with their methodologies; a line without one is a declared gap."""
    for category in answer["categories"]:
        title = f"\n{category['name']['zh']} {category['name']['en']}"
        table = _table("behaviour", "T/ACEF 031", "methodology", "regions", "days", "status", title=title)
        for behaviour in category["behaviours"]:
            slot = f" ({behaviour['slot']})" if behaviour["slot"] else ""
            known = f"{behaviour['confirmation']}{slot}"
            named = f"{behaviour['id']} {behaviour['name']['zh']}"
            if not behaviour["methodologies"]:
                table.add_row(named, known, "[dim]gap: refuses[/dim]", "", "", "")
            for methodology in behaviour["methodologies"]:
                title = f"{methodology['id'].removesuffix('.' + behaviour['id'])}@{methodology['version']}"
                regions = ", ".join(methodology["regions"])
                table.add_row(named, known, title, regions, methodology["valid"], methodology["status"])
                named = known = ""
        _console.print(table)
    slots = answer["slots"]
    _console.print(
        f"\n{slots['total']} slots of T/ACEF 031-2022: {slots['identified']} identified, "
        f"{slots['confirmed']} confirmed."
        f"\n{len(answer['gaps']['behaviours'])} behaviours are declared gaps: they refuse with no-methodology."
        f"\nProgrammes: {', '.join(answer['programmes'])}."
    )


def tree(answer: Mapping[str, Any]) -> None:
    """Any answer as a tree of its members."""
    top = Tree("", hide_root=True)
    _grow(top, answer)
    _console.print(top)


def next_line(command: str) -> None:
    """Under an answer, the command that follows."""
    _console.print(f"\nNext: [bold]{_plain(command)}[/bold]", soft_wrap=True)


def _grow(branch: Tree, value: Any) -> None:
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value, start=1)
    for name, member in pairs:
        if isinstance(member, Mapping | list | tuple) and member:
            _grow(branch.add(f"[bold]{name}[/bold]"), member)
        elif member not in (None, [], {}, ()):
            branch.add(f"[dim]{name}[/dim]  {_plain(member)}")


def _plain(value: Any) -> str:
    return " ".join(str(value).split()).replace("[", r"\[")


def accounts(answer: Mapping[str, Any]) -> None:
    """Accounts, most reductions first."""
    table = _table("account", "reduction>", "provisional>", "footprint>", title=f"{answer['accounts']:,} accounts")
    for row in answer["shown"]:
        table.add_row(
            row["account"], mass(row["reduction_mg"]), mass(row["provisional_reduction_mg"]), mass(row["footprint_mg"])
        )
    _console.print(table)
    if answer["accounts"] > len(answer["shown"]):
        _console.print(f"... {answer['accounts'] - len(answer['shown']):,} more (--limit)")


def statement(answer: Mapping[str, Any]) -> None:
    """One account."""
    _pairs(
        [
            ("account", answer["account"]),
            ("programme", answer["programme"]),
            ("confirmed reduction", mass(answer["confirmed"]["reduction_mg"])),
            ("provisional reduction", mass(answer["provisional"]["reduction_mg"])),
            ("confirmed footprint", mass(answer["confirmed"]["footprint_mg"])),
            ("provisional footprint", mass(answer["provisional"]["footprint_mg"])),
            *(
                (label, mass(answer[name]["reduction_mg"]))
                for name, label in (("donated", "given away"), ("passed_on", "passed on"), ("received", "received"))
                if name in answer
            ),
        ]
    )
    if answer["by_behaviour"]:
        table = _table("behaviour", "records>", "mass>", title="\nBy behaviour")
        for row in answer["by_behaviour"]:
            table.add_row(row["behaviour"], f"{row['records']:,}", mass(row["mg"]))
        _console.print(table)
    for name, title in (("latest", "\nLatest records"), ("open", "\nOpen: visible, not booked yet")):
        if answer[name]:
            _console.print(f"[bold]{title}[/bold]")
            for record in answer[name]:
                amount = int(record["granted_mg"]) - int(record["reversed_mg"])
                what = f"{record['day']}  {record['behaviour']}  {mass(amount)}  {record['outcome']}"
                _under(f"{what} {record['related']}" if record["related"] else what)
                _under(f"action {record['action_id']} reported by {record['partner']}", left=4)
    if answer["children"]:
        table = _table("platform account", "from", "until", title="\nLinked (1+N)")
        for child in answer["children"]:
            table.add_row(child["child"], child["from"], child["until"] or "open")
        _console.print(table)


def erased(answer: Mapping[str, Any]) -> None:
    """What an erasing took away, and what is still open."""
    if answer["erasure"] is None:
        _console.print("Nothing that is settled is kept under these accounts.")
    else:
        _console.print(
            f"[bold]Erasure {answer['erasure']}: {answer['accounts']:,} accounts, {answer['records']:,} records of "
            f"{answer['batches']:,} batches[/bold]"
        )
        names = {
            "reports": "reports",
            "verdict_lines": "verdicts on refused rows",
            "answers": "answers to partners",
            "links": "links",
        }
        _pairs([(text, f"{answer[name]:,}") for name, text in names.items() if answer[name]])
    for child in answer["shared_children"]:
        _under(f"{child} is or was linked to another account too and stays.", left=1)
    if answer["open"]:
        table = _table(
            "platform account", "open reports>", "last closes on", title="\nNot settled yet: erase again then"
        )
        for row in answer["open"]:
            table.add_row(row["account"], f"{row['reports']:,}", row["last_closes_on"])
        _console.print(table)


def receipt_created(answer: Mapping[str, Any]) -> None:
    """A receipt file."""
    _under(f"Receipt written to {answer['receipt']} ({answer['bytes']:,} bytes). Anyone can check it with", left=1)
    _console.print(f"  tanzhang receipt verify {answer['receipt']} --key {answer['key']}", markup=False, soft_wrap=True)


def receipt_checked(answer: Mapping[str, Any]) -> None:
    """What a receipt proves."""
    record = answer["record"]
    _console.print(f"[bold green]verified[/bold green]  {record['behaviour']} on {record['day']}: {answer['outcome']}")
    _pairs(
        [
            ("granted", f"{mass(answer['granted_mg'])}, {_UNITS[answer['unit']].removesuffix('s')}"),
            ("taken back", mass(record["reversed_mg"]) if record["reversed_mg"] != "0" else None),
            ("programme", answer["programme"] + (" (a rehearsal, no claim)" if answer["rehearsal"] else "")),
            ("reported by", record["partner"]),
            ("account", record["account"]),
            ("action", record["action_id"]),
            ("inputs", ", ".join(f"{name} {value}" for name, value in record["inputs"].items()) or None),
            ("methodology", answer.get("methodology")),
            ("formula", answer.get("formula")),
            ("values", "provisional" if answer.get("provisional") else None),
            ("log", f"{answer['log']} at size {answer['log_size']}, batch {answer['batch']}"),
            ("cosigned by", ", ".join(f"{each['witness']} {each['time']}" for each in answer["cosigned"]) or None),
        ]
    )
    for check in answer["checks"]:
        _under(check, left=3, mark="ok")


def demo(answer: Mapping[str, Any]) -> None:
    """The demonstration, step by step."""
    _console.rule("A simulated city day")
    _console.print(f"{answer['people']} simulated persons of Beijing, {answer['day']}, seed {answer['seed']}.")
    _console.print(
        "[yellow]Simulated reports; methodologies and factors are the catalogue's, several provisional.[/yellow]\n"
    )
    _console.rule("1. Reports come in")
    table = _table("partner", "rows>", "accepted>", "refused>", "because")
    for submission in answer["submissions"]:
        counts = (f"{submission[name]:,}" for name in ("rows", "accepted", "refused"))
        table.add_row(submission["partner"], *counts, _codes(submission["refused_by_code"]))
    _console.print(table)
    _console.print()
    _console.rule("2. Settled, booked, sealed")
    settled(answer["settlement"])
    _console.print()
    _console.rule("3. Ranking of the day")
    table = _table("", "account", "reduction>")
    for place, row in enumerate(answer["ranking"], start=1):
        table.add_row(str(place), row["account"], mass(row["reduction_mg"]))
    _console.print(table)
    _console.print()
    _console.rule("4. The city by category")
    table = _table("category", "acts>", "reduction>", "partners")
    for row in answer["city"]:
        table.add_row(row["category"], f"{row['acts']:,}", mass(row["mg"]), row["partners"])
    _console.print(table)
    _console.print("Totals are confirmed and deduplicated; partners' own totals overlap and are not added up.\n")
    _console.rule("5. One record explained: a parcel box")
    quantified(answer["explained"])
    _console.print()
    _console.rule("6. Its receipt, verified offline")
    receipt_checked(answer["receipt"])
    _console.print()
    _console.rule("7. Everything verified again from the files")
    checked(answer["verification"])
    _console.print()
    _console.rule("What to try next")
    for line in answer["next"]:
        _console.print(f"  {line}", markup=False, soft_wrap=True)


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in codes.items())


def season(answer: Mapping[str, Any]) -> None:
    """What a replayed season came to."""
    seconds, sizes = answer["seconds"], answer["bytes"]
    _console.print(
        f"[bold]{answer['rows']:,} rows of {answer['days']} days in {seconds['total']:,.1f} s"
        f" ({answer['rows_per_s']:,} rows/s)[/bold]"
    )
    _pairs(
        [
            ("records", f"{answer['records']:,} in {answer['batches']} batches"),
            ("accounts", f"about {answer['accounts_about']:,}"),
            *((_UNITS[unit], tonnes(amount)) for unit, amount in answer["net"].items()),
            ("seconds", ", ".join(f"{step} {value:,.1f}" for step, value in seconds.items() if step != "total")),
            ("peak memory", f"{answer['peak_memory_mb']:,} MB"),
            *((f"{part} on disk", f"{size / 1e6:,.1f} MB") for part, size in sizes.items()),
        ]
    )
    table = _table("behaviour", "acts credited>", "net>")
    for row in answer["by_behaviour"]:
        table.add_row(row["behaviour"], f"{row['acts']:,}", tonnes(row["net_mg"]))
    _console.print()
    _console.print(table)
    for title, counts in (("outcome", answer["outcomes"]), ("refused because", answer["refused_by_code"])):
        table = _table(title, "rows>")
        for name, count in counts.items():
            table.add_row(name, f"{count:,}")
        _console.print()
        _console.print(table)


def log_status(answer: Mapping[str, Any]) -> None:
    """Where the published log stands, and each of its witnesses."""
    waiting = f"{answer['waiting']} booked and not published yet" if answer["waiting"] else None
    _pairs(
        [("log", answer["origin"]), ("size", answer["size"]), ("root", answer["root"]), ("waiting", waiting)],
        "Published log",
    )
    _console.print(f"[dim]public key[/dim] {answer['key']}", soft_wrap=True)
    witnessing = answer["witnessing"]
    if witnessing is None:
        _console.print("\nNo witnesses: [bold]tanzhang log policy set FILE[/bold] names them.")
        return
    met = "[green]met[/green]" if witnessing["met"] else "[red]not met[/red]"
    _console.print(f"\nquorum {printable(witnessing['quorum'])}: {met}; without it: {witnessing['when_unmet']}\n")
    table = _table("witness", "signed this", "last size>", "signed before>", "asked before>", "problem")
    for row in witnessing["witnesses"]:
        problem = "" if row["problem"] is None else f"{row['problem']['code']}: {row['problem']['message']}"
        table.add_row(
            Text(printable(row["name"])),
            "yes" if row["signed"] else "no",
            "-" if row["last_size"] is None else str(row["last_size"]),
            _ago(answer["now"], row["last_cosigned_at"]),
            _ago(answer["now"], row["asked_at"]),
            Text(printable(problem)),
        )
    _console.print(table)


def _ago(now: int, then: int | None) -> str:
    """Whole seconds, minutes, hours or days between two POSIX times.

    >>> _ago(100, 41), _ago(4_000, 100), _ago(200_000, 0), _ago(0, None)
    ('59 s', '65 min', '2 d', '-')
    """
    if then is None:
        return "-"
    seconds = max(now - then, 0)
    for size, unit in ((86_400 * 2, "d"), (3_600 * 2, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // {'d': 86_400, 'h': 3_600, 'min': 60}[unit]} {unit}"
    return f"{seconds} s"
