"""What verification of a home asks of how its lots were verified: each act in its order, and the log's word for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tanzhang.core.errors import Problem, TanzhangError
from tanzhang.core.lot import ISSUED, LotState, lot_text
from tanzhang.core.methodology import canonical_json
from tanzhang.core.sample import seed
from tanzhang.service.findings import RESTORE
from tanzhang.service.market.rules import market_rules_of
from tanzhang.service.market.verification import FORMAT, MATERIAL, verification_said
from tanzhang.stores.home import Home
from tanzhang.stores.register.verifications import (
    ATTESTED,
    DECIDED,
    DRAWN,
    FINDINGS,
    HANDED,
    LOOKED_UP,
    REGISTERED,
    detail_of,
)

_NEEDED = {
    LotState.IN_VERIFICATION: {HANDED},
    LotState.VERIFIED: {HANDED, DRAWN, FINDINGS, DECIDED},
    LotState.REJECTED: {HANDED, DRAWN, FINDINGS, DECIDED},
    **{
        state: {HANDED, DRAWN, FINDINGS, DECIDED, ATTESTED, REGISTERED}
        for state in (LotState.REGISTERED, *sorted(ISSUED))
    },
}
Wrong = Callable[[str], None]


def check_verifications(home: Home) -> tuple[int, list[Problem]]:
    """How many acts and entries were looked at, and what is wrong.

    A lot's state has the acts that lead to it; its sample is of its root and a checkpoint that covers it; it was
    decided as its findings ask; it was registered by another than who attested, after every registry was looked up; and
    the log has exactly one entry of each registered lot, which says what its acts come to.
    """
    problems: list[Problem] = []
    by_lot: dict[int, list[Any]] = {}
    events = home.verifications.events()
    for event in events:
        by_lot.setdefault(event.lot, []).append(event)
    said: dict[int, list[tuple[int, str]]] = {}
    for index, text in home.verifications.registered():
        said.setdefault(int(json.loads(text)["lot"][1:]), []).append((index, text))
    rows = {row.number: row for row in home.lots.all()}
    for number in sorted({*rows, *by_lot, *said}):

        def wrong(message: str, number: int = number) -> None:
            where = f"{home.book.name}: verification_event of {lot_text(number)}"
            problems.append(Problem("verification-mismatch", message, where, RESTORE))

        if number not in rows:
            wrong("it is verified, and there is no such lot")
            continue
        try:
            _check_lot(home, rows[number], by_lot.get(number, []), said.get(number, []), wrong)
        except (TanzhangError, KeyError, ValueError, TypeError) as error:
            wrong(f"it cannot be read: {error}".splitlines()[0])
    return len(events) + sum(map(len, said.values())), problems


def _check_lot(home: Home, row: Any, events: Sequence[Any], entries: Sequence[tuple[int, str]], wrong: Wrong) -> None:
    of: dict[str, list[Any]] = {}
    for event in events:
        of.setdefault(event.kind, []).append(event)
    lacking = _NEEDED.get(LotState(row.state), set()) - of.keys()
    if lacking:
        wrong(f"the lot is {row.state}, and was never {', '.join(sorted(lacking))}")
    for kind in (HANDED, DRAWN, DECIDED, REGISTERED):
        if len(of.get(kind, [])) > 1:
            wrong(f"it was {kind} more than once")
    for event in of.get(DRAWN, []):
        given = detail_of(event)["given"]
        if given["root"] != row.root:
            wrong("the sample is of another root")
        seed(bytes.fromhex(row.root), row.entry, given["checkpoint"])
    if DECIDED in of:
        material = any(each["severity"] == MATERIAL for event in of.get(FINDINGS, []) for each in _findings(event))
        if (detail_of(of[DECIDED][0])["asked"]["decision"] == "rejected") != material:
            wrong("it was not decided as its findings ask")
    _check_registered(home, row, of, entries, wrong)


def _check_registered(
    home: Home, row: Any, of: dict[str, list[Any]], entries: Sequence[tuple[int, str]], wrong: Wrong
) -> None:
    if len(entries) != len(of.get(REGISTERED, [])):
        wrong(f"the log has {len(entries)} entries of how it was verified")
    if REGISTERED not in of or not entries:
        return
    if ATTESTED in of and of[ATTESTED][-1].actor == of[REGISTERED][0].actor:
        wrong("one person attested and registered")
    last = {each["registry"]: each["clear"] for each in (detail_of(event)["asked"] for event in of.get(LOOKED_UP, []))}
    if not all(last.get(name) for name in market_rules_of(home, row.terms).registries):
        wrong("not every registry was looked up and showed nothing")
    text = canonical_json({"format": FORMAT, **verification_said(home, row.number)})
    if entries[0] != (int(detail_of(of[REGISTERED][0])["given"]["entry"]), text):
        wrong("the log says something else of how it was verified")


def _findings(event: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = detail_of(event)["asked"]["findings"]
    return found
