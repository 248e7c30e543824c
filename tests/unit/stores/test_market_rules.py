"""Market rules of the catalogue: what ships can be read, by day, and every mistake is told."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from tanzhang.core.errors import TanzhangError
from tanzhang.service.catalogue import show
from tanzhang.service.catalogue_check import check_catalogue
from tanzhang.stores.catalogue import Catalogue, shipped_folder
from tanzhang.stores.market_rules import MARKET

EXAMPLE = (shipped_folder() / "market" / "example" / "v1.yaml").read_text(encoding="utf-8")
DAY = date(2025, 6, 6)


def overlay(folder: Path, **files: str) -> Catalogue:
    own = folder / "market" / "example"
    own.mkdir(parents=True)
    for name, text in files.items():
        (own / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Catalogue(folder)


def test_the_shipped_rules_are_examples_that_say_what_is_theirs() -> None:
    assert MARKET.ids(Catalogue()) == ["beijing_maas", "example"]
    for name in MARKET.ids(Catalogue()):
        text = yaml.safe_load((shipped_folder() / "market" / name / "v1.yaml").read_text(encoding="utf-8"))
        rules = MARKET.in_force(Catalogue(), name, DAY, "market-not-in-force")
        assert rules.status == "example"
        assert text["notice"]["source"] == "guangdong_inclusion_trading_2022"
        entries = [text[part] for part in ("unit", "notice", "reserve", "payment", "payout", "escrow")]
        for part in ("levies", "fees", "tiers", "labels", "purposes", "registries"):
            entries += text[part]
        assert all(("source" in each) != ("mark" in each) for each in entries)
        assert all("why" in each for each in entries if "mark" in each)


def test_shares_are_exact_and_a_levy_says_who_holds_it() -> None:
    rules = MARKET.in_force(Catalogue(), "example", DAY, "market-not-in-force")
    assert (rules.unit_letter, rules.unit_mass_mg) == ("K", 10**6)
    assert rules.reserve_share == Fraction(1, 50)
    assert [(each.id, each.share, each.to, each.environment) for each in rules.levies] == [
        ("adaptation", Fraction(1, 20), "levy:adaptation", False),
        ("overall_mitigation", Fraction(1, 50), "cancelled", True),
    ]
    assert [(each.id, each.share) for each in rules.fees] == [
        ("platform", Fraction(3, 100)),
        ("exchange", Fraction(1, 200)),
    ]
    assert rules.labels["ets_surrender"].tier == rules.default_tier == "carbon_inclusion"
    assert rules.titles["ccer"][1] == "全国温室气体自愿减排注册登记系统"
    assert set(rules.titles) == {*rules.purposes, *rules.registries}
    maas = MARKET.in_force(Catalogue(), "beijing_maas", DAY, "market-not-in-force")
    assert (maas.unit_letter, maas.unit_mass_mg, maas.levies) == ("T", 10**9, ())


def test_a_day_has_the_version_in_force_and_a_digest_that_names_it(tmp_path: Path) -> None:
    later = EXAMPLE.replace("version: 1", "version: 2").replace("from: 2020-01-01", "from: 2025-01-01")
    catalogue = overlay(
        tmp_path,
        v1=EXAMPLE.replace("until: null", "until: 2025-01-01"),
        v2=later.replace("least_fen: 100", "least_fen: 1"),
    )
    before, after = MARKET.of(catalogue, "example")
    assert MARKET.in_force(catalogue, "example", date(2024, 12, 31), "market-not-in-force") == before
    assert MARKET.in_force(catalogue, "example", date(2025, 1, 1), "market-not-in-force") == after
    assert (before.digest != after.digest, after.least_payout_fen) == (True, 1)
    assert not check_catalogue(catalogue).problems


def test_a_day_before_the_first_version_is_refused_and_so_is_an_unknown_id() -> None:
    with pytest.raises(TanzhangError, match="market-not-in-force"):
        MARKET.in_force(Catalogue(), "example", date(2019, 12, 31), "market-not-in-force")
    with pytest.raises(TanzhangError, match="unknown-market"):
        MARKET.of(Catalogue(), "exampel")


@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ('share: "0.02", mark', 'share: "0.95", mark', {"market-shares"}),
        ('share: "0.03"', 'share: "0.995"', {"market-shares"}),
        ('share: "0.03"', "share: 0.03", {"bare-decimal"}),
        ("default_tier: carbon_inclusion", "default_tier: carbon_market", {"market-unknown-tier"}),
        ("    tier: national_voluntary", "    tier: offshore", {"market-unknown-tier"}),
        ("  - id: exchange", "  - id: platform", {"duplicate-id"}),
        ("id: example\n", "id: exampel\n", {"path-differs"}),
        ("version: 1", "version: 2", {"path-differs"}),
        ("until: null", "until: 2019-01-01", {"period-empty"}),
        ("from: 2020-01-01", "from: 2020-02-30", {"day-malformed"}),
        ("  counts: working_days", "  counts: working_days\n  days_off: ['2025-02-30']", {"day-malformed"}),
        ("payout: {least_fen: 100, mark: example, why:", "payout: {least_fen: 100, why:", {"missing-key"}),
        ("  source: guangdong_inclusion_trading_2022", "  source: guangdong", {"unregistered-source"}),
        ("letter: K", "letter: G", {"schema-mismatch"}),
    ],
)
def test_a_mistake_is_told_by_the_check_of_the_catalogue(tmp_path: Path, old: str, new: str, codes: set[str]) -> None:
    assert old in EXAMPLE
    catalogue = overlay(tmp_path, v1=EXAMPLE.replace(old, new, 1))
    assert {problem.code for problem in check_catalogue(catalogue).problems} == codes


def test_versions_that_overlap_or_leave_a_hole_are_told(tmp_path: Path) -> None:
    second = EXAMPLE.replace("version: 1", "version: 2").replace("from: 2020-01-01", "from: 2025-01-01")
    overlapping = overlay(tmp_path / "a", v1=EXAMPLE, v2=second)
    assert [each.code for each in check_catalogue(overlapping).problems] == ["versions-overlap"]
    hole = overlay(tmp_path / "b", v1=EXAMPLE.replace("until: null", "until: 2024-01-01"), v2=second)
    (problem,) = check_catalogue(hole).problems
    assert (problem.code, "nothing is sold" in problem.remedy) == ("versions-hole", True)


def test_what_is_open_is_said(tmp_path: Path) -> None:
    text = EXAMPLE[: EXAMPLE.index("unknown:")] + "unknown: []\n"
    assert {each.code for each in check_catalogue(overlay(tmp_path, v1=text)).problems} == {"gap-undeclared"}


def test_a_programme_that_names_no_rules_there_are_is_refused(tmp_path: Path) -> None:
    text = (shipped_folder() / "programmes" / "beijing.yaml").read_text(encoding="utf-8")
    (tmp_path / "programmes").mkdir()
    (tmp_path / "programmes" / "beijing.yaml").write_text(f"market: exampel\n{text}", encoding="utf-8")
    (problem,) = check_catalogue(Catalogue(tmp_path)).problems
    assert (problem.code, "example" in problem.remedy) == ("unknown-market", True)


def test_the_catalogue_shows_rules_by_id_and_version() -> None:
    (shown,) = show(Catalogue(), "example@1")["market"]
    assert shown["notice"]["days"] == 7
    assert shown["digest"] == MARKET.of(Catalogue(), "example")[0].digest
