"""A home is set up once, by its own command, and keeps its keys to itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import genesis
from tanzhang.stores.home import Home

from ...homes import CREATED, new_home


def test_the_same_seed_gives_the_same_keys_and_another_seed_or_none_others(tmp_path: Path) -> None:
    homes = [new_home(tmp_path / str(number), seed=seed) for number, seed in enumerate((b"a", b"a", b"b"))]
    unseeded = Home.create(tmp_path / "u", programme="beijing", origin="log.example/beijing", now=CREATED)
    assert homes[0].identity_key == homes[1].identity_key
    assert len({home.identity_key for home in (*homes, unseeded)}) == 3
    assert len({home.values["vkey"] for home in (*homes, unseeded)}) == 3
    assert homes[0].log.checkpoint_bytes() == homes[1].log.checkpoint_bytes()


def test_a_folder_with_anything_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TanzhangError, match="home-exists"):
        new_home(tmp_path)
    (tmp_path / "unfinished-init").touch()
    with pytest.raises(TanzhangError, match="home-exists"):
        new_home(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("name", "key"), [("identity.key", "identity_key"), ("log.key", "signer")])
@pytest.mark.parametrize("text", ["", "00", "zz", "é", "PRIVATE+KEY+x+00000000+AAAA"])
def test_a_key_file_with_anything_else_is_refused_by_name(tmp_path: Path, name: str, key: str, text: str) -> None:
    home = new_home(tmp_path / "home")
    (tmp_path / "home/keys" / name).write_text(text, encoding="utf-8")
    with pytest.raises(TanzhangError, match=f"key-changed: {name}"):
        getattr(home, key)
    (tmp_path / "home/keys" / name).unlink()
    with pytest.raises(TanzhangError, match=f"key-missing: .*{name}"):
        getattr(home, key)


def test_no_error_about_a_key_shows_it(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    file = tmp_path / "home/keys/log.key"
    secret = file.read_text()
    file.write_text(secret[:-3])
    with pytest.raises(TanzhangError) as caught:
        assert home.signer
    assert secret[-30:-4] not in str(caught.value)


def test_the_first_entry_of_the_log_says_what_was_set_up_and_names_no_folder(tmp_path: Path) -> None:
    home = new_home(tmp_path / "home")
    (entry,) = home.log.entries()
    assert entry == genesis(home.values).encode()
    assert str(tmp_path).encode() not in entry
    assert b'"programme":"beijing"' in entry
    assert home.identity_key.hex().encode() not in entry
