"""The commands of totals: epochs, the city, partners, rankings and grades."""

from __future__ import annotations

from pathlib import Path

from .test_commands import Run, home, refused, run, settled  # noqa: F401


def test_an_epoch_is_closed_listed_proved_and_checked(run: Run, home: Path, tmp_path: Path) -> None:  # noqa: F811
    assert run("settle", "--through", "2025-06-09", "--home", home).code == 0
    closed = run("epoch", "close", "--day", "2025-06-09", "--home", home, "--json")
    assert (closed.code, closed.json["status"], closed.json["day"]) == (0, "closed", "2025-06-09")
    again = run("epoch", "close", "--day", "2025-06-09", "--home", home, "--json")
    assert again.json == closed.json
    listed = run("epoch", "list", "--home", home, "--json").json["epochs"]
    assert [each["entry"] for each in listed] == [closed.json["entry"]]
    assert "2025-06-09" in run("epoch", "list", "--home", home).out
    out = tmp_path / "share.proof"
    refused(run("epoch", "prove", "cainiao:anna", "-o", out, "--home", home), "epoch-too-few")
    refused(run("epoch", "prove", "cainiao:anna", "-o", out, "--day", "2025-06-01", "--home", home), "epoch-unknown")
    assert not out.exists()
    out.write_bytes(b"no proof")
    refused(run("epoch", "check", out, "--key", home / "keys/log.vkey"), "tlog-proof-invalid")
    assert run("verify", "--home", home).code == 0


def test_the_city_a_partner_and_a_ranking_are_shown_with_their_epoch(run: Run, home: Path) -> None:  # noqa: F811
    before = run("city", "show", "--home", home, "--json").json
    assert (before["state"], before["epoch"]) == ("confirmed", None)
    run("settle", "--through", "2025-06-09", "--home", home)
    closed = run("epoch", "close", "--day", "2025-06-09", "--home", home, "--json").json
    shown = run("city", "show", "--by", "day,category", "--from", "2025-06-05", "--home", home, "--json").json
    assert shown["epoch"]["entry"] == closed["entry"]
    assert shown["epoch"]["trees"] == closed["trees"]
    assert {row["category"] for row in shown["rows"]} == {"footprint", "travel", "use"}
    ledger = run("city", "partner", "cainiao", "--home", home, "--json").json
    assert (ledger["claim"], ledger["totals"][0]["acts"]) == ("facilitated", "1")
    ranked = run("city", "ranking", "--account", "cainiao:anna", "--home", home, "--json").json
    assert (ranked["hidden"], ranked["own"]["rank"]) == (True, 2)
    refused(run("city", "show", "--by", "colour", "--home", home), "unknown-cut")
    refused(run("city", "partner", "nobody", "--home", home), "unknown-partner")


def test_a_month_is_graded_by_a_scheme_of_the_catalogue(run: Run, home: Path) -> None:  # noqa: F811
    words = ("account", "grade", "cainiao:anna", "--month", "2025-06", "--home", home)
    refused(run(*words), "grading-unnamed")
    graded = run(*words, "--scheme", "wendeng_rcb", "--json").json
    assert (graded["grade"], graded["mg"], graded["period_stated"]) == ("light_green", "37000", False)
    assert "浅绿" in run(*words, "--scheme", "wendeng_rcb").out
    refused(run("account", "grade", "cainiao:anna", "--month", "2025-6", "--home", home), "day-malformed")


def test_badges_of_a_person_and_the_grade_of_a_partner_are_shown(run: Run, home: Path) -> None:  # noqa: F811
    badges = run("account", "badges", "cainiao:anna", "--home", home, "--json").json["items"]
    assert [(each["id"], each["reached"], each["on"]) for each in badges if each["on"]] == [
        ("first_parcel_box", "1", "2025-06-05")
    ]
    words = ("city", "grade", "cainiao", "--month", "2025-06", "--home", home)
    refused(run(*words), "grading-unnamed")
    refused(run(*words, "--scheme", "quzhou_enterprises"), "grade-draft")
    refused(run(*words, "--scheme", "wendeng_rcb"), "grade-subject")
