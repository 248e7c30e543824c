"""What the README promises a newcomer is there: two commands, links, and figures that something keeps true."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh-CN.md")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def statuses() -> dict[str, Counter[str]]:
    """How settled the shipped catalogue is, counted from its files."""
    counts: dict[str, Counter[str]] = {
        "methodology": Counter(),
        "value": Counter(),
        "mark": Counter(),
        "slot": Counter(),
    }
    for path in (ROOT / "catalogue" / "methodologies").rglob("v*.yaml"):
        if not path.name.endswith(".cases.yaml"):
            counts["methodology"][yaml.safe_load(path.read_text(encoding="utf-8"))["status"]] += 1
    for path in (ROOT / "catalogue" / "factors").rglob("*.yaml"):
        for value in yaml.safe_load(path.read_text(encoding="utf-8"))["values"]:
            counts["value"][value["status"]] += 1
            counts["mark"][value["mark"]] += 1
    for slot in yaml.safe_load(text_of("catalogue/behaviours.yaml"))["slots"]:
        counts["slot"][slot["confirmation"]] += 1
    return counts


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands_for_a_fresh_machine_stand_first(name: str) -> None:
    shell = re.search(r"```sh\n(.*?)```", text_of(name), re.DOTALL)
    assert shell is not None
    assert [line.split("#")[0].strip() for line in shell[1].splitlines()] == ["make demo", "make test"]
    assert all(needed in text_of(name) for needed in ("python3.11", "pip", "make", "git"))


@pytest.mark.parametrize("name", READMES)
def test_how_sure_the_numbers_are_is_counted_from_the_catalogue(name: str) -> None:
    text, counts = text_of(name), statuses()
    assert re.search(rf"\| {counts['slot']['unknown']} (of|/) {counts['slot'].total()} \|", text)
    assert f"| {counts['methodology']['provisional']} / {counts['methodology']['draft']} |" in text
    assert counts["methodology"]["published"] == 0, "say so in the table"
    assert f"| {counts['value']['provisional']} / {counts['value']['published']} |" in text
    assert f"| {counts['mark']['weak']} |" in text


def test_weak_values_are_all_provisional() -> None:
    for path in (ROOT / "catalogue" / "factors").rglob("*.yaml"):
        for value in yaml.safe_load(path.read_text(encoding="utf-8"))["values"]:
            assert not (value["mark"] == "weak" and value["status"] == "published"), path.name


def test_the_pages_on_real_data_show_the_golden_figures() -> None:
    page = text_of("docs/real-data.md")
    golden = json.loads(text_of("tests/golden/real/results.json"))["data_sets"]
    for name, figures in golden.items():
        assert f"{int(figures['granted_mg']):,} mg" in page, name
        assert f"{figures['accepted']:,}" in page, name
        for code, count in figures["refused_by_code"].items():
            if code != "out-of-range":  # two data sets in one line of the table
                assert f"`{code}` | {count:,} |" in page, f"{name}: {code}"
    ours = [figures for name, figures in golden.items() if name != "sube_buenos_aires"]
    assert f"{sum(figures['accepted'] for figures in ours):,}" in page
    for outcome in ("repeat", "duplicate_of", "capped", "withdrawn"):
        total = sum(figures["outcomes"].get(outcome, 0) for figures in ours)
        assert re.search(rf"\*\*{total} `{outcome}`\*\*", page), outcome
    assert f"{sum(figures['accepted'] for figures in ours):,}" in text_of("README.md")
