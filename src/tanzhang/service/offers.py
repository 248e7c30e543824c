"""Offers (商品) of the mall as the operator adds, changes and ends them; their codes and pictures.

An offer is one document, which a file of YAML or a request holds. What a person was promised stays: an order keeps the
prices and terms it was placed under. Every version of an offer is in the audit trail.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from tanzhang.core.access import Actor
from tanzhang.core.errors import Problem, TanzhangError, refuse
from tanzhang.core.order import Kind
from tanzhang.service.moments import received_at
from tanzhang.service.secrets import derived_secret
from tanzhang.stores.home import Home
from tanzhang.stores.register.mall import mall_code
from tanzhang.stores.register.people import place_of
from tanzhang.stores.storage import write_durably

PICTURES = "pictures"
"""The folder of pictures, in the home's storage: each under the SHA-256 of its bytes."""
LARGEST_PICTURE = 1 << 20
LONGEST_CODE, MOST_CODES = 200, 100_000
_ID = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST = 10**15

Amount = Annotated[str, msgspec.Meta(pattern="^(0|[1-9][0-9]{0,14})$", description="A whole number as text.")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=4000)]
Moment = Annotated[str, msgspec.Meta(max_length=40, description="RFC 3339 with its offset.")]


class PersonLimit(msgspec.Struct, forbid_unknown_fields=True):
    """How many one person may have: on one local day, in one calendar month, or of the offer in all."""

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    per: Literal["day", "month", "offer"] = "offer"


class Offer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An offer. Defaults are ours; whether points come back for a voucher that was not used is the programme's say.

    Sold from ``flash_at`` on, if there is one, else from ``opens_at`` on, and until ``closes_at``; shown from
    ``opens_at`` on. ``settlement_fen`` is what the merchant is owed for each one that it delivered; ``price_fen`` by
    default.
    """

    id: Annotated[str, msgspec.Meta(max_length=64, examples=["coffee-2026"])]
    merchant: Annotated[str, msgspec.Meta(max_length=100, description="A partner.", examples=["metro_co"])]
    title: Annotated[Name, msgspec.Meta(examples=["A cup of coffee"])]
    title_zh: Annotated[Name, msgspec.Meta(examples=["咖啡一杯"])]
    text: Text = ""
    text_zh: Text = ""
    picture: Annotated[str, msgspec.Meta(max_length=64, description="SHA-256 of a picture that is here.")] | None = None
    kind: Kind
    points: Annotated[str, msgspec.Meta(max_length=100, examples=["beijing_carbon_energy"])]
    price_points: Annotated[Amount, msgspec.Meta(examples=["300"])]
    price_fen: Amount | None = None
    settlement_fen: Amount | None = None
    stock: (
        Annotated[
            int,
            msgspec.Meta(ge=0, le=_MOST, description="How many in all, null without end; codes count themselves."),
        ]
        | None
    ) = None
    limit: PersonLimit | None = None
    opens_at: Annotated[Moment, msgspec.Meta(examples=["2026-11-01T00:00:00+08:00"])]
    closes_at: Moment | None = None
    flash_at: Moment | None = None
    voucher_days: (
        Annotated[int, msgspec.Meta(ge=1, le=3650, description="How many times 24 hours a voucher lasts.")] | None
    ) = None
    pay_minutes: Annotated[int, msgspec.Meta(ge=1, le=43_200)] = 30
    cancellable: bool = True
    refund_expired: Annotated[bool, msgspec.Meta(description="Give points of a voucher back that was not used.")] = (
        False
    )
    refund_lasts_days: Annotated[
        int, msgspec.Meta(ge=0, le=3650, description="Points that ended meanwhile can be used so long once given back.")
    ] = 30


TERMS = ("voucher_days", "cancellable", "refund_expired", "refund_lasts_days")
"""What of an offer goes with each order."""
_FIXED = ("id", "merchant", "kind", "points")


def offer_of(said: Any) -> Offer:
    """An offer out of plain data, such as a file's; ``offer-malformed``."""
    try:
        return msgspec.convert(said, Offer)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise TanzhangError(_malformed(message, place.strip("`") or "$")) from None


