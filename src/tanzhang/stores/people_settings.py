"""How persons sign in to a home, and how long erasing waits: ``keys/people.yaml``, the operator's own.

The file is in folder ``keys`` because secrets of clients stand in it. Without it nobody can sign in. Limits have
defaults of ours, which no standard prescribes; docs/people.md lists them all.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tanzhang.core.errors import refuse

SETTINGS = "people.yaml"
_HTTPS = ("https://", "http://localhost", "http://127.0.0.1")


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenID provider, by discovery. ``title`` and ``title_zh`` are what its button says."""

    issuer: str
    client_id: str
    title: str
    title_zh: str
    client_secret: str | None = None
    scopes: str = "openid"


class Phone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Codes by text message. ``sender``: ``console``, or an https:// address with {phone} and {code} in it."""

    sender: str
    lasts_s: int = 300
    tries: int = 5
    least_between_s: int = 60
    most_per_phone_a_day: int = 5
    most_per_address_an_hour: int = 20
    wrong_before_lock: int = 10
    """Wrong codes of one number within a day, after which it gets no more."""


class PeopleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that an operator decides about persons. ``public_url`` is where browsers reach the service."""

    public_url: str = "http://localhost:8080"
    oidc: dict[str, Provider] = {}
    phone: Phone | None = None
    most_begun_per_address_an_hour: int = 300
    """Sign-ins with a provider that one address may begin."""
    erasure_waits_days: int = 7
    fresh_s: int = 600
    """For how long after signing in what is dangerous may be asked for."""
    link_token_lasts_s: int = 600
    partner_pages: dict[str, str] = {}
    """Partner -> the page of it to which a person is sent who wants to link an account there."""


def people_settings(folder: Path) -> PeopleSettings:
    """The settings of a home's folder; ``people-settings-malformed``."""
    path = folder / "keys" / SETTINGS
    if not path.is_file():
        return PeopleSettings()
    try:
        settings = msgspec.yaml.decode(path.read_bytes(), type=PeopleSettings)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise _malformed(path, str(error).partition("\n")[0]) from None
    addresses = [
        settings.public_url,
        *(each.issuer for each in settings.oidc.values()),
        *settings.partner_pages.values(),
    ]
    if settings.phone is not None and settings.phone.sender != "console":
        addresses.append(settings.phone.sender)
        if not all(name in settings.phone.sender for name in ("{phone}", "{code}")):
            raise _malformed(path, "phone.sender has no {phone} or no {code}")
    for address in addresses:
        if not address.startswith(_HTTPS):
            raise _malformed(path, f"{address} is no https:// address")
    return settings


def _malformed(path: Path, message: str) -> Exception:
    return refuse(
        "people-settings-malformed", message, where=str(path), remedy="docs/people.md lists what the file may say"
    )
