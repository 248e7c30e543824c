"""The engine of a settlement is chosen on the command line, and a choice that cannot be met is refused at once."""

from __future__ import annotations

import sys

import pytest

from tanzhang.cli.engines import settling_with
from tanzhang.core.errors import TanzhangError


def test_without_a_choice_this_process_settles() -> None:
    with settling_with("embedded", None) as engine:
        assert engine is None


@pytest.mark.parametrize(
    ("engine", "master", "code"),
    [
        ("spark", None, "engine-master: Spark needs a master"),
        ("embedded", "local", "engine-master: --master local is given without --engine spark"),
        ("flink", None, "engine-unknown: there is no engine 'flink'"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(engine: str, master: str | None, code: str) -> None:
    with pytest.raises(TanzhangError, match=code), settling_with(engine, master):
        pass


@pytest.mark.parametrize("module", ["pandas", "pyspark.sql"])
def test_what_spark_needs_and_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    pytest.importorskip("pyspark")
    monkeypatch.setitem(sys.modules, module, None)
    said = r"spark-missing(.|\n)*pip install 'tanzhang\[spark\]'"
    with pytest.raises(TanzhangError, match=said), settling_with("spark", "local[1]"):
        pass