def add_offer(home: Home, said: Offer, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Add an offer. ``offer-malformed`` with all that is wrong, ``unknown-partner``, ``offer-exists``."""
    document = _checked(home, said)
    at, stock = received_at(now), 0 if said.kind == Kind.CODE else said.stock
    with home.book.transaction() as con:
        if home.mall.offers_in(con, [said.id]):
            raise refuse(
                "offer-exists", f"there is an offer {said.id}", where="#/id", remedy="change it, or use another id"
            )
        row = {"id": said.id, "version": 1, "merchant": said.merchant, "document": _text(document), "sold": 0}
        home.mall.add_offer(con, {**row, **_times(document), "stock": stock})
        home.audit.write(con, actor, "offer added", f"offer {said.id}", at=at, detail=document)
    return described_offer(home, said.id, now=now)


def change_offer(
    home: Home, name: str, said: Offer, *, version: int | None = None, actor: Actor, now: datetime
) -> dict[str, Any]:
    """Say all of an offer anew; orders that were placed keep their prices and terms.

    ``version`` is what the caller has seen. ``unknown-offer``, ``offer-changed``, ``offer-malformed`` also where the
    merchant, kind or programme of points would change, or the stock fall below what is sold.
    """
    document, at = _checked(home, said), received_at(now)
    with home.book.transaction() as con:
        row = home.mall.offers_in(con, [name]).get(name)
        if row is None:
            raise unknown_offer(name)
        if version is not None and version != row.version:
            raise refuse(
                "offer-changed",
                f"offer {name} has version {row.version} by now, not {version}",
                where=f"offer {name}",
                remedy="read it again, and change what stands there",
            )
        before = json.loads(row.document)
        problems = [
            _malformed(f"{member} of an offer stays {before[member]}", f"#/{member}")
            for member in _FIXED
            if document[member] != before[member]
        ]
        if said.kind != Kind.CODE and said.stock is not None and said.stock < row.sold:
            problems.append(_malformed(f"{row.sold} are sold already", "#/stock"))
        if problems:
            raise TanzhangError(problems)
        values = {"version": row.version + 1, "document": _text(document), **_times(document)}
        if said.kind != Kind.CODE:
            values["stock"] = said.stock
        home.mall.change_offer(con, name, values)
        home.audit.write(con, actor, "offer changed", f"offer {name}", at=at, detail=document)
    return described_offer(home, name, now=now)


def end_offer(home: Home, name: str, *, actor: Actor, now: datetime) -> dict[str, Any]:
    """Sell no more of an offer; what was ordered stands. ``unknown-offer``."""
    at = received_at(now)
    with home.book.transaction() as con:
        row = home.mall.offers_in(con, [name]).get(name)
        if row is None:
            raise unknown_offer(name)
        if row.ended_at is None:
            home.mall.change_offer(con, name, {"ended_at": at})
            home.audit.write(con, actor, "offer ended", f"offer {name}", at=at, detail={})
    return described_offer(home, name, now=now)


def described_offer(home: Home, name: str, *, now: datetime) -> dict[str, Any]:
    """An offer, how many are left, and whether it can be had now; ``unknown-offer``."""
    row = home.mall.offer(name)
    if row is None:
        raise unknown_offer(name)
    return _described(row, now)


def shown_offer(home: Home, name: str, *, now: datetime) -> dict[str, Any]:
    """An offer as anybody may see it: ``unknown-offer`` before it opens."""
    found = described_offer(home, name, now=now)
    if received_at(now) < found["opens_at"]:
        raise unknown_offer(name)
    return found


def listed_offers(
    home: Home, after: str, limit: int, *, merchant: str | None = None, everything: bool = False, now: datetime
) -> list[dict[str, Any]]:
    """Offers by id after one: those that can be seen now, or for the operator ``everything``."""
    rows = home.mall.offers(after, limit, at=None if everything else received_at(now), merchant=merchant)
    return [_described(row, now) for row in rows]


def sale_begins(document: Mapping[str, Any]) -> str:
    """From when on an offer can be had: the instant of its flash sale, or when it opens."""
    return str(document["flash_at"] or document["opens_at"])


def _described(row: Any, now: datetime) -> dict[str, Any]:
    document, at = json.loads(row.document), received_at(now)
    left = None if row.stock is None else row.stock - row.sold
    if row.ended_at is not None or (row.closes_at is not None and row.closes_at <= at):
        status = "closed"
    elif at < sale_begins(document):
        status = "soon"
    else:
        status = "sold_out" if left == 0 else "open"
    return {**document, "version": row.version, "left": left, "sold": row.sold, "status": status}


def _checked(home: Home, said: Offer) -> dict[str, Any]:
    """The document of an offer, its moments in UTC; all that is wrong of it together."""
    document: dict[str, Any] = msgspec.to_builtins(said)
    problems: list[Problem] = []
    if not _ID.fullmatch(said.id):
        problems.append(_malformed("an id has small letters, digits, '_' and '-', at most 64", "#/id"))
    if said.points not in home.programme.points:
        there = ", ".join(home.programme.points) or "none"
        problems.append(_malformed(f"{said.points!r} is no points programme here; there is {there}", "#/points"))
    for member in ("opens_at", "closes_at", "flash_at"):
        if document[member] is not None:
            try:
                document[member] = received_at(_moment(document[member]))
            except (ValueError, OverflowError):
                problems.append(_malformed("this is not a moment with its offset (RFC 3339)", f"#/{member}"))
    if not problems:
        problems += _out_of_order(document)
    if said.price_points == "0":
        problems.append(_malformed("an offer costs a point at the least", "#/price_points"))
    if said.price_fen == "0":
        problems.append(_malformed("an offer without money has no price_fen", "#/price_fen"))
    if (said.kind == Kind.VOUCHER) != (said.voucher_days is not None):
        problems.append(_malformed("vouchers, and nothing else, last so many days", "#/voucher_days"))
    if said.kind == Kind.CODE and said.stock is not None:
        problems.append(_malformed("the stock of codes is how many were added", "#/stock"))
    if said.picture is not None and not _has_picture(home, said.picture):
        problems.append(_malformed("there is no such picture here; send it first", "#/picture"))
    home.partners.look_again()
    try:
        home.programme.check_partner(said.merchant, "#/merchant")
    except TanzhangError as error:
        problems += error.problems
    if problems:
        raise TanzhangError(problems)
    document["settlement_fen"] = said.settlement_fen or said.price_fen or "0"
    return document


def _out_of_order(document: Mapping[str, Any]) -> Iterator[Problem]:
    opens, flash, closes = (document[member] for member in ("opens_at", "flash_at", "closes_at"))
    if closes is not None and closes <= opens:
        yield _malformed("the offer would close before it opens", "#/closes_at")
    if flash is not None and not opens <= flash < (closes or "A"):
        yield _malformed("the sale would begin while the offer is not open", "#/flash_at")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def _malformed(message: str, where: str) -> Problem:
    return Problem("offer-malformed", message, where, "correct it as docs/mall.md says")


def _times(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in ("opens_at", "closes_at")}


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False)


def unknown_offer(name: str) -> TanzhangError:
    """The refusal of an offer that is not there."""
    return refuse("unknown-offer", f"there is no offer {name[:64]}", where="offer", remedy="list the offers")


# -- codes ----------------------------------------------------------------------------------------------------


def add_codes(home: Home, name: str, text: str, *, actor: Actor, now: datetime) -> dict[str, int]:
    """Add codes, one a line, to an offer's pool; those that it has already are left alone.

    Returns how many were ``added`` and how many ``known``. ``unknown-offer``, ``codes-malformed`` with every line that
    is wrong.
    """
    codes = _codes_in(text)
    keys = home.personal_keys
    sealed = {}
    for code in codes:
        hashed = derived_secret(home, "mall code", f"{name}\0{code}").hex()
        sealed[hashed] = keys.seal(code, place_of(mall_code, "sealed", hashed))
    with home.book.transaction() as con:
        row = home.mall.offers_in(con, [name]).get(name)
        if row is None:
            raise unknown_offer(name)
        if json.loads(row.document)["kind"] != Kind.CODE:
            raise refuse("codes-malformed", f"offer {name} has no codes", where="offer", remedy="name another offer")
        known = home.mall.known_codes(con, [*sealed])
        new = [(hashed, each) for hashed, each in sealed.items() if hashed not in known]
        home.mall.add_codes(con, name, new)
        home.mall.change_offer(con, name, {"stock": row.stock + len(new)})
        said = {"added": len(new), "known": len(known)}
        home.audit.write(con, actor, "codes added", f"offer {name}", at=received_at(now), detail=said)
    return said


def _codes_in(text: str) -> list[str]:
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    codes = [*dict.fromkeys(line for line in lines if line)]
    wrong = [
        Problem("codes-malformed", "this cannot be a code", f"line {number}", f"use 1 to {LONGEST_CODE} letters")
        for number, line in enumerate(lines, 1)
        if len(line) > LONGEST_CODE or not line.isprintable()
    ]
    if not 0 < len(codes) <= MOST_CODES:
        what = f"{len(codes)} codes were sent"
        wrong.append(Problem("codes-malformed", what, "codes", f"send 1 to {MOST_CODES:,} of them, one a line"))
    if wrong:
        raise TanzhangError(wrong)
    return codes


# -- pictures -------------------------------------------------------------------------------------------------


def add_picture(home: Home, data: bytes) -> dict[str, Any]:
    """Keep a picture; its name is its digest, so that the same one is kept once. ``picture-malformed``."""
    kind = picture_type(data)
    if kind is None or len(data) > LARGEST_PICTURE:
        raise refuse(
            "picture-malformed",
            f"{len(data):,} bytes that are no PNG, JPEG or WebP picture of at most {LARGEST_PICTURE:,}",
            where="body",
            remedy="send a smaller picture in one of these forms",
        )
    digest = hashlib.sha256(data).hexdigest()
    place = home.storage / PICTURES / digest
    if not place.is_file():
        write_durably(place, data, up_to=home.storage)
    return {"picture": digest, "media_type": kind, "bytes": str(len(data))}


def picture(home: Home, digest: str) -> tuple[bytes, str]:
    """The bytes of a picture and their media type; ``unknown-picture``."""
    if not _has_picture(home, digest):
        raise refuse("unknown-picture", "there is no such picture", where="picture", remedy="see the offer again")
    data = (home.storage / PICTURES / digest).read_bytes()
    return data, picture_type(data) or "application/octet-stream"


def picture_type(data: bytes) -> str | None:
    """The media type of a picture by its first bytes; None for what is none of the three that are taken."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _has_picture(home: Home, digest: str) -> bool:
    return bool(_DIGEST.fullmatch(digest)) and (home.storage / PICTURES / digest).is_file()
