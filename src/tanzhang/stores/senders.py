"""Ways to send a code to a phone."""

from __future__ import annotations

import logging
from typing import Protocol
from urllib.parse import quote

import httpx

from tanzhang.core.errors import refuse
from tanzhang.core.phone import masked

_log = logging.getLogger("tanzhang.codes")
_TIMEOUT_S = 10


class Sender(Protocol):
    """Sends a code; returns when the message was taken over, or raises ``code-not-sent``. Never retried from here."""

    def send(self, phone: str, code: str) -> None:
        """Send a code to a number in the form of E.164."""
        ...


class ConsoleSender:
    """For development: whoever reads the server's log can sign in as anybody, and the log says so."""

    def send(self, phone: str, code: str) -> None:
        _log.warning("DEVELOPMENT ONLY, nothing was sent: the code for %s is %s", phone, code)


class HttpSender:
    """Posts to an address with ``{phone}`` and ``{code}`` in it: a gateway of the operator's."""

    def __init__(self, template: str) -> None:
        self._template = template

    def send(self, phone: str, code: str) -> None:
        address = self._template.replace("{phone}", quote(phone, safe="")).replace("{code}", quote(code, safe=""))
        try:
            httpx.post(address, timeout=_TIMEOUT_S).raise_for_status()
        except httpx.HTTPError as error:
            # The error's own text has the address, and the code in it.
            _log.error("the gateway did not take the code for %s: %s", masked(phone), type(error).__name__)
            raise refuse(
                "code-not-sent",
                "the code could not be sent",
                where="phone",
                remedy="try again in a minute",
            ) from None


def sender_of(text: str) -> Sender:
    """The sender that settings name."""
    return ConsoleSender() if text == "console" else HttpSender(text)
