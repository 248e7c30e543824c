"""The documents agree with the program: generated pages are fresh, commands exist, both languages say the same."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import typer

from tanzhang.cli import next_steps
from tanzhang.cli.main import app

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
assert _SPEC is not None
assert _SPEC.loader is not None
make_reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_reference)

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "examples" / "operator" / "README.md",
]


def commands() -> dict[str, set[str]]:
    """Every command by its words, with the options it takes."""
    found: dict[str, set[str]] = {}

    def collect(words: tuple[str, ...], command: object) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[" ".join(words)] = {option for part in command.params for option in part.opts}  # type: ignore[attr-defined]
            return
        for name, part in inner.items():
            collect((*words, name), part)

    collect((), typer.main.get_command(app))
    return found


@pytest.mark.parametrize("name", make_reference.PAGES)
def test_generated_page_is_what_the_program_gives_today(name: str) -> None:
    fresh = make_reference.PAGES[name]()
    committed = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert committed == fresh, "run: python scripts/make_reference.py"
    assert fresh.count("\n| ") > 40, "the page is empty"


def test_codes_are_found_in_every_way_they_are_written() -> None:
    raised = make_reference.codes_raised()
    # a call, a tuple of rules, a branch, SQL text, an objection of a mapping, a catalogue check
    for code in (
        "unknown-partner", "bad-time", "table-malformed", "not-a-cloudevent", "unpaired-exit", "factor-hole"
    ):  # fmt: skip
        assert code in raised


def test_every_command_that_a_document_names_exists_with_its_options() -> None:
    known, named, wrong = commands(), 0, []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"tanzhang ((?:[a-z]+ ?)[^`\n|]*)", text):
            words = line.split()
            command = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in known), None)
            if command is None:
                if re.match(r"^\s*(\$ )?tanzhang ", f"tanzhang {line}") and f"$ tanzhang {line}" in text:
                    wrong.append(f"{document.name}: tanzhang {line}")
                continue
            named += 1
            wrong += [
                f"{document.name}: {option} of tanzhang {command}"
                for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", f" {line}")
                if option not in known[command] and option != "--help"
            ]
    assert named > 40, "the test found nothing to look at"
    assert wrong == []


def remedies() -> list[str]:
    """What refusals say that can be done, as far as it stands in the code."""
    found = []
    for module in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            is_said = isinstance(node, ast.keyword) and node.arg == "remedy"
            is_named = isinstance(node, ast.Assign) and any(ast.unparse(each) == "remedy" for each in node.targets)
            if isinstance(node, ast.keyword | ast.Assign) and (is_said or is_named):
                texts = [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]
                found.append(" ".join(text for text in texts if isinstance(text, str)))
    return found


def test_every_command_that_a_refusal_names_exists() -> None:
    known = commands()
    named = {match for text in remedies() for match in re.findall(r"tanzhang ([a-z-]+)(?: ([a-z-]+))?", text)}
    begun = {tuple(command.split()[:2]) for command in known}
    wrong = {words for words in named if words[0] not in known and words not in begun}
    assert len(named) > 30, "the test found nothing to look at"
    assert wrong == set()


def test_every_command_that_follows_an_answer_of_the_market_exists_with_its_options() -> None:
    known = commands()
    values = [value for name, value in vars(next_steps).items() if name.isupper()]
    lines = [line for value in values for line in (value.values() if isinstance(value, dict) else [value])]
    assert len(lines) > 20
    for line in lines:
        words = line.split()[1:]
        command = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known)
        assert set(re.findall(r"(?<=\s)--[a-z-]+", line)) <= known[command], line


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for block in re.findall(r"```sh\n.*?```|`[^`\n]+`", document.read_text(encoding="utf-8"), re.DOTALL)
        for target in re.findall(r"^`?make ([a-z]+)", block, re.MULTILINE)
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_both_languages_of_the_readme_show_the_same_commands_links_and_figures() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))

    def blocks(text: str) -> list[str]:
        return list(re.findall(r"^```(?:console|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))

    def links(text: str) -> list[str]:
        return [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("README")]

    def figures(text: str) -> list[str]:
        rows = [line for line in text.splitlines() if line.startswith("|")]
        return sorted(re.findall(r"\d[\d,.]*\d|\d", "\n".join(rows)))

    assert [re.sub(r"#.*", "", block) for block in blocks(english)] == [
        re.sub(r"#.*", "", block) for block in blocks(chinese)
    ]
    assert sorted(links(english)) == sorted(links(chinese))
    assert figures(english) == figures(chinese)
    assert "README.zh-CN.md" in english
    assert "README.md" in chinese


def test_every_decision_says_what_it_decides_why_and_what_it_costs() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04d}" for number in range(1, len(decisions) + 1)]
    assert len(decisions) >= 10
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        for heading in ("## Decision", "## Why", "## Cost"):
            assert heading in text, f"{path.name}: {heading}"
        assert f"adr/{path.name}" in index, path.name


def test_the_index_of_documents_is_complete() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


def test_the_changelog_names_every_methodology() -> None:
    """Whoever reads it learns which acts are touched: every id and its first day."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    missing = []
    for path in sorted((ROOT / "catalogue" / "methodologies").rglob("v*.yaml")):
        if path.name.endswith(".cases.yaml"):
            continue
        text = path.read_text(encoding="utf-8")
        key = (
            f"{re.search(r'^id: (.+)$', text, re.MULTILINE)[1]}@{re.search(r'^version: (.+)$', text, re.MULTILINE)[1]}"  # type: ignore[index]
        )
        day = re.search(r"^valid: \{from: (\S+),", text, re.MULTILINE)[1]  # type: ignore[index]
        if not re.search(rf"`{re.escape(key)}`[^\n]*{day}", changelog):
            missing.append(f"{key} from {day}")
    assert missing == []
