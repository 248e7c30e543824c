"""The certificate of a retirement (注销证书): made once, for its party and the operator, never changed.

It says which units were used, by serial numbers, of which lot, for which purpose and period, and who may now say what.
The lot and the retirement are proved to be in the log by what the certificate carries, so that it holds without us.
Who retired silently gets one with the commitment alone, and shows the opening to whom they like.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from tanzhang.core.credential import RETIREMENT
from tanzhang.core.errors import refuse
from tanzhang.core.market import UNIT_MASS_MG, MarketRules
from tanzhang.core.retirement import CLAIMS, INCLUSION, ISSUE_INCLUSION, LOT_INCLUSION
from tanzhang.core.serial import Serial, lot_name
from tanzhang.core.units import Kind
from tanzhang.service.certificate_contents import Contents, of_programme
from tanzhang.service.certificates import issue_to, opened_text
from tanzhang.service.market.retire import certificate_id, opening_of, proof, retirement_row
from tanzhang.service.market.rules import market_name
from tanzhang.stores.home import Home
from tanzhang.stores.market_rules import MARKET


def retirement_certificate(home: Home, name: str, *, now: datetime) -> bytes:
    """The certificate of a retirement, signed when it is first asked for; the same bytes ever after.

    ``unknown-retirement``, ``issuer-missing``, ``public-url-missing``, ``home-busy`` while the log is behind,
    ``certificate-revoked`` where it was taken away.
    """
    row = retirement_row(home, name)
    identifier = certificate_id(home, row.id)
    kept = home.certificates.get(identifier)
    if kept is None:
        issue_to(home, row.holder, RETIREMENT, _contents(home, row), identifier=identifier, now=now)
        kept = home.certificates.get(identifier)
    if kept is None or kept.sealed is None:
        raise refuse(
            "certificate-revoked",
            "the certificate was taken away with the names that it says",
            where="certificate",
            remedy="the public page and its proof still show that the units were retired",
        )
    return opened_text(home, kept).encode()


def _contents(home: Home, row: Any) -> Contents:
    serials = json.loads(row.serials)
    first, origin = Serial.parse(serials[0]), home.values["origin"]
    mass = UNIT_MASS_MG[first.unit]
    retired = {"type": INCLUSION, "log": origin, "proof": proof(home, row.id).decode()}  # the log is up to it then
    lot, evidence = _lot(home, first)
    subject = {
        **of_programme(home),
        "reference": row.id,
        "serials": serials,
        "units": str(row.units),
        "unit": {"letter": first.unit, "massMg": str(mass)},
        "massMg": str(row.units * mass),
        "vintage": str(row.vintage),
        "region": first.region,
        "lot": lot,
        "purpose": {"code": row.purpose, "rules": row.market, **_purpose(home, row)},
        "claimPeriod": {"since": row.since, "until": row.until},
        "retiredAt": row.made_at,
        "commitment": row.commitment,
        "claims": {name: dict(texts) for name, texts in CLAIMS.items()},
    }
    if home.retirements.opening(row.id).public:
        opening = opening_of(home, row.id)
        subject["beneficiary"] = {"salt": opening.salt, **opening.as_dict()}
    return Contents(subject, [*evidence, retired])


def _lot(home: Home, serial: Serial) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is said of the lot, and the proof of that; a lot of another registry is that registry's word."""
    begun = home.units.begun(serial.lot)
    if begun is not None and begun.kind is Kind.IMPORT:
        return {"number": lot_name(serial.lot), "registry": begun.registry, "foreign": begun.foreign}, []
    row = home.lots.one(serial.lot)
    event = next(each for each in home.units.events(lot=serial.lot) if each.kind == Kind.ISSUE)
    issue = int(json.loads(event.detail)["entry"])
    said = {
        "number": lot_name(serial.lot),
        "root": row.root,
        "units": str(row.units),
        "totalMg": str(row.total_mg),
        "methodologies": {name: sorted(digests) for name, digests in json.loads(row.methodologies).items()},
        "entry": str(row.entry),
        "issueEntry": str(issue),
    }
    return said, [_proved(home, LOT_INCLUSION, row.entry), _proved(home, ISSUE_INCLUSION, issue)]


def _proved(home: Home, kind: str, index: int) -> dict[str, Any]:
    """An entry of the log as a certificate carries it."""
    text = home.log_entries(index)[0].decode()
    return {"type": kind, "log": home.values["origin"], "entry": text, "proof": home.log.prove(index).decode()}


def _purpose(home: Home, row: Any) -> dict[str, str]:
    """What the purpose is called by the rules of then; nothing where the catalogue has them no more."""
    rules: MarketRules | None = next(
        (each for each in MARKET.of(home.catalogue, market_name(home)) if each.key == row.market), None
    )
    if rules is None:
        return {}
    name, name_zh = rules.titles[row.purpose]
    return {"name": name, "nameZh": name_zh}
