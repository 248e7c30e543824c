"""The folder of a server's counters goes with the server, and what a killed one left goes with the next."""

from __future__ import annotations

import os
from pathlib import Path

from tanzhang.cli.counters import counters

LONG_AGO = 1_700_000_000


def test_the_folder_is_gone_at_the_end_and_a_second_server_has_its_own(tmp_path: Path) -> None:
    with counters(tmp_path) as one, counters(tmp_path) as other:
        assert one != other
        assert {Path(one), Path(other)} == set(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_server_left_is_removed_and_nothing_of_one_that_lives(tmp_path: Path) -> None:
    left, new = tmp_path / "tanzhang-metrics-left", tmp_path / "tanzhang-metrics-new"
    for folder in (left, new, tmp_path / "of somebody else"):
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"1")
    with counters(tmp_path) as lives:
        for folder in (left, Path(lives)):
            os.utime(folder, (LONG_AGO, LONG_AGO))
        with counters(tmp_path):
            assert not left.exists()
            assert Path(lives).is_dir()
            assert (new / "counter_1.db").exists()
    assert {each.name for each in tmp_path.iterdir()} == {"tanzhang-metrics-new", "of somebody else"}


def test_where_there_is_no_file_system_in_memory_the_folder_is_a_temporary_one(tmp_path: Path) -> None:
    with counters(tmp_path / "missing") as folder:
        assert Path(folder).is_dir()
    assert not Path(folder).exists()
