"""The console snippets of the documents are true: every command runs, in order, and answers what is written there.

In a document ``$ `` begins a command (a backslash at its end goes on), ``...`` stands for any text, ``[exit 1]`` is
the exit code where it is not 0, and ``<!-- file: NAME -->`` before a block writes that block to a file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("docs/walkthrough.md", "README.md", "README.zh-CN.md", "CONTRIBUTING.md", "examples/operator/README.md")
_BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>[\w.-]+) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Step:
    """A command with the output that the document shows, or a file to write."""

    text: str
    shown: str = ""
    file: str | None = None


def steps_of(document: str) -> list[Step]:
    steps: list[Step] = []
    for block in _BLOCK.finditer((ROOT / document).read_text(encoding="utf-8")):
        if block["file"]:
            steps.append(Step(block["text"], file=block["file"]))
        elif block["kind"] == "console":
            for part in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                command, _, shown = part.replace("\\\n", " ").partition("\n")
                steps.append(Step(command, shown.strip()))
    return steps


def pattern_of(shown: str) -> str:
    """``...`` alone on its line is any lines, also none; inside a line any text."""
    lines = shown.replace("\n...\n", "\n\0").replace("\n...", "\0")
    lines = re.sub(r"^\.\.\.\n", "\0", lines)
    return re.escape(lines).replace("\0", ".*").replace(re.escape("..."), ".*")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_answers_what_it_shows(document: str, tmp_path: Path) -> None:
    for shared in ("examples", "catalogue"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    environment = {name: value for name, value in os.environ.items() if name != "TANZHANG_HOME"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONIOENCODING": "utf-8",
    }
    ran = 0
    for step in steps_of(document):
        if step.file:
            (tmp_path / step.file).write_text(step.text, encoding="utf-8")
            continue
        if exported := re.fullmatch(r"export (\w+)=(\S+)", step.text):
            environment[exported[1]] = exported[2]
            continue
        done = subprocess.run(
            ["bash", "-c", step.text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        ran += 1
        status = f"\n[exit {done.returncode}]" if done.returncode else ""
        answer = f"{done.stdout.strip()}{status}".strip()
        wanted = step.shown
        if not re.search(r"^\[exit \d+\]$", wanted, re.MULTILINE):
            assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
        if wanted:
            assert re.fullmatch(pattern_of(wanted), answer, re.DOTALL), f"$ {step.text}\n{answer}\n{done.stderr}"
    assert ran > 2, "the document shows no commands"


def test_the_walkthrough_shows_every_step_of_an_act() -> None:
    commands = " ".join(step.text for step in steps_of("docs/walkthrough.md"))
    for verb in ("quantify", "init", "intake", "settle", "account show", "receipt create", "receipt verify", "verify"):
        assert f"tanzhang {verb}" in commands
