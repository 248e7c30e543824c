"""Guards of the catalogue: what ships can be read, every mistake is told, and reasons say their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.guard import Detour, Drift, GuardRule, Mark, Overlapping, Regular, Shared, Test, reason
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.guard import guard_ids, load_guard

EXAMPLE = (shipped_folder() / "guard" / "example.yaml").read_text(encoding="utf-8")


def overlay(folder: Path, text: str) -> Catalogue:
    (folder / "guard").mkdir()
    (folder / "guard" / "example.yaml").write_text(text, encoding="utf-8")
    return Catalogue(folder)


def test_the_shipped_guard_is_an_example_whose_every_rule_gives_its_reason() -> None:
    assert guard_ids(Catalogue()) == ["example"]
    guard = load_guard(Catalogue(), "example")
    assert guard.status == "example"
    assert {type(rule.test) for rule in guard.rules} >= {Detour, Drift, Overlapping, Regular, Shared}
    assert all(len(rule.why) > 20 and rule.title_zh for rule in guard.rules)
    assert guard.score([0, 0, 1]) == guard.rules[0].weight + guard.rules[1].weight
    assert all(guard.score([number]) == 0 for number, rule in enumerate(guard.rules) if rule.action == "note")


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("id: detour", "id: speed", {"guard-rule-twice"}),
        ("    least_straight_m: 500", "    least_straight_m: 500\n    within: 3", {"guard-value-unused"}),
        ("    most_percent: 400", "    most_percent: 90", {"guard-bounds-crossed"}),
        ("    least_s: 300\n", "", {"missing-key"}),
        ("      travel.walking: 40 ", "      travel.wading: 40 ", {"unknown-behaviour"}),
        ("status: example", "status: law", {"schema-mismatch"}),
    ],
)
def test_a_mistake_in_a_guard_is_told_by_the_check_of_the_catalogue(
    tmp_path: Path, old: str, new: str, codes: set[str]
) -> None:
    assert old in EXAMPLE
    catalogue = overlay(tmp_path, EXAMPLE.replace(old, new, 1))
    assert {problem.code for problem in check_catalogue(catalogue).problems} == codes


def test_a_programme_that_names_no_guard_there_is_is_refused(tmp_path: Path) -> None:
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    (tmp_path / "programmes").mkdir()
    (tmp_path / "programmes" / "beijing.yaml").write_text(f"guard: exampel\n{text}", encoding="utf-8")
    (problem,) = check_catalogue(Catalogue(tmp_path)).problems
    assert (problem.code, "example" in problem.remedy) == ("unknown-guard", True)
    with pytest.raises(TanzhangError, match="unknown-guard"):
        load_guard(Catalogue(), "exampel")


@pytest.mark.parametrize(
    ("test", "mark", "says"),
    [
        (Detour(95, 400, 500), Mark(0, 50, 95), "the distance is 50 % of the straight line; at least 95 %"),
        (Detour(95, 400, 500), Mark(0, 900, 400), "the distance is 900 % of the straight line; at most 400 %"),
        (Overlapping(300), Mark(0, 900, 300), "900 s at the same time as another act of this person; from 300 s on"),
        (
            Regular("distance_m", 10, 5, 80),
            Mark(0, 100, 80),
            "100 % of this person's acts are alike in distance_m within 10; from 80 % on",
        ),
        (Shared("device", 3), Mark(0, 20, 3), "the device is that of acts of 20 accounts; at most 3"),
        (
            Drift(30, 200),
            Mark(0, 297, 130),
            "the partner's mean of the day is 297 % of the days before; the bound is 130 %",
        ),
    ],
)
def test_a_reason_says_what_was_measured_and_the_threshold(test: Test, mark: Mark, says: str) -> None:
    assert reason(GuardRule("one", "One", "一", "hold", 1, None, test, ""), mark, "travel.bicycle") == says
