"""The command line keeps its contract: JSON for programs, words for people, 0 or 1, and never a traceback."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tanzhang.cli import main
from tanzhang.stores.book import submission
from tanzhang.stores.home import Home

from ...homes import box, new_home, on, power, ride, settle_on, withdrawal, write

TANZHANG = [sys.executable, "-m", "tanzhang"]


class Answer:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, exactly as the entry point does."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("TANZHANG_HOME", raising=False)

    def command(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tanzhang", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        return Answer(int(str(ended.value.code)), *capsys.readouterr())

    return command


@pytest.fixture(scope="module")
def settled(in_memory: Path) -> Iterator[Path]:
    """A home with one batch and one open ride."""
    folder = in_memory / "cli"
    folder.mkdir()
    home = new_home(folder / "home")
    events = [box("b1"), box("b2", "bo"), power("p1"), ride("r1"), withdrawal(box("b2", "bo"), "undo"), "not JSON"]
    from tanzhang.service.intake import intake

    intake(home, write(folder / "a.ndjson", events), now=on(6))
    settle_on(home, 7)
    home.book._engine.dispose()
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def home(settled: Path, quick: Path) -> Path:
    return Path(shutil.copytree(settled, quick / "home"))


def refused(answer: Answer, code: str) -> None:
    """A coded message with where and fix on the error stream, nothing on the other, exit code 1."""
    assert answer.code == 1
    assert answer.out == ""
    first, *rest = answer.err.splitlines()
    assert first.startswith(f"{code}: "), answer.err
    assert len(first) > len(code) + 5
    assert rest[0].startswith("  where  ")
    assert rest[1].startswith("  fix    ")


# -- the contract, command by command ---------------------------------------------------------------------------


def test_init_makes_a_home_and_a_second_init_is_refused(run: Run, tmp_path: Path) -> None:
    answer = run("init", "--home", tmp_path / "h", "--programme", "beijing", "--json")
    assert (answer.code, answer.json["status"], answer.json["programme"]) == (0, "created", "beijing")
    assert answer.json["vkey"] == (tmp_path / "h/keys/log.vkey").read_text().strip()
    assert Home(tmp_path / "h").log.size == 1
    refused(run("init", "--home", tmp_path / "h", "--programme", "beijing"), "home-exists")


def test_init_in_words_shows_the_public_key_unbroken(run: Run, tmp_path: Path) -> None:
    answer = run("init", "--home", tmp_path / "h", "--programme", "beijing", "--origin", "log.example/a-long-name")
    assert answer.code == 0
    assert (tmp_path / "h/keys/log.vkey").read_text().strip() in answer.out


def test_two_homes_never_share_a_key(run: Run, tmp_path: Path) -> None:
    for name in "ab":
        assert run("init", "--home", tmp_path / name, "--programme", "beijing").code == 0
    for key in ("identity.key", "log.key"):
        assert (tmp_path / "a/keys" / key).read_text() != (tmp_path / "b/keys" / key).read_text()


def test_secrets_and_personal_files_are_for_the_owner_only(run: Run, tmp_path: Path) -> None:
    run("init", "--home", tmp_path / "h", "--programme", "beijing")
    modes = {name: (tmp_path / "h" / name).stat().st_mode & 0o777 for name in ("keys", "records", "reports")}
    assert modes == {"keys": 0o700, "records": 0o700, "reports": 0o700}
    files = ("keys/identity.key", "keys/log.key", "book.sqlite")
    assert {(tmp_path / "h" / name).stat().st_mode & 0o777 for name in files} == {0o600}


def test_quantify_answers_with_amount_methodology_digest_factors_and_steps(run: Run) -> None:
    arguments = (
        "quantify",
        "travel.metro",
        "--region",
        "CN-440300",
        "--on",
        "2022-09-01",
        "--input",
        "distance_m=7350",
    )
    answer = run(*arguments, "--json").json
    assert (answer["status"], answer["reduction_mg"]) == ("quantified", "343245")
    assert answer["methodology"] == "shenzhen.travel.metro@1"
    assert len(answer["digest"]) == 64
    assert answer["factors"][0]["published"] == "46.7 g_CO2/km"
    assert answer["steps"][-1].endswith("343245 mg")
    words = run(*arguments).out
    assert "reduction 343.245 g CO2 (343,245 mg)" in words
    assert answer["digest"] in words


def test_quantify_takes_a_variant_and_an_emission_says_so(run: Run) -> None:
    bus = run(
        *("quantify", "travel.bus", "--region", "CN-440300", "--on", "2022-09-01", "--input", "distance_m=7350"),
        *("--variant", "battery_bus", "--json"),
    )
    assert (bus.code, bus.json["reduction_mg"]) == (0, "197715")
    power_used = run(
        *("quantify", "footprint.electricity", "--region", "CN-110000", "--on", "2025-06-05"),
        *("--input", "energy_wh=10000", "--json"),
    )
    assert "reduction_mg" not in power_used.json
    assert power_used.json["emission_mg"] == "5580000"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--on", "2012-01-01", "--input", "distance_m=7350"), "methodology-not-in-force"),
        (("--on", "2022-09-01"), "missing-input"),
        (("--on", "2022-09-01", "--input", "distance_m=0"), "out-of-range"),
        (("--on", "2022-09-01", "--input", "distance_m=7.5"), "not-a-whole-number"),
        (("--on", "2022-09-01", "--input", "distance_m=" + "9" * 5000), "not-a-whole-number"),
        (("--on", "2022-09-01", "--input", "distance_m=1", "--input", "distance_m=2"), "input-twice"),
        (("--on", "2022-02-30", "--input", "distance_m=7350"), "day-malformed"),
        (("--on", "20220901", "--input", "distance_m=7350"), "day-malformed"),
        (("--on", "today", "--input", "distance_m=7350"), "day-malformed"),
    ],
)
def test_quantify_refuses_with_a_code_where_and_remedy(run: Run, arguments: tuple[str, ...], code: str) -> None:
    full = ("quantify", "travel.metro", "--region", "CN-440300", *arguments)
    answer = run(*full, "--json")
    assert (answer.code, answer.json["status"], answer.json["code"]) == (1, "refused", code)
    assert {"message", "where", "remedy"} <= answer.json.keys()
    refused(run(*full), code)


@pytest.mark.parametrize("region", ["Shenzhen", "CN-44", "CN-440300 ", "cn-440300", ""])
def test_a_region_spelled_otherwise_is_refused(run: Run, region: str) -> None:
    arguments = ("quantify", "travel.metro", "--region", region, "--on", "2022-09-01", "--input", "distance_m=7350")
    refused(run(*arguments), "region-malformed")


def test_catalogue_commands_answer_in_both_forms(run: Run) -> None:
    for arguments in (
        ("list",),
        ("show", "travel.metro"),
        ("show", "shenzhen.travel.metro"),
        ("resolve", "travel.shenzhen_metro_saving", "--on", "2022-09-01", "--region", "CN-440300"),
    ):
        answer = run("catalogue", *arguments, "--json")
        assert answer.code == 0
        assert answer.json
        words = run("catalogue", *arguments)
        assert (words.code, words.err) == (0, "")
    refused(run("catalogue", "show", "no.such.thing"), run("catalogue", "show", "no.such.thing", "--json").json["code"])


def test_catalogue_check_lists_every_problem_of_an_overlay_and_ends_with_one(run: Run, tmp_path: Path) -> None:
    overlay = tmp_path / "own"
    (overlay / "programmes").mkdir(parents=True)
    (overlay / "programmes/broken.yaml").write_text("id: broken\n", encoding="utf-8")
    answer = run("catalogue", "check", "--catalogue", overlay, "--json")
    assert answer.code == 1
    assert any("broken.yaml" in problem["where"] for problem in answer.json.get("problems", []))


def test_intake_answers_with_counts_and_where_the_verdicts_are(run: Run, home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "b.ndjson", [box("b7"), ride("r7", distance_m=-1), "not JSON"])
    answer = run("intake", file, "--home", home, "--json")
    assert answer.code == 0
    assert (answer.json["rows"], answer.json["accepted"], answer.json["refused"]) == (3, 1, 2)
    assert Path(answer.json["verdicts"]).is_file()
    words = run("intake", file, "--home", home)
    assert "3 rows: 1 accepted, 2 refused" in words.out
    assert str(answer.json["verdicts"]) in words.out
    assert "fix" in words.out


def test_what_a_partner_wrote_can_neither_steer_the_terminal_nor_vanish_as_markup(
    run: Run, home: Path, tmp_path: Path
) -> None:
    odd = {**box("b7"), "id": "[red]\x1b]0;title\x07[/red]", "source": "\x1b[2Jnobody [bold]"}
    answer = run("intake", write(tmp_path / "[dim]b.ndjson", [odd]), "--home", home)
    assert "\x1b" not in answer.out
    assert "[red]\ufffd]0;title\ufffd[/red]" in answer.out
    assert "nobody [bold]" in answer.out
    bad = run("account", "show", "\x1b[2J", "--home", home)
    refused(bad, "account-malformed")
    assert "\x1b" not in bad.err


def test_intake_can_say_what_would_become_of_each_row_and_keep_nothing(run: Run, home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "b.ndjson", [box("b1"), "not JSON"])
    would = run("intake", file, "--home", home, "--dry-run", "--json").json
    assert (would["submission"], would["verdicts"]) == (None, None)
    assert "nothing is kept" in run("intake", file, "--home", home, "--dry-run").out
    done = run("intake", file, "--home", home, "--json").json
    assert {**would, "submission": done["submission"], "verdicts": done["verdicts"]} == done


def test_intake_of_a_file_of_which_nothing_is_accepted_ends_with_one(run: Run, home: Path, tmp_path: Path) -> None:
    answer = run("intake", write(tmp_path / "b.ndjson", ["not JSON"]), "--home", home, "--json")
    assert (answer.code, answer.json["accepted"]) == (1, 0)


def test_intake_with_a_mapping_and_a_partner(run: Run, home: Path, tmp_path: Path) -> None:
    refused(
        run("intake", write(tmp_path / "b.ndjson", [box("b9")]), "--partner", "no", "--home", home), "unknown-partner"
    )
    assert run("intake", tmp_path / "b.ndjson", "--partner", "cainiao", "--home", home).code == 0
    missing = run("intake", tmp_path / "b.ndjson", "--map", tmp_path / "no.yaml", "--home", home)
    assert missing.code == 1
    refused(run("intake", tmp_path / "b.ndjson", "--table", "x", "--home", home), "table-malformed")


def test_settle_says_what_was_decided_and_when_there_is_nothing(run: Run, home: Path) -> None:
    answer = run("settle", "--home", home, "--json")
    assert (answer.code, answer.json["batch"], answer.json["outcomes"]) == (0, 1, {"granted": "1"})
    assert answer.json["granted"] == {"co2e_mg": "720000"}
    assert "Nothing to settle through" in run("settle", "--home", home).out
    refused(run("settle", "--through", "2025-13-01", "--home", home), "day-malformed")
    refused(run("settle", "--through", "9999-01-01", "--home", home), "day-not-over")
    assert run("settle", "--through", "2025-06-05", "--home", home, "--json").json["batch"] is None


def test_accounts_are_listed_shown_and_linked(run: Run, home: Path) -> None:
    rows = run("account", "list", "--home", home, "--json").json
    assert [row["reduction_mg"] for row in rows["shown"]] == ["37000", "0", "0"]  # bo has nothing: it was withdrawn
    assert [row["provisional_reduction_mg"] for row in rows["shown"]] == ["0", "720000", "0"]
    assert [row["footprint_mg"] for row in rows["shown"]] == ["0", "0", "5580000"]
    assert len(run("account", "list", "--limit", 1, "--home", home, "--json").json["shown"]) == 1
    shown = run("account", "show", "cainiao:anna", "--home", home, "--json").json
    assert shown["confirmed"]["reduction_mg"] == "37000"
    by_id = run("account", "show", shown["account"], "--home", home, "--json").json
    assert by_id == shown
    linked = run(
        "account", "link", "cainiao:anna", "--to", "amap:anna", "--from", "2025-06-01", "--home", home, "--json"
    )
    assert (linked.code, linked.json["status"], linked.json["until"]) == (0, "linked", None)
    again = ("account", "link", "cainiao:anna", "--to", "amap:anna", "--from", "2025-06-02", "--home", home)
    refused(run(*again), "link-overlaps")
    refused(run("account", "show", "cainiao:nobody", "--home", home), "unknown-account")
    refused(run("account", "show", "nonsense", "--home", home), "account-malformed")
    refused(run("account", "list", "--limit", 0, "--home", home), "usage")


def test_words_about_an_account_lose_no_id_and_no_amount_in_80_columns(run: Run, home: Path) -> None:
    answer = run("account", "show", "cainiao:bo", "--home", home, "--json").json
    words = run("account", "show", "cainiao:bo", "--home", home).out
    assert all(len(line.rstrip()) <= 80 for line in words.splitlines())
    for record in answer["latest"]:
        assert record["action_id"] in words
        assert record["related"] is None or record["related"] in words
    assert "withdrawn" in words


def test_receipts_are_created_and_verified(run: Run, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "box.receipt"
    made = run("receipt", "create", "cainiao:b1", "-o", file, "--home", home, "--json")
    assert (made.code, made.json["status"], made.json["bytes"]) == (0, "created", file.stat().st_size)
    for key in (made.json["key"], home / "keys/log.vkey"):
        answer = run("receipt", "verify", file, "--key", key, "--json")
        assert (answer.code, answer.json["status"], answer.json["granted_mg"]) == (0, "verified", "37000")
    words = run("receipt", "verify", file, "--key", made.json["key"]).out
    assert "verified" in words
    assert words.count("  ok ") == 3
    data = bytearray(file.read_bytes())
    data[300] ^= 1
    file.write_bytes(data)
    assert run("receipt", "verify", file, "--key", made.json["key"], "--json").json["status"] == "error"
    refused(run("receipt", "create", "amap:r1", "-o", file, "--home", home), "not-settled")
    refused(run("receipt", "create", "amap:nothing", "-o", file, "--home", home), "unknown-action")
    refused(run("receipt", "create", "cainiao:b1", "-o", tmp_path / "no/such/folder", "--home", home), "file-system")


@pytest.mark.parametrize("key", ["", "abc", "a+b+c", "log.example/beijing+00000000+AAAA", "/", "x" * 5000])
def test_a_key_that_is_none_is_refused(run: Run, home: Path, tmp_path: Path, key: str) -> None:
    run("receipt", "create", "cainiao:b1", "-o", tmp_path / "r", "--home", home)
    answer = run("receipt", "verify", tmp_path / "r", "--key", key, "--json")
    assert answer.code == 1
    assert answer.json["code"] in ("vkey-invalid", "file-system")


def test_verify_lists_its_checks_and_fails_with_one_naming_the_file(run: Run, home: Path) -> None:
    good = run("verify", "--home", home, "--json")
    assert (good.code, good.json["status"], len(good.json["checks"])) == (0, "verified", 36)
    assert "verified: everything holds" in run("verify", "--home", home).out
    (home / "records/00000000/subtrees.bin").write_bytes(b"x" * 32)
    bad = run("verify", "--home", home)
    assert bad.code == 1
    assert "records/00000000/subtrees.bin" in bad.out
    assert run("verify", "--home", home, "--json").json["status"] == "failed"


def test_demo_shows_everything_and_verifies(run: Run, tmp_path: Path) -> None:
    words = run("demo", "--home", tmp_path / "demo", "--people", 40)
    assert words.code == 0
    assert "verified: everything holds" in words.out
    assert "simulated" in words.out.lower()
    next_steps = words.out.index("What to try next")
    assert all(len(line.rstrip()) <= 80 for line in words.out[:next_steps].splitlines())
    again = run("demo", "--home", tmp_path / "again", "--people", 40, "--json").json
    assert again["settlement"]["root"] in words.out
    for line in again["next"][1:]:
        step = line.split("#")[0].replace("box.receipt", str(tmp_path / "box.receipt")).split()[1:]
        scope = () if step[0] in ("quantify", "catalogue") or "verify" in step[1:] else ("--home", tmp_path / "again")
        assert run(*step, *scope).code == 0, line


# -- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("settle", "--nope"),
        ("quantify",),
        ("quantify", "travel.metro"),
        ("catalogue",),
        ("receipt", "create"),
        ("account", "list", "--limit", "many"),
        ("demo", "--people", "1"),
        ("settle", "extra", "words"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_a_usage_error_and_ends_with_one(
    run: Run, arguments: tuple[str, ...]
) -> None:
    answer = run(*arguments)
    refused(answer, "usage")
    assert "--help'" in answer.err
    as_json = run(*arguments, "--json")
    assert (as_json.code, as_json.json["status"], as_json.json["code"]) == (1, "error", "usage")


def test_backups_are_listed_and_a_folder_is_named_once(run: Run, home: Path, quick: Path) -> None:
    made = run("backup", "--to", quick / "backups", "--home", home, "--json").json
    (listed,) = run("backup", "--list", quick / "backups", "--json").json["backups"]
    assert (listed["backup"], listed["files"], listed["programme"]) == (made["backup"], made["files"], "beijing")
    assert made["backup"] in run("backup", "--list", quick / "backups").out
    assert run("backup", "--list", quick / "nowhere", "--json").json["backups"] == []
    refused(run("backup", "--home", home), "backup-unnamed")
    refused(run("backup", "--home", home, "--to", quick / "a", "--list", quick / "backups"), "backup-unnamed")


def test_the_trail_and_looks_of_staff_are_read_page_by_page(run: Run, home: Path) -> None:
    for name in ("ann", "ben", "cy"):
        assert run("staff", "add", name, "--role", "auditor", "--home", home).code == 0
    assert run("key", "issue", "cainiao", "--scope", "report", "--home", home).code == 0
    first = run("audit", "--most", "3", "--home", home, "--json").json
    assert [each["act"] for each in first["items"]] == ["key issued", "staff invited", "staff invited"]
    rest = run("audit", "--before", first["next"], "--home", home, "--json").json
    assert ([each["subject"] for each in rest["items"]], rest["next"]) == (["staff ann"], None)
    keys = run("audit", "--kind", "key", "--home", home)
    assert "key issued: key " in keys.out
    assert len(keys.out.splitlines()) == 1
    assert run("audit", "--actor", "nobody", "--home", home, "--json").json["items"] == []
    assert run("audit", "--to", "2025-06-01", "--home", home, "--json").json["items"] == []
    assert len(run("audit", "--from", "2025-06-01", "--home", home, "--json").json["items"]) == 4
    assert run("audit", "--looks", "--home", home, "--json").json == {"items": [], "next": None}
    refused(run("audit", "--from", "June", "--home", home), "day-malformed")


def test_help_is_shown_without_a_command_and_on_request(run: Run) -> None:
    for arguments in ((), ("--help",), ("settle", "--help"), ("catalogue", "resolve", "--help")):
        answer = run(*arguments)
        assert answer.code == 0
        assert answer.out.startswith("Usage: tanzhang")
        assert answer.err == ""
    listed = run().out
    assert "..." not in listed.split("Begin:")[1]  # no summary is cut off


WITH_HOME = [
    ("intake", "FILE"),
    ("settle",),
    ("account", "list"),
    ("account", "show", "amap:anna"),
    ("account", "link", "a:b", "--to", "c:d", "--from", "2025-01-01"),
    ("receipt", "create", "amap:r1", "-o", "OUT"),
    ("verify",),
]


@pytest.mark.parametrize("arguments", WITH_HOME, ids=" ".join)
def test_a_home_that_is_none_is_said_so_by_every_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    file = write(tmp_path / "f.ndjson", [box("b1")])
    full = [str(file) if each == "FILE" else str(tmp_path / "out") if each == "OUT" else each for each in arguments]
    refused(run(*full), "home-unnamed")
    refused(run(*full, "--home", tmp_path / "nothing"), "home-missing")
    refused(run(*full, "--home", file), "home-missing")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/book.sqlite").write_bytes(b"this is no database, however long it may be" * 100)
    refused(run(*full, "--home", tmp_path / "damaged"), "book-unusable")
    (tmp_path / "damaged/book.sqlite").write_bytes(b"")
    refused(run(*full, "--home", tmp_path / "damaged"), "book-unusable")
    monkeypatch.setenv("TANZHANG_HOME", str(tmp_path / "from environment"))
    assert "from environment" in run(*full).err
    answer = run(*full, "--json")
    assert (answer.code, answer.json["code"], answer.err) == (1, "home-missing", "")


def test_a_folder_that_cannot_be_written_is_said_so(run: Run, home: Path, tmp_path: Path) -> None:
    refused(run("init", "--home", "/proc/tanzhang", "--programme", "beijing"), "file-system")
    file = tmp_path / "file"
    file.write_text("x")
    refused(run("init", "--home", file, "--programme", "beijing"), "home-exists")
    refused(run("init", "--home", file / "below", "--programme", "beijing"), "file-system")
    refused(run("init", "--home", tmp_path / "h", "--programme", "nowhere"), "unknown-programme")
    refused(run("init", "--home", tmp_path / "h", "--programme", "beijing", "--origin", "a b"), "origin-malformed")
    assert not (tmp_path / "h").exists()


def test_a_full_disk_is_said_so_and_nothing_lands(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tanzhang.stores import files

    def full(point: str, path: Path) -> None:
        if point == "before write":
            raise OSError(28, "No space left on device", str(path))

    file = write(tmp_path / "b.ndjson", [box("b7")])
    with monkeypatch.context() as patch:
        patch.setattr(files, "on_write", full)
        answer = run("intake", file, "--home", home)
        refused(answer, "file-system")
        assert "No space left on device" in answer.err
        refused(run("settle", "--home", home), "file-system")
    assert run("verify", "--home", home).code == 0


def test_a_bug_is_a_coded_message_too(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("tanzhang.service.settle.settle", broken)
    answer = run("settle", "--home", home)
    refused(answer, "internal-error")
    assert "RuntimeError: first line\n" in answer.err
    assert "test_commands.py, line" in answer.err
    assert run("settle", "--home", home, "--json").json["code"] == "internal-error"


def test_a_file_that_is_not_there_or_cannot_be_read_is_said_so(run: Run, home: Path, tmp_path: Path) -> None:
    refused(run("intake", tmp_path / "no.csv", "--home", home), "file-missing")
    refused(run("intake", tmp_path, "--home", home), "file-missing")
    (tmp_path / "a.txt").write_text("x")
    refused(run("intake", tmp_path / "a.txt", "--home", home), "format-unknown")
    refused(run("receipt", "verify", tmp_path / "none", "--key", home / "keys/log.vkey"), "file-system")
    refused(run("receipt", "verify", tmp_path, "--key", home / "keys/log.vkey"), "file-system")


def test_while_a_home_is_settled_it_takes_reports_and_links_and_can_be_read(
    run: Run, home: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "b.ndjson", [box("b7")])
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        link = ("account", "link", "a:b", "--to", "c:d", "--from", "2025-01-01")
        refused(run("settle", "--home", home), "home-busy")
        for arguments in (
            ("intake", file),
            link,
            ("account", "list"),
            ("verify",),
            ("receipt", "create", "cainiao:b1", "-o", tmp_path / "r"),
        ):
            assert run(*arguments, "--home", home).code == 0
    assert run("settle", "--home", home).code == 0


# -- the process itself -----------------------------------------------------------------------------------------

INTERRUPTED_AT = """
import os, signal, sys
from tanzhang.cli.main import run
from tanzhang.stores import files
point = sys.argv.pop(1)
files.on_write = lambda at, path: at == point and os.kill(os.getpid(), signal.SIGINT)
run()
"""


@pytest.mark.parametrize("point", ["before write", "after rename", "before commit"])
def test_ctrl_c_ends_with_one_word_no_traceback_and_nothing_half_done(home: Path, tmp_path: Path, point: str) -> None:
    file = write(tmp_path / "b.ndjson", [box("b7")])
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, point, "intake", str(file), "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    refused(Answer(done.returncode, done.stdout, done.stderr), "interrupted")
    opened = Home(home)
    assert len(opened.book.rows(submission)) == 1
    assert [path for path in home.rglob(".*.tmp") if path.is_file()] == []


def test_in_a_pipe_only_the_answer_is_printed_without_colours(home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "b.ndjson", [box("b7")])
    for arguments in (["intake", str(file)], ["verify"]):
        done = subprocess.run([*TANZHANG, *arguments, "--home", str(home)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert "\x1b" not in done.stdout


def test_on_a_terminal_intake_shows_where_it_is_and_how_many_rows(home: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "b.ndjson", [box(f"b{number}") for number in range(3_000)])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*TANZHANG, "intake", str(file), "--home", str(home), "--json"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["rows"] == 3_000
    assert b"intake" in drawn
    assert b"3,000 rows" in drawn


def test_a_reader_that_stops_reading_is_no_error_message(home: Path) -> None:
    process = subprocess.Popen(
        [*TANZHANG, "catalogue", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == b""
    assert process.wait() in (0, 1)


def test_the_log_and_its_witnesses_are_shown_and_asked(run: Run, settled: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(settled, tmp_path / "home"))
    answer = run("log", "status", "--home", home, "--json").json
    assert (answer["size"], answer["waiting"], answer["witnessing"]) == (2, 0, None)
    assert "No witnesses" in run("log", "status", "--home", home).out
    refused = run("log", "witness", "--home", home, "--json")
    assert (refused.code, refused.json["code"]) == (1, "witnesses-unset")
    run("witness", "init", "--folder", tmp_path / "w", "--name", "witness.example/cli")
    key = run("witness", "status", "--folder", tmp_path / "w", "--json").json["key"]
    policy = tmp_path / "policy.txt"
    policy.write_text(f"witness w {key} http://127.0.0.1:9\nquorum w\n")
    refused = run("log", "policy", "set", policy, "--home", home, "--when-unmet", "maybe", "--json")
    assert refused.json["code"] == "witness-use-malformed"
    set_ = run("log", "policy", "set", policy, "--home", home, "--deadline-s", "2", "--json").json
    assert (set_["quorum"], set_["when_unmet"], set_["not_asked"]) == ("w", "publish", [])
    asked = run("log", "witness", "--home", home)
    assert asked.code == 1
    assert "not met" in asked.out
    assert "witness-failed" in asked.out.replace("\n", "")
    assert run("log", "tidy", "--home", home, "--json").json["removed"] == 0


def test_a_witness_watches_the_logs_it_is_given(run: Run, settled: Path, tmp_path: Path) -> None:
    folder = ("--folder", tmp_path / "w")
    assert run("witness", "serve", *folder, "--json").json["code"] == "witness-missing"
    created = run("witness", "init", *folder, "--name", "witness.example/cli", "--json").json
    assert created["key"].startswith("witness.example/cli+")
    assert run("witness", "init", *folder, "--name", "other", "--json").json["code"] == "witness-exists"
    vkey = settled / "keys" / "log.vkey"
    assert run("witness", "add-log", vkey, *folder, "--json").json["status"] == "added"
    assert run("witness", "add-log", vkey.read_text().strip(), *folder, "--json").json["status"] == "known"
    assert run("witness", "add-log", "nonsense", *folder, "--json").json["code"] == "vkey-invalid"
    (log,) = run("witness", "status", *folder, "--json").json["logs"]
    assert (log["origin"], log["size"]) == ("log.example/beijing", None)


def test_a_receipt_is_checked_by_a_policy_and_the_page_is_written(run: Run, settled: Path, tmp_path: Path) -> None:
    receipt, policy, page = tmp_path / "receipt", tmp_path / "policy.txt", tmp_path / "page.html"
    run("receipt", "create", "cainiao:b1", "-o", receipt, "--home", settled)
    policy.write_text(f"log {(settled / 'keys' / 'log.vkey').read_text().strip()}\nquorum none\n")
    verified = run("receipt", "verify", receipt, "--policy", policy, "--json").json
    assert (verified["status"], verified["cosigned"]) == ("verified", [])
    assert run("receipt", "verify", receipt, "--json").json["code"] == "usage"
    policy.write_text("quorum w\n")
    assert run("receipt", "verify", receipt, "--policy", policy, "--json").json["code"] == "policy-invalid"
    written = run("receipt", "page", "-o", page, "--json").json
    assert page.stat().st_size == written["bytes"] > 50_000
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
