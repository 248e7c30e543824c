from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.core.region import ancestors, check_region, contains, is_region, narrowness


@pytest.mark.parametrize(
    ("region", "chain"),
    [
        ("CN", ("CN",)),
        ("CN-440000", ("CN-440000", "CN")),
        ("CN-440300", ("CN-440300", "CN-440000", "CN")),
        ("CN-440305", ("CN-440305", "CN-440300", "CN-440000", "CN")),
        ("CN-110105", ("CN-110105", "CN-110100", "CN-110000", "CN")),
    ],
)
def test_a_region_lies_in_its_city_province_and_country(region, chain):
    assert ancestors(region) == chain
    assert narrowness(region) == len(chain) - 1
    assert all(contains(outer, region) for outer in chain)


def test_a_region_does_not_lie_in_its_neighbour_or_its_part():
    assert not contains("CN-110000", "CN-440300")
    assert not contains("CN-440305", "CN-440300")
    assert not contains("CN-440300", "CN")


@pytest.mark.parametrize("text", ["", "cn", "CN-", "CN-44", "CN-044030", "CN-4403000", "CN-44030x", "CN-440300 ", "HK"])
def test_every_other_spelling_is_refused(text):
    assert not is_region(text)
    with pytest.raises(TanzhangError) as caught:
        check_region(text, where="row 4")
    assert caught.value.code == "region-malformed"
    assert "CN-110000" in caught.value.problems[0].remedy


def test_a_region_is_returned_as_it_is():
    assert check_region("CN-440300", where="test") == "CN-440300"
