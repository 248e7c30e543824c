from __future__ import annotations

from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.factors import Period
from tanzhang.core.region import ancestors, check_region, contains, narrowness
from tanzhang.stores.catalogue import Catalogue, kind_of

GOOD = Path(__file__).parents[2] / "golden" / "catalogue" / "good"
CATALOGUE = Catalogue()
GRID = CATALOGUE.factor("electricity.grid_average")


def chosen(
    behaviour: str, region: str, day: date, listed: list[str] | None = None, *, of: Catalogue = CATALOGUE
) -> str:
    return of.choose(behaviour, region, day, listed).methodology.key


def refusal_of(behaviour: str, region: str, day: date, listed: list[str] | None = None) -> TanzhangError:
    with pytest.raises(TanzhangError) as refused:
        CATALOGUE.choose(behaviour, region, day, listed)
    return refused.value


# -- which methodology


def test_the_narrowest_in_force_wins() -> None:
    own = Catalogue(GOOD)
    assert chosen("travel.bicycle", "CN-650102", date(2025, 8, 1), of=own) == "demo_city.travel.bicycle@2"
    assert chosen("travel.bicycle", "CN-650200", date(2025, 8, 1), of=own) == "meituan.travel.bicycle@1"
    listed = ["ant_forest.travel.metro", "jing_jin_ji.travel.metro"]
    assert chosen("travel.metro", "CN-110108", date(2025, 3, 3), listed) == "jing_jin_ji.travel.metro@1"


def test_a_narrower_one_that_is_not_in_force_leaves_the_act_to_a_wider_one() -> None:
    listed = ["jing_jin_ji.travel.metro", "ant_forest.travel.metro"]
    assert chosen("travel.metro", "CN-110108", date(2024, 9, 30), listed) == "ant_forest.travel.metro@1"


def test_each_version_serves_its_own_days() -> None:
    own = Catalogue(GOOD)
    assert chosen("travel.bicycle", "CN-650102", date(2025, 6, 30), of=own) == "demo_city.travel.bicycle@1"
    assert chosen("travel.bicycle", "CN-650102", date(2025, 7, 1), of=own) == "demo_city.travel.bicycle@2"


def test_a_regions_own_goes_before_a_scheme_of_the_same_reach() -> None:
    assert chosen("travel.bus", "CN-110108", date(2024, 9, 30)) == "green_life_season.travel.bus@1"
    assert chosen("travel.bus", "CN-110108", date(2024, 10, 1)) == "jing_jin_ji.travel.bus@1"


def test_schemes_of_equal_reach_refuse_instead_of_one_being_taken_silently() -> None:
    refused = refusal_of("finance.online_bill_payment", "CN-110000", date(2025, 1, 1))
    assert refused.code == "ambiguous-methodology"
    assert "ant_forest.finance.online_bill_payment@1, citic.finance.online_bill_payment@1" in str(refused)
    assert "name a programme" in refused.problems[0].remedy


def test_the_order_of_a_programme_decides_among_equals() -> None:
    day = date(2025, 1, 1)
    both = ["citic.finance.online_bill_payment", "ant_forest.finance.online_bill_payment"]
    assert chosen("finance.online_bill_payment", "CN-110000", day, both) == f"{both[0]}@1"
    assert chosen("finance.online_bill_payment", "CN-110000", day, both[::-1]) == f"{both[1]}@1"
    beijing = list(CATALOGUE.programme("beijing").methodologies)
    assert chosen("finance.online_bill_payment", "CN-110000", day, beijing) == f"{both[0]}@1"


def test_a_programme_takes_only_what_it_lists() -> None:
    refused = refusal_of("travel.metro", "CN-110000", date(2025, 1, 1), ["cainiao.use.parcel_box_return"])
    assert refused.code == "no-methodology"
    assert "of the methodologies listed" in str(refused)


@pytest.mark.parametrize(
    ("behaviour", "region", "day", "code", "says"),
    [
        ("food.plant_based_meat", "CN", date(2025, 1, 1), "no-methodology", "declared gap"),
        ("living.electricity_saving", "CN-110000", date(2025, 1, 1), "no-methodology", "CN-440300"),
        ("use.parcel_box_return", "CN", date(2019, 11, 27), "methodology-not-in-force", "[2019-11-28, open)"),
        ("use.parcel_box", "CN", date(2025, 1, 1), "unknown-behaviour", "use.parcel_box_return"),
    ],
)
def test_what_nothing_serves_is_refused_with_what_is_known(
    behaviour: str, region: str, day: date, code: str, says: str
) -> None:
    refused = refusal_of(behaviour, region, day)
    assert refused.code == code
    assert says in str(refused)


# -- which value


def value_refused(region: str, day: date) -> TanzhangError:
    with pytest.raises(TanzhangError) as refused:
        GRID.value_for(region, day)
    return refused.value


