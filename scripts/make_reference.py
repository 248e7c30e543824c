"""Write docs/reference/commands.md and docs/reference/codes.md from the program itself.

``python scripts/make_reference.py`` writes both; ``make check`` compares the committed files with a fresh run. A code
that is raised and not explained in docs/reference/codes.yaml, or explained and not raised, is an error here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "tanzhang"

_CODE = re.compile(r"[a-z]+(-[a-z0-9]+)+")
_IN_SQL = re.compile(r"THEN '([a-z]+(?:-[a-z]+)+)'")
_OTHERS = {"add-log", "utf-8", "utf-8-sig", "unfinished-init", "record-file", "report-file"}
_OTHERS |= {"eddsa-jcs-2022", "google-noto-cjk"}
_OTHERS |= {"content-digest", "latin-1", "if-match", "if-none-match", "user-agent", "x-forwarded-for"}
_NAMING = {"command", "add_typer", "callback"}  # calls whose first argument names a command
_SKIPPED = {"service/demo.py", "stores/files.py"}  # invented references; names of steps of writing
# Codes that are put together from parts, or have no hyphen to be known by.
_ALSO = {
    "account-malformed": "service/accounts.py",
    "action-malformed": "service/accounts.py",
    "overloaded": "service/reception.py",
    "record-file-changed": "service/verify.py",
    "record-file-missing": "service/verify.py",
    "report-file-changed": "service/verify.py",
    "report-file-missing": "service/verify.py",
    "unbalanced": "stores/book/book.py service/verify.py",
}
_MADE = "<!-- Written by scripts/make_reference.py; do not edit. -->\n"


def codes_raised() -> dict[str, set[str]]:
    """Code -> files of the package that raise it."""
    found = {code: set(files.split()) for code, files in _ALSO.items()}
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE).as_posix()
        if relative in _SKIPPED:
            continue
        for code in _codes_of(ast.parse(path.read_text(encoding="utf-8"))):
            if code not in _OTHERS:
                found.setdefault(code, set()).add(relative)
    return found


def _codes_of(tree: ast.Module) -> Iterator[str]:
    """Texts spelled like a code where codes stand: early arguments, heads of tuples, ``code=``, branches, SQL."""
    for node in ast.walk(tree):
        candidates: list[ast.expr] = []
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _NAMING:
                continue
            candidates = [*node.args[:2], *(word.value for word in node.keywords if word.arg == "code")]
        elif isinstance(node, ast.Tuple):
            candidates = node.elts[:2]
        elif isinstance(node, ast.IfExp):
            candidates = [node.body, node.orelse]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _IN_SQL.findall(node.value)
        for each in candidates:
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and _CODE.fullmatch(each.value):
                yield each.value


def codes_of_data() -> dict[str, set[str]]:
    """Code -> guard of a methodology or filter of a mapping: codes that are data, with what they say."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "catalogue" / "methodologies").rglob("v*.yaml")):
        if not path.name.endswith(".cases.yaml"):
            for guard in yaml.safe_load(path.read_text(encoding="utf-8")).get("guards", []):
                found.setdefault(guard["code"], set()).add(guard["says"])
    for path in sorted((ROOT / "examples" / "mappings").glob("*.yaml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8")).get("filters", []):
            if "refuse" in entry:
                found.setdefault(entry["refuse"]["code"], set()).add(entry["refuse"]["message"])
    return found


def codes_page() -> str:
    """docs/reference/codes.md; ValueError where code and explanation do not meet."""
    sections: dict[str, dict[str, str]] = yaml.safe_load((REFERENCE / "codes.yaml").read_text(encoding="utf-8"))
    raised = codes_raised()
    explained = [code for codes in sections.values() for code in codes]
    problems = [
        f"{code} is raised by {', '.join(sorted(raised[code]))}" for code in sorted(raised.keys() - {*explained})
    ]
    problems += [f"{code} is explained, but nothing raises it" for code in explained if code not in raised]
    problems += [f"{code} is explained twice" for code in sorted({c for c in explained if explained.count(c) > 1})]
    if problems:
        raise ValueError("docs/reference/codes.yaml: " + "; ".join(problems))
    lines = [
        _MADE,
        "# Codes\n",
        "Every refusal has a stable code, says what is wrong and where, and what to do next. With `--json` these are",
        "the members `code`, `message`, `where` and `remedy`; each row of a submission has its line in the verdict",
        "file.\n",
    ]
    for section, codes in sections.items():
        lines += [f"## {section}\n", "| code | meaning | raised in |", "|---|---|---|"]
        for code in sorted(codes):
            places = ", ".join(f"[{file}](../../src/tanzhang/{file})" for file in sorted(raised[code]))
            lines.append(f"| `{code}` | {codes[code]} | {places} |")
        lines.append("")
    lines += [
        "## Written in data\n",
        "Guards of methodologies and filters of mappings bring codes of their own. Those shipped are:\n",
        "| code | says |",
        "|---|---|",
        *(f"| `{code}` | {'; '.join(sorted(says))} |" for code, says in sorted(codes_of_data().items())),
    ]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """docs/reference/commands.md from the command line's own declarations."""
    import typer

    from tanzhang.cli.main import app

    lines = [
        _MADE,
        "# Commands\n",
        "Every command ends with 0, or with 1 and a coded message; `--json` gives the same answer as JSON. Amounts in",
        "JSON are text, so that no reader rounds them. `TANZHANG_HOME` names the home where `--home` is left out.",
        "`TANZHANG_BOOK` is the address of a [book on PostgreSQL](../postgresql.md) with the password that the home",
        "does not keep.\n",
    ]
    for words, command in _commands(("tanzhang",), typer.main.get_command(app)):
        lines += [f"## {' '.join(words)}\n", f"{_one_line(command.help)}\n"]
        arguments = [part for part in command.params if part.param_type_name == "argument"]
        usage = " ".join([*words, *(_argument(part) for part in arguments), "[options]"])
        lines += [f"```text\n{usage}\n```\n", "| option | meaning |", "|---|---|"]
        lines += [f"| `{_argument(part)}` | {_one_line(getattr(part, 'help', None))} |" for part in arguments]
        for part in command.params:
            if part.param_type_name == "option" and part.name != "help":
                lines.append(f"| `{_spelled(part)}` | {_one_line(part.help)}{_extra(part)} |")
        lines.append("")
    return "\n".join(lines)


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, inner in command.commands.items():
        yield from _commands((*words, name), inner)


def _argument(part: Any) -> str:
    return str(part.metavar or max(part.opts, key=len).strip("-").replace("-", "_").upper())


def _spelled(part: Any) -> str:
    spelling = ", ".join(sorted(part.opts, key=len))
    return spelling if part.is_flag else f"{spelling} {_argument(part)}"


def _extra(part: Any) -> str:
    notes = []
    if part.required:
        notes.append("required")
    if part.multiple:
        notes.append("may be repeated")
    if not part.is_flag and part.default not in (None, (), []):
        notes.append(f"default {part.default}")
    if part.envvar:
        notes.append(f"or `{part.envvar}`")
    return f" ({'; '.join(notes)})" if notes else ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


PAGES = {"commands.md": commands_page, "codes.md": codes_page}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
