"""Serial numbers: the printed form, the check digits, and everything that is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tanzhang.core.errors import TanzhangError
from tanzhang.core.market import UNIT_MASS_MG
from tanzhang.core.serial import (
    FIRST_IMPORT,
    MOST_UNITS,
    Serial,
    check_digits,
    code_of,
    letter_of,
    lot_name,
    lot_number,
)
from tanzhang.stores.catalogue import shipped_folder

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
FIRST = "TZ1-CN110000-BJGT-L000042-2025-T-1-1200-52"
PRINTED = {
    FIRST: Serial("CN-110000", "BJGT", 42, 2025, "T", 0, 1200),
    "TZ1-CN110000-BJGT-L000042-2025-T-11-200-29": Serial("CN-110000", "BJGT", 42, 2025, "T", 10, 200),
    "TZ1-CN440300-SZBUS-L000007-2024-T-1201-1201-45": Serial("CN-440300", "SZBUS", 7, 2024, "T", 1200, 1201),
}
SERIALS = st.builds(
    lambda region, programme, lot, vintage, unit, lo, count: Serial(
        region, programme, lot, vintage, unit, lo, min(lo + count, MOST_UNITS)
    ),
    st.one_of(st.just("CN"), st.integers(100000, 999999).map(lambda digits: f"CN-{digits}")),
    st.text("ABCXYZ0189", min_size=1, max_size=24),
    st.one_of(st.integers(1, FIRST_IMPORT - 1), st.integers(FIRST_IMPORT + 1, 2**31 - 1)),
    st.integers(1000, 9999),
    st.sampled_from(sorted(UNIT_MASS_MG)),
    st.integers(0, MOST_UNITS - 1),
    st.integers(1, MOST_UNITS),
)


@pytest.mark.parametrize("text", PRINTED)
def test_a_block_has_the_number_and_the_check_digits_of_the_published_examples(text: str) -> None:
    assert PRINTED[text].text == text
    assert Serial.parse(text) == PRINTED[text]


@given(SERIALS)
def test_printer_and_parser_are_inverse_and_the_count_is_worked_out(serial: Serial) -> None:
    assert Serial.parse(serial.text) == serial
    first, last = (int(part) for part in serial.text.split("-")[-3:-1])
    assert serial.count == last - first + 1


@given(SERIALS)
def test_a_number_with_its_check_is_one_modulo_97(serial: Serial) -> None:
    body, _, check = serial.text.rpartition("-")
    number = int("".join(str(ALPHABET.index(each)) for each in body))
    assert (100 * number + int(check)) % 97 == 1


def test_the_check_catches_every_swap_of_neighbours_and_nearly_every_changed_character() -> None:
    body, check = FIRST[:-3], FIRST[-2:]
    swapped = [
        body[:at] + body[at + 1] + body[at] + body[at + 2 :] for at in range(len(body) - 1) if body[at] != body[at + 1]
    ]
    changed = [body[:at] + other + body[at + 1 :] for at in range(len(body)) for other in ALPHABET if other != body[at]]
    assert (len(swapped), sum(check_digits(each) == check for each in swapped)) == (30, 0)
    assert (len(changed), sum(check_digits(each) == check for each in changed)) == (1404, 7)
    missed = [each for each in changed if check_digits(each) == check]
    read = [each for each in missed if is_read(f"{each}-{check}")]
    assert len(read) < len(missed)  # the fields' own grammar catches the others
    assert all(Serial.parse(f"{each}-{check}").programme != "BJGT" for each in read)


def is_read(text: str) -> bool:
    try:
        Serial.parse(text)
    except TanzhangError:
        return False
    return True


@pytest.mark.parametrize(
    "body",
    [
        "TZ1-CN110000-BJGT-L000042-2025-T-0-1200",  # units are counted from 1
        "TZ1-CN110000-BJGT-L000042-2025-T-01-1200",  # one spelling of each number
        "TZ1-CN110000-BJGT-L000042-2025-T-1200-1",  # the last one before the first
        "TZ1-CN110000-BJGT-L42-2025-T-1-1200",
        "TZ1-CN110000-BJGT-L0000042-2025-T-1-1200",
        "TZ1-CN110000-BJGT-L000000-2025-T-1-1200",
        f"TZ1-CN110000-BJGT-L{FIRST_IMPORT + 1}-2025-T-1-1200",  # that of an imported lot, spelled as an own one
        "TZ1-CN110000-BJGT-X000000-2025-T-1-1200",
        "TZ1-CN010000-BJGT-L000042-2025-T-1-1200",
        "TZ1-CN110000-BJGT-L000042-0025-T-1-1200",
        "TZ1-CN110000-BJGT-L000042-2025-G-1-1200",
        f"TZ1-CN110000-BJGT-L000042-2025-T-1-{MOST_UNITS + 1}",
        "TZ1-CN110000--L000042-2025-T-1-1200",
        "TZ2-CN110000-BJGT-L000042-2025-T-1-1200",
        "TZ1-CN110000-BJGT-L000042-2025-T-NAN-NAN",
    ],
)
def test_what_is_spelled_in_another_way_is_no_number_even_with_right_check_digits(body: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        Serial.parse(f"{body}-{check_digits(body)}")
    assert refused.value.code == "serial-malformed"


@pytest.mark.parametrize("text", [FIRST.lower(), f" {FIRST}", f"{FIRST}\n", "", "-", FIRST.replace("1200", "12００")])
def test_case_blanks_and_wide_digits_are_not_corrected(text: str) -> None:
    with pytest.raises(TanzhangError) as refused:
        Serial.parse(text)
    assert refused.value.code == "serial-malformed"


def test_only_wrong_check_digits_are_told_apart_from_a_number_that_is_none() -> None:
    with pytest.raises(TanzhangError) as refused:
        Serial.parse(f"{FIRST[:-2]}53")
    assert refused.value.code == "serial-check"


def test_lots_have_one_name_and_imported_ones_another_letter() -> None:
    for number in (1, 42, 999_999, 1_000_000, FIRST_IMPORT - 1, FIRST_IMPORT + 1, 2**31 - 1):
        assert lot_number(lot_name(number)) == number
    assert (lot_name(42), lot_name(FIRST_IMPORT + 42)) == ("L000042", "X000042")
    for name in ("L42", "l000042", "L000000", "42", "L000042 ", "L0000042"):
        with pytest.raises(TanzhangError, match="serial-malformed"):
            lot_number(name)


def test_no_two_programmes_of_the_catalogue_share_a_code() -> None:
    names = [path.stem for path in (shipped_folder() / "programmes").glob("*.yaml")]
    assert len(names) > 1
    assert len({code_of(name) for name in names}) == len(names)


def test_a_programme_has_a_code_and_a_unit_a_letter_by_its_mass() -> None:
    assert code_of("green-life-season-2022") == "GREENLIFESEASON2022"
    assert (letter_of(10**9), letter_of(10**6)) == ("T", "K")
    with pytest.raises(TanzhangError, match="no letter"):
        letter_of(10**8)
