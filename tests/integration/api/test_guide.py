"""The guide for partners: its commands are run against a real service, and their output is what it shows."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from tanzhang.service.access import issue_key

from ...homes import new_home
from .conftest import serving

ROOT = Path(__file__).parents[3]


def commands(page: str) -> list[tuple[str, str]]:
    """Every command of the page with the output that is shown behind it."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            count = 1
            if "<<'END'" in lines[0]:
                count = lines.index("END") + 1
            else:
                while lines[count : count + 1] and lines[count].startswith("    "):  # goes on, indented
                    count += 1
            found.append(("\n".join(lines[:count]), "\n".join(lines[count:])))
    return found


def test_every_command_of_the_guide_answers_as_it_shows(quick: Path) -> None:
    home = new_home(quick / "home")
    key = issue_key(home, "amap", ["report"], now=datetime.now(UTC))["key"]
    shown = commands((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    assert len(shown) >= 15
    marker = "--- end of command ---"
    script = "".join(f"{command}\necho; echo '{marker}'\n" for command, _ in shown)
    with serving(home) as (address, _):
        ran = subprocess.run(
            ["bash", "-c", script],
            cwd=quick,
            env={**os.environ, "TANZHANG": address, "KEY": key},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    outputs = ran.stdout.split(f"{marker}\n")
    for (command, expected), output in zip(shown, outputs, strict=False):
        pattern = ".*".join(re.escape(part) for part in expected.split("..."))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), f"{command}\n{output}\n{ran.stderr}"
