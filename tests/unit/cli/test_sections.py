"""The list of commands."""

from __future__ import annotations

from typer.main import get_command

from tanzhang.cli.main import app
from tanzhang.cli.sections import SECTIONS


def test_every_command_stands_in_one_section_and_no_section_names_another() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(get_command(app).commands)  # type: ignore[attr-defined]
