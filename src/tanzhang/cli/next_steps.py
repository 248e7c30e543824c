"""What comes after an answer of the market, as a line under it for people; an answer as JSON has none.

The words of a line are those of a command, with what the answer says already filled in and the rest in capitals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tanzhang.cli.show import next_line, tree

TERMS = "tanzhang authorise load FILE --partner PARTNER"
AUTHORISED = "tanzhang lot draft --reference KEY --vintage YEAR --region REGION"
LOT = {
    "draft": "tanzhang lot freeze {lot}",
    "frozen": "tanzhang verification hand-over {lot} --verifier VERIFIER --reference KEY",
    "in_verification": "tanzhang verification show {lot}",
    "verified": "tanzhang verification show {lot}",
    "registered": "tanzhang lot issue {lot} --reference KEY",
    "issued": "tanzhang deal offer --lot {lot} --units COUNT --price-fen FEN --until MOMENT --reference KEY",
    "rejected": AUTHORISED,
    "dissolved": AUTHORISED,
}
"""By the lot's state."""
_ATTEST = "tanzhang verification attest {lot} --reference KEY --statement TEXT --evidence FILE"
_DRAW = "tanzhang verification draw {lot} --verifier VERIFIER --reference KEY"
_LOOK_UP = "tanzhang verification look-up {lot} REGISTRY --reference KEY --on DAY --found TEXT --evidence FILE --clear"
ACT = {
    "handed": _DRAW,
    "drawn": "tanzhang verification sample {lot} --verifier VERIFIER",
    "findings": "tanzhang verification decide {lot} verified --verifier VERIFIER --reference KEY --statement TEXT "
    "--evidence FILE",
    "decided": _ATTEST,
    "attested": _LOOK_UP,
    "looked_up": "tanzhang verification register {lot} --reference KEY",
    "registered": LOT["registered"],
}
"""By the act that was done to verify a lot."""
SAMPLED = "tanzhang verification find {lot} FILE --verifier VERIFIER --reference KEY"
PARTY = {
    "applied": "tanzhang party document {id} FILE --kind business_licence",
    "received": "tanzhang party judge {id} {digest} --accept",
    "accepted": "tanzhang party set {id} approved",
}
"""By the state of a party that applied, or of its last document."""
OFFERED = "tanzhang deal accept {number} --buyer PARTY --units COUNT --reference KEY"
DEAL = {"agreed": "tanzhang payment statement FILE", "delivered": "tanzhang payback run"}
"""By the deal's state."""
UNSETTLED = "tanzhang payment list"
DIVIDED = "tanzhang payback show"


def lot(answer: Mapping[str, Any]) -> None:
    """A lot, and what its state waits for."""
    _shown(answer, LOT.get(answer["state"]))


def issued(answer: Mapping[str, Any]) -> None:
    """A lot's units, and how they are sold."""
    _shown(answer, LOT["issued"])


def act(answer: Mapping[str, Any]) -> None:
    """What was done to verify a lot, and what is done next; after a rejection another lot is drafted."""
    _shown(answer, LOT["rejected"] if answer.get("decision") == "rejected" else ACT[answer["act"]])


def sampled(answer: Mapping[str, Any]) -> None:
    """A sample, and how findings of it are filed."""
    _shown(answer, SAMPLED)


def verified(answer: Mapping[str, Any]) -> None:
    """All that was done to verify a lot, and what follows the last of it."""
    last = answer["events"][-1] if answer["events"] else None
    rejected = last is not None and last.get("decision") == "rejected"
    _shown(answer, LOT[answer["state"]] if last is None or rejected else ACT[last["act"]])


def party(answer: Mapping[str, Any]) -> None:
    """A party, and the document that its approval waits for."""
    _shown(answer, PARTY["applied"] if answer["state"] == "applied" and not answer["documents"] else None)


def document(party: str) -> Callable[[Mapping[str, Any]], None]:
    """A document of a party, and what follows: it is judged, then the party is approved."""
    return lambda answer: _shown(answer, PARTY.get(answer["state"]), id=party)


def offer(answer: Mapping[str, Any]) -> None:
    """An offer, and how it is accepted."""
    _shown(answer, OFFERED if answer["state"] == "open" else None)


def deal(answer: Mapping[str, Any]) -> None:
    """A deal, and what it waits for."""
    _shown(answer, DEAL.get(answer["state"]))


def statement(answer: Mapping[str, Any]) -> None:
    """What came in; first comes what somebody has to look at, then what was delivered is divided."""
    to_look_at = set(answer["reasons"]) - {"exact", "less"}
    _shown(answer, UNSETTLED if to_look_at else DEAL["delivered"] if answer["delivered"] else None)


def published(answer: Mapping[str, Any]) -> None:
    """Terms that are public, and whose reductions lots are made of."""
    _shown(answer, TERMS)


def authorised(answer: Mapping[str, Any]) -> None:
    """Who authorised, and the lot that can be made of it."""
    _shown(answer, AUTHORISED)


def divided(answer: Mapping[str, Any]) -> None:
    """Sales that were divided, and where that is seen."""
    _shown(answer, DIVIDED)


def _shown(answer: Mapping[str, Any], command: str | None, **more: str) -> None:
    tree(answer)
    if command is not None:
        next_line(command.format(**{**answer, **more}))
