from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.yaml_text import load_yaml, read_yaml


def codes(text: str) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in read_yaml(text, "f.yaml")[1]]


def test_scalars_stay_text_unless_they_are_plainly_whole_numbers_or_truths() -> None:
    text = """
count: 12
negative: -3
until: null
open:
sure: true
day: 2024-10-01
on: yes
octal: 007
grouped: 1_000
quoted: "0.10"
version: 1.2.3
folded: >
  0.5
"""
    assert load_yaml(text, "f.yaml").data == {
        "count": 12,
        "negative": -3,
        "until": None,
        "open": None,
        "sure": True,
        "day": "2024-10-01",
        "on": "yes",
        "octal": "007",
        "grouped": "1_000",
        "quoted": "0.10",
        "version": "1.2.3",
        "folded": "0.5\n",
    }


@pytest.mark.parametrize("written", ["0.5", "-0.5", ".5", "5.", "1e5", "1.5E-3", "+0.5", "1_0.5"])
def test_a_bare_decimal_is_refused_whatever_its_spelling(written: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        load_yaml(f"a: 1\nvalue: {written}\n", "f.yaml")
    (problem,) = refused.value.problems
    assert (problem.code, problem.where) == ("bare-decimal", "f.yaml:2")
    assert f'"{written}"' in problem.remedy


def test_every_mistake_is_found_and_the_rest_is_read() -> None:
    text = "a: 0.5\nb: {c: 1, c: 2}\nd:\n  - 1.5\n? [x, y]\n: z\n"
    document, problems = read_yaml(text, "f.yaml")
    assert [(p.code, p.where) for p in problems] == [
        ("bare-decimal", "f.yaml:1"),
        ("duplicate-key", "f.yaml:2"),
        ("bare-decimal", "f.yaml:4"),
        ("key-malformed", "f.yaml:5"),
    ]
    assert document is not None
    assert document.data == {"a": "0.5", "b": {"c": 1}, "d": ["1.5"]}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [1\nb: 2\n", "f.yaml:2"),
        ("a: 1\n\tb: 2\n", "f.yaml:2"),
        ("a: b: c\n", "f.yaml:1"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2"),
        ("a: *nothing\n", "f.yaml:1"),
        ("a: \x01\n", "f.yaml"),
    ],
)
def test_broken_syntax_is_one_mistake_with_its_line(text: str, where: str) -> None:
    assert codes(text) == [("yaml-malformed", where)]


def test_an_alias_inside_what_it_names_is_refused_not_followed() -> None:
    assert codes("b: 0\na: &a\n  - 1\n  - *a\n") == [("yaml-malformed", "f.yaml:2")]


def test_an_alias_repeats_what_it_names() -> None:
    assert load_yaml("a: &x {b: 1}\nc: *x\n", "f.yaml").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_place_is_the_line_of_its_key_or_of_the_nearest_parent_written_down() -> None:
    document = load_yaml("a:\n  b:\n    - 1\n    - {c: 2}\n\nd: 3\n", "f.yaml")
    assert document.where() == "f.yaml:1"
    assert document.where("a", "b") == "f.yaml:2"
    assert document.where("a", "b", 1, "c") == "f.yaml:4"
    assert document.where("a", "b", 1, "missing", 7) == "f.yaml:4"
    assert document.where("d") == "f.yaml:6"
    assert document.where("e") == "f.yaml:1"


def test_an_empty_file_is_nothing() -> None:
    assert load_yaml("# only a comment\n", "f.yaml").data is None
