"""What operators are given agrees with the program: settings, units of systemd, the container."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest

from .test_docs import commands

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").iterdir())
VARIABLE = re.compile(r"\b(?:TANZHANG|OTEL|PROMETHEUS|AWS)_[A-Z0-9_]*[A-Z0-9]\b")


def test_every_variable_that_the_program_reads_is_in_the_settings_and_no_other() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    read = {name for text in sources for name in VARIABLE.findall(text)}
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    table = text.split("## Variables")[1].split("\n## ")[0]
    listed = {
        name for line in table.splitlines() for name in VARIABLE.findall(line.split("|")[1] if "|" in line else "")
    }
    assert len(read) > 8
    assert listed == read


def started_by(unit: Path) -> list[list[str]]:
    return [
        shlex.split(line.partition("=")[2].lstrip("-"))
        for line in unit.read_text(encoding="utf-8").splitlines()
        if line.startswith("ExecStart=")
    ]


def assert_known(words: list[str]) -> None:
    """A command line of ours, without the program's name, is one that the program takes."""
    known = commands()
    command = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in known), None)
    assert command is not None, words
    options = {word for word in words if word.startswith("-")}
    assert options <= known[command], (command, options)


@pytest.mark.parametrize("unit", [each for each in UNITS if each.suffix == ".service"], ids=lambda path: path.name)
def test_every_unit_starts_a_command_that_exists_and_gives_it_no_more_than_it_needs(unit: Path) -> None:
    started = started_by(unit)
    assert started
    for program, *words in started:
        assert program == "/opt/tanzhang/bin/tanzhang"
        assert_known(words)
    lines = unit.read_text(encoding="utf-8").splitlines()
    for line in (
        "User=tanzhang",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
        "UMask=0077",
    ):
        assert line in lines, line


def test_every_timer_has_its_service() -> None:
    timers = [each for each in UNITS if each.suffix == ".timer"]
    assert timers
    for timer in timers:
        parsed = configparser.ConfigParser(strict=False)
        parsed.read(timer, encoding="utf-8")
        assert parsed["Timer"]["Persistent"] == "yes"
        assert timer.with_suffix(".service") in UNITS


def test_the_container_runs_a_command_that_exists_as_nobody_special() -> None:
    text = (ROOT / "packaging" / "container" / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    entry, words = (json.loads(re.search(rf"^{name} (.*)$", text, re.MULTILINE)[1]) for name in ("ENTRYPOINT", "CMD"))  # type: ignore[index]
    assert entry == ["tanzhang"]
    assert_known(words)
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split()), source
