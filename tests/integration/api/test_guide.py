"""Guides: their commands are run against a real service, and their output is what they show."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
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
            if re.search("<<'?END'?", lines[0]):
                count = lines.index("END") + 1
            else:
                while lines[count : count + 1] and lines[count].startswith("    "):  # goes on, indented
                    count += 1
            found.append(("\n".join(lines[:count]), "\n".join(lines[count:])))
    return found


def answered(page: str, folder: Path, **variables: str) -> None:
    """Run the commands of a page in one shell in a folder; each has to answer as it shows, ``...`` is anything."""
    shown = commands((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert len(shown) >= 15
    marker = "--- end of command ---"
    script = "".join(f"{command}\necho; echo '{marker}'\n" for command, _ in shown)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "100", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            out, errors = shell.communicate(timeout=120)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    outputs = out.split(f"{marker}\n")
    assert len(outputs) == len(shown) + 1, errors
    for (command, expected), output in zip(shown, outputs, strict=False):
        pattern = ".*".join(re.escape(part) for part in expected.split("..."))
        assert re.fullmatch(pattern, output.strip(), re.DOTALL), f"{command}\n{output}\n{errors}"


def test_every_command_of_the_guide_answers_as_it_shows(quick: Path) -> None:
    home = new_home(quick / "home")
    key = issue_key(home, "amap", ["report"], now=datetime.now(UTC))["key"]
    with serving(home) as (address, _):
        answered("api.md", quick, TANZHANG=address, KEY=key)


def test_a_service_is_set_up_from_nothing_used_and_verified(quick: Path) -> None:
    """A partner is registered and reports, two platforms are linked, a person sees, copies, is erased."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"http://127.0.0.1:{port}"
    answered("service.md", quick, TANZHANG_HOME=str(quick / "city"), PORT=port, TANZHANG=address)
