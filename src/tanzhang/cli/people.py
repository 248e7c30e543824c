"""``tanzhang people``: what has to be done for signed-in persons from time to time."""

from __future__ import annotations

import typer

from tanzhang.cli.common import AsJson, HomeOption, answer, answering, home_of, now

people_app = typer.Typer(help="Erase whoever asked for it; keys of personal fields.")


@people_app.command(name="erase-due")
def people_erase_due(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Erase everybody who asked for it and has had time to think again; run it daily."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.privacy import erase_due

        answer(as_json, erase_due(home_of(home), now=now()), show.tree)


@people_app.command(name="rotate-key")
def people_rotate_key(home: HomeOption = None, as_json: AsJson = False) -> None:
    """Seal personal fields with a new key; the key before stays until the next time, older ones go."""
    with answering(as_json):
        from tanzhang.cli import show
        from tanzhang.service.privacy import rotate_keys

        answer(as_json, rotate_keys(home_of(home)), show.tree)