def test_a_value_is_taken_for_the_day_and_the_province_of_the_act() -> None:
    assert GRID.value_for("CN-110108", date(2024, 12, 19)).text == "0.5688"
    assert GRID.value_for("CN-110108", date(2024, 12, 20)).text == "0.5580"
    assert GRID.value_for("CN", date(2026, 1, 1)).text == "0.5306"


def test_a_day_outside_every_range_is_refused_not_served_by_the_nearest_year() -> None:
    for day in (date(2024, 4, 11), date(2025, 12, 31)):
        refused = value_refused("CN-110000", day)
        assert refused.code == "factor-gap"
        assert "[2024-12-20, 2025-12-31)" in str(refused)
        assert "add a sourced value" in refused.problems[0].remedy


def test_a_province_is_never_served_by_the_nation_where_the_series_has_provinces() -> None:
    refused = value_refused("CN-540000", date(2025, 6, 1))
    assert refused.code == "no-factor"
    assert "Tibet" in str(refused)
    assert GRID.value_for("CN", date(2025, 6, 1)).text == "0.5366"


def test_the_nation_serves_every_province_where_the_series_has_nothing_narrower() -> None:
    assert CATALOGUE.factor("use.parcel_box_return").value_for("CN-540000", date(2025, 6, 1)).value == Fraction(37)


def test_periods_hold_their_first_day_and_not_their_last() -> None:
    period = Period(date(2024, 1, 1), date(2025, 1, 1))
    assert period.covers(date(2024, 1, 1))
    assert not period.covers(date(2025, 1, 1))
    assert not period.overlaps(Period(date(2025, 1, 1), None))
    assert Period(date(2023, 1, 1), None).overlaps(period)


# -- regions


def test_regions_nest_from_district_to_country() -> None:
    assert ancestors("CN-110108") == ("CN-110108", "CN-110100", "CN-110000", "CN")
    assert contains("CN-440300", "CN-440305")
    assert not contains("CN-440305", "CN-440300")
    assert [narrowness(region) for region in ("CN", "CN-440000", "CN-440300", "CN-440305")] == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["cn", "CN-11", "CN-1101080", "110108", "Beijing", "CN-010000", "CN-110108 ", ""])
def test_a_region_has_one_spelling(text: str) -> None:
    with pytest.raises(TanzhangError, match="GB/T 2260"):
        check_region(text, where="row 3")


# -- files


@pytest.mark.parametrize(
    ("relative", "kind"),
    [
        ("behaviours.yaml", "behaviours"),
        ("factors/use/parcel_box_return.yaml", "factor"),
        ("methodologies/cainiao/use.parcel_box_return/v1.yaml", "methodology"),
        ("methodologies/cainiao/use.parcel_box_return/v12.cases.yaml", "cases"),
        ("programmes/green-life-season-2022.yaml", "programme"),
        ("scenarios/green-life-season-2022.yaml", "scenario"),
        ("sources/use.yaml", "sources"),
        ("points/cainiao_energy/v1.yaml", "points"),
        ("points/cainiao_energy/v1.cases.yaml", "points_cases"),
        ("methodologies/cainiao/use.parcel_box_return/v1.draft.yaml", None),
        ("methodologies/cainiao/use.parcel_box_return/v0.yaml", None),
        ("factor/use/parcel_box_return.yaml", None),
        ("programmes/beijing.yml", None),
    ],
)
def test_a_path_says_what_a_file_is(relative: str, kind: str | None) -> None:
    assert kind_of(relative) == kind


def test_a_file_of_an_operator_replaces_the_shipped_one_at_the_same_path(tmp_path: Path) -> None:
    relative = "factors/use/parcel_box_return.yaml"
    shipped = CATALOGUE.folders[0] / relative
    (tmp_path / "factors" / "use").mkdir(parents=True)
    (tmp_path / relative).write_text(shipped.read_text(encoding="utf-8").replace('"37"', '"30"'), encoding="utf-8")
    own = Catalogue(tmp_path)
    assert own.factor("use.parcel_box_return").values[0].text == "30"
    assert own.digest() != CATALOGUE.digest()


def test_one_answer_opens_only_the_files_it_needs(tmp_path: Path) -> None:
    (tmp_path / "factors").mkdir()
    (tmp_path / "factors" / "broken.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "methodologies" / "x" / "use.own_cup").mkdir(parents=True)
    (tmp_path / "methodologies" / "x" / "use.own_cup" / "v1-old.yaml").write_text("a: [", encoding="utf-8")
    own = Catalogue(tmp_path)
    assert chosen("use.own_cup", "CN", date(2026, 1, 1), of=own) == "meituan.use.own_cup@1"


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TanzhangError) as refused:
        Catalogue(tmp_path / "nowhere")
    assert refused.value.code == "catalogue-folder-missing"


def test_an_unknown_programme_is_refused_with_those_that_exist() -> None:
    with pytest.raises(TanzhangError) as refused:
        CATALOGUE.programme("peking")
    assert refused.value.code == "unknown-programme"
    assert "beijing" in refused.value.problems[0].remedy
