"""What follows an answer of the market, as people are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tanzhang.cli import main, next_steps
from tanzhang.core.deal import Reason
from tanzhang.core.lot import TRANSITIONS, LotState
from tanzhang.stores.register.verifications import KINDS

from ...homes import market_home


def test_every_state_of_a_lot_but_the_last_and_every_act_of_verifying_leads_on() -> None:
    assert set(next_steps.LOT) == set(LotState) - {LotState.CLOSED}
    assert not TRANSITIONS[LotState.CLOSED]
    assert set(next_steps.ACT) == set(KINDS)


def test_reasons_that_need_nobody_are_reasons() -> None:
    assert set(Reason) > {"exact", "less"}


@pytest.mark.parametrize("as_json", [True, False])
def test_people_are_told_what_is_next_and_programs_are_not(
    as_json: bool, quick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANZHANG_HOME", str(market_home(quick / "home").folder))
    words = ["lot", "draft", "--reference", "1", "--vintage", "2025", "--region", "CN-110000"]
    monkeypatch.setattr(sys, "argv", ["tanzhang", *words, *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit):
        main.run()
    assert ("Next: tanzhang lot freeze L000001\n" in capsys.readouterr().out) is not as_json
