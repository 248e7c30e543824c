"""Persons in whole homes: what an operator does for them, and what stays or comes back if it is killed."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tanzhang.cli.main import app
from tanzhang.core.errors import TanzhangError
from tanzhang.service.consents import ShownNames, show_name
from tanzhang.service.intake import intake
from tanzhang.service.joining import join
from tanzhang.service.privacy import ask_erasure, erase_due, looks, rotate_keys
from tanzhang.stores.home import PERSONAL_VARIABLE, Home
from tanzhang.stores.register.people import erase_again

from ..homes import (
    BOX_MG,
    account,
    as_attacker,
    assert_verified,
    box,
    new_home,
    on,
    problems,
    records,
    ride,
    settle_on,
    write,
)

ME, OTHER = uuid.UUID(int=7 << 100), uuid.UUID(int=9 << 100)


@pytest.fixture
def home(quick: Path) -> Home:
    opened = new_home(quick / "home")
    intake(opened, write(quick / "1.ndjson", [box("a"), box("o", "bo")]), now=on(6))
    settle_on(opened, 6)
    return opened


def own(home: Home) -> uuid.UUID:
    return account(home, "cainiao", "anna")


def run(home: Home, *arguments: str) -> dict[str, Any]:
    answer = CliRunner().invoke(app, [*arguments, "--home", str(home.folder), "--json"])
    assert answer.exit_code == 0, answer.output
    said: dict[str, Any] = json.loads(answer.output)
    return said


def test_reports_that_were_open_when_their_person_was_erased_are_erased_later(home: Home, quick: Path) -> None:
    join(home, own(home), ME, now=on(6))
    ask_erasure(home, str(ME), now=on(6))
    late = [ride("late", "anna", source="amap"), box("b", day=on(12).date())]
    intake(home, write(quick / "2.ndjson", late[1:]), now=on(13))
    first = erase_due(home, now=on(13))
    assert (first["status"], first["persons"], len(first["open"])) == ("erased", 1, 1)
    assert [row.account for row in home.people.rows(erase_again)] == [str(own(home))]
    assert erase_due(home, now=on(13))["status"] == "nothing"
    settle_on(home, 14)
    second = erase_due(home, now=on(15))
    assert (second["status"], second["records"], second["persons"]) == ("erased", 1, 0)
    assert home.people.rows(erase_again) == []
    assert str(own(home)) not in {str(row["account"]) for row in records(home).to_pylist()}
    assert_verified(home)


def test_an_erasing_that_died_after_the_records_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(home, own(home), ME, now=on(6))
    ask_erasure(home, str(ME), now=on(6))
    monkeypatch.setattr(type(home.people), "erased", _dies)
    with pytest.raises(KeyboardInterrupt):
        erase_due(home, now=on(14))
    monkeypatch.undo()
    assert home.people.rows(erase_again) != []
    assert erase_due(home, now=on(14))["status"] == "nothing"
    assert home.people.rows(erase_again) == []
    assert_verified(home)


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_whoever_became_part_of_another_account_is_not_erased_without_it(home: Home) -> None:
    ask_erasure(home, str(ME), now=on(6))
    join(home, own(home), ME, now=on(6))
    join(home, ME, OTHER, kind="merge", now=on(6))
    assert erase_due(home, now=on(20)) == {"status": "nothing", "persons": 0}
    assert home.book.balance(OTHER)["co2e_mg"] == BOX_MG


def test_a_rotation_that_died_loses_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    show_name(home, str(ME), "Panda", now=on(6))
    first = home.personal_keys.current
    monkeypatch.setattr(type(home.people), "seal_again", _dies)
    with pytest.raises(KeyboardInterrupt):
        rotate_keys(home)
    monkeypatch.undo()
    assert ShownNames(home).get(ME) == "Panda"
    rotate_keys(home)
    assert first not in home.personal_keys.keys
    assert ShownNames(home).get(ME) == "Panda"
    assert run(home, "people", "rotate-key")["sealed_again"] == 1
    assert_verified(home)


def test_keys_of_the_environment_open_and_are_not_rotated_by_the_home(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    show_name(home, str(ME), "Panda", now=on(6))
    text = home.personal_keys.to_text()
    (home.folder / "keys" / "personal.key").unlink()
    with pytest.raises(TanzhangError, match="key-missing"):
        ShownNames(home)
    with pytest.raises(TanzhangError, match="key-missing"):
        rotate_keys(home)  # never a new key where something is sealed with another
    monkeypatch.setenv(PERSONAL_VARIABLE, text.strip().replace("\n", ","))
    assert ShownNames(home).get(ME) == "Panda"
    with pytest.raises(TanzhangError, match="personal-key-in-environment"):
        rotate_keys(home)


def test_a_home_from_before_there_were_persons_gets_a_key(home: Home) -> None:
    (home.folder / "keys" / "personal.key").unlink()
    rotate_keys(home)
    show_name(home, str(ME), "Panda", now=on(6))
    assert ShownNames(home).get(ME) == "Panda"
    assert ((home.folder / "keys" / "personal.key").stat().st_mode & 0o777) == 0o600


def test_verification_finds_a_sealed_field_that_was_changed(home: Home) -> None:
    show_name(home, str(ME), "Panda", now=on(6))
    show_name(home, str(OTHER), "Crane", now=on(6))
    home.book.close()
    with as_attacker(home.folder) as con:
        con.execute("UPDATE person SET display_name = (SELECT max(display_name) FROM person)")
    assert [each["code"] for each in problems(Home(home.folder))] == ["personal-field-changed"]


def test_the_operator_joins_and_parts_accounts_and_leaves_a_trace_where_there_is_a_person(home: Home) -> None:
    made = run(home, "account", "join", "cainiao:anna", "--to", str(ME), "--from", "2025-06-06")
    run(home, "account", "show", "cainiao:anna")
    assert looks(home, str(ME))["items"] == []  # nobody who could read it
    show_name(home, str(ME), "Panda", now=on(6))
    run(home, "account", "show", "cainiao:anna")
    run(home, "account", "export", str(ME), "--out", str(home.folder.parent / "me.zip"))
    found = looks(home, str(ME))["items"]
    assert [(each["role"], each["what"]) for each in found] == [
        ("operator", "account export"),
        ("operator", "account show"),
    ]
    assert run(home, "account", "part", made["id"])["status"] == "parted"
    assert home.book.balance(own(home))["co2e_mg"] == BOX_MG
    assert run(home, "people", "erase-due")["status"] == "nothing"
