"""From people's acts to a claim: a lot is frozen, verified, issued, delivered and retired, and everything verifies."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tanzhang.core.access import Actor, Role
from tanzhang.core.serial import Serial, lot_name
from tanzhang.core.units import PROGRAMME, State
from tanzhang.service.certificate_check import check_certificate
from tanzhang.service.certificates import make_key
from tanzhang.service.market.issue import issue
from tanzhang.service.market.retire import Asked, retire
from tanzhang.service.market.retirement_certificate import retirement_certificate
from tanzhang.service.market.unit_pages import block_page, unit_totals
from tanzhang.service.moments import received_at

from ..homes import assert_verified, market_home
from ..lots import LATER, UNIT_MG
from ..trading import OPERATOR, approved
from ..verifying import frozen_lot, registered

BUYER = Actor(Role.BUYER, "li", "a test")


def test_from_acts_to_a_certificate_that_proves_its_way(quick: Path, tmp_path: Path) -> None:
    home = market_home(quick / "home")
    (home.folder / "keys" / "people.yaml").write_text(yaml.safe_dump({"public_url": "https://carbon.example"}))
    make_key(home, actor=OPERATOR, now=LATER)
    approved(home, "steel")
    lot = frozen_lot(home, tmp_path)
    registered(home, lot)
    issue(home, lot, reference="issue", actor=OPERATOR, now=LATER)
    (block,) = home.units.blocks(lot=lot, holder=PROGRAMME, states=[State.HELD])
    with home.book.transaction() as con:
        at = received_at(LATER)
        home.units.reserve(con, PROGRAMME, lot, block.count, "deal-1", at)
        home.units.deliver(con, "deal-1", "party:steel", at)
    asked = Asked(
        "voluntary_cancellation",
        LATER.date(),
        LATER.date(),
        "Example Steel",
        lot=lot_name(lot),
        count=block.count - 1,
    )
    made = retire(home, "steel", "r-1", asked, actor=BUYER, now=LATER)
    data = retirement_certificate(home, made["id"], now=LATER)
    said = check_certificate(data, home.values["vkey"], now=LATER)
    assert said["says"]["massMg"] == str((block.count - 1) * UNIT_MG)
    assert said["says"]["lot"]["root"] == home.lots.one(lot).root
    assert set(said["says"]["lot"]["methodologies"]) == set(json.loads(home.lots.one(lot).methodologies))
    assert len([each for each in said["checks"] if "entry" in each]) == 4
    (number,) = made["serials"]
    page = block_page(home, number)
    assert [each["kind"] for each in page["history"]] == ["issue", "reserve", "deliver", "retire"]
    assert Serial.parse(number).count == block.count - 1
    totals = unit_totals(home)
    assert (totals["issued_mg"], totals["retired_mg"]) == (str(home.lots.one(lot).total_mg), said["says"]["massMg"])
    assert_verified(home)
