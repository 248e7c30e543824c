"""An address of a book says what it means, and only the connection ever sees its password."""

from __future__ import annotations

import pytest

from tanzhang.core.errors import TanzhangError
from tanzhang.stores.book import BookAddress

FULL = "postgresql://clerk:s3cret%2F%40@db.example:5433/carbon?sslmode=verify-full&schema=beijing"


def parse(text: str) -> BookAddress:
    return BookAddress.parse(text, where="test", schema="tanzhang_beijing")


def test_an_address_comes_back_as_it_was_given() -> None:
    address = parse(FULL)
    assert (address.schema, address.url.password, address.url.port) == ("beijing", "s3cret/@", 5433)
    assert parse(address.text) == address
    assert "schema" not in address.url.query


def test_without_a_schema_it_is_the_one_of_the_programme() -> None:
    assert parse("postgresql:///carbon").schema == "tanzhang_beijing"
    with pytest.raises(TanzhangError, match=r"book-address-malformed: .*schema"):
        BookAddress.parse("postgresql:///carbon", where="test")


def test_what_is_shown_holds_no_password() -> None:
    address = parse(FULL)
    assert address.shown == "postgresql://clerk@db.example:5433/carbon?schema=beijing&sslmode=verify-full"
    assert "s3cret" not in repr(address)
    assert parse(address.shown) == address.without_password()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("postgresql", "cannot be read"),
        ("postgresql://s3cret@host:port/db", "cannot be read"),
        ("postgres://clerk:s3cret@host/db", "does not begin with postgresql://"),
        ("postgresql+psycopg://clerk:s3cret@host/db", "does not begin with postgresql://"),
        ("sqlite:///s3cret", "does not begin with postgresql://"),
        ("postgresql:///db?schema=pg_s3cret", "schema"),
        ("postgresql:///db?schema=S3cret", "schema"),
        ("postgresql:///db?schema=a%22b", "schema"),
        ("postgresql:///db?schema=a&schema=b", "schema"),
        ("postgresql:///db?schema=" + 64 * "a", "schema"),
        ("postgresql:///db?password=s3cret", "option password is not known"),
        ("postgresql:///db?options=-csearch_path%3Ds3cret", "option options is not known"),
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(TanzhangError, match="book-address-malformed") as caught:
        parse(text)
    assert reason in str(caught.value)
    assert "s3cret" not in str(caught.value).lower()


def test_another_way_to_a_book_must_lead_to_the_same_schema() -> None:
    kept = parse(FULL).without_password()
    assert kept.reached_by("postgresql://other:pw@proxy/carbon", where="test").text == (
        "postgresql://other:pw@proxy/carbon?schema=beijing"
    )
    with pytest.raises(TanzhangError, match="it names schema shenzhen; the book of this home is in beijing"):
        kept.reached_by("postgresql:///carbon?schema=shenzhen", where="test")
