"""Telephone numbers as they are compared: E.164 (ITU-T), a mainland number without a country code as +86."""

from __future__ import annotations

import re

from tanzhang.core.errors import refuse

_BLANKS = re.compile(r"[\s().-]")
_MAINLAND = re.compile(r"1[3-9]\d{9}")
_E164 = re.compile(r"\+[1-9]\d{6,14}")


def normal_phone(text: str) -> str:
    """A number in the form that names one line; ``phone-malformed``.

    >>> normal_phone("138 0013 8000"), normal_phone("+86-13800138000")
    ('+8613800138000', '+8613800138000')
    """
    plain = _BLANKS.sub("", text)
    if plain.startswith("00"):
        plain = f"+{plain[2:]}"
    if _MAINLAND.fullmatch(plain):
        plain = f"+86{plain}"
    if not _E164.fullmatch(plain) or not plain.isascii():
        raise refuse(
            "phone-malformed",
            "this is not a telephone number",
            where="#/phone",
            remedy="write eleven digits of a mainland mobile number, or + and the country code first",
        )
    return plain


def masked(phone: str) -> str:
    """What is shown of a number to its owner: the last four digits."""
    return f"***{phone[-4:]}"
