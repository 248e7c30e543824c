"""Which milligrams of which record a gift is: declared once, computed again by anybody from the same book.

Rule ``oldest-first/1``, ours: a gift takes from the records that were settled when it was made, the oldest day first,
then the earlier end, then the smaller action id; what is taken stays taken. Where an act is taken back whose milligrams
were given away, the last gift that took them loses them, and takes others as soon as there are some; until then it is
``owed``. A gift is never smaller for it.

Lots name what they take of which record. Gifts pass over that, whenever they were made: a lot only ever takes what no
gift took until then, so no earlier gift comes out otherwise for it. What is taken back of a record is first what nobody
took of it, then what gifts did, and last what lots did (``lost``), which cancelled units stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

RULE = "oldest-first/1"


@dataclass(frozen=True, slots=True)
class Counted:
    """What a record of batch ``batch`` adds, and takes back of the action ``withdraws``, in mg.

    ``order`` sorts records as the rule does: day, end, action.
    """

    batch: int
    order: tuple[str, str, str]
    granted_mg: int
    reversed_mg: int = 0
    withdraws: str | None = None


@dataclass(frozen=True, slots=True)
class Taking:
    """A gift of ``amount_mg``, made when ``batches`` batches were settled."""

    gift: str
    batches: int
    amount_mg: int


@dataclass(slots=True)
class Allocation:
    """Gift -> action -> mg; ``owed`` are mg of gifts that no record is left for.

    By action, ``left`` is what nobody took, and ``lost`` what was taken back of what lots hold.
    """

    taken: dict[str, dict[str, int]] = field(default_factory=dict)
    owed: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)


def allocate(records: Iterable[Counted], gifts: Sequence[Taking], named: Mapping[str, int] | None = None) -> Allocation:
    """What each gift takes of which record; ``gifts`` in the order in which they were made.

    ``named`` is what lots hold of which action, in all.
    """
    by_batch: dict[int, list[Counted]] = {}
    for record in sorted(records, key=lambda record: record.order):
        by_batch.setdefault(record.batch, []).append(record)
    state = _State(named or {})
    waiting = sorted(by_batch)
    for gift in gifts:
        while waiting and waiting[0] < gift.batches:
            state.settle(by_batch[waiting.pop(0)])
        state.give(gift.gift, gift.amount_mg)
    for number in waiting:
        state.settle(by_batch[number])
    return state.done()


class _State:
    def __init__(self, named: Mapping[str, int]) -> None:
        self.result = Allocation()
        self._named = named
        self._left: dict[tuple[str, str, str], int] = {}
        self._order: dict[str, tuple[str, str, str]] = {}

    def settle(self, records: Sequence[Counted]) -> None:
        for record in records:
            if record.granted_mg:
                self._order[record.order[2]] = record.order
                free = record.granted_mg - self._named.get(record.order[2], 0)
                if free < 0:
                    raise ValueError(f"lots hold more of {record.order[2]} than it was granted")
                self._left[record.order] = self._left.get(record.order, 0) + free
        for record in records:
            if record.reversed_mg and record.withdraws in self._order:
                self._take_back(record.withdraws, record.reversed_mg)
        for gift in [each for each in self.result.taken if each in self.result.owed]:  # the first gift first
            self.give(gift, self.result.owed.pop(gift))

    def done(self) -> Allocation:
        """All of it, with what is left of each action."""
        self.result.left = {order[2]: amount_mg for order, amount_mg in self._left.items()}
        return self.result

    def give(self, gift: str, amount_mg: int) -> None:
        taken = self.result.taken.setdefault(gift, {})
        for order in sorted(self._left):
            if not amount_mg:
                return
            part = min(amount_mg, self._left[order])
            if part:
                taken[order[2]] = taken.get(order[2], 0) + part
                self._left[order] -= part
                amount_mg -= part
        if amount_mg:
            self.result.owed[gift] = self.result.owed.get(gift, 0) + amount_mg

    def _take_back(self, action: str, amount_mg: int) -> None:
        order = self._order[action]
        free = min(amount_mg, self._left[order])
        self._left[order] -= free
        amount_mg -= free
        for gift in reversed(self.result.taken):
            part = min(amount_mg, self.result.taken[gift].get(action, 0))
            if part:
                self.result.taken[gift][action] -= part
                if not self.result.taken[gift][action]:
                    del self.result.taken[gift][action]
                self.result.owed[gift] = self.result.owed.get(gift, 0) + part
                amount_mg -= part
        if amount_mg:
            self.result.lost[action] = self.result.lost.get(action, 0) + amount_mg
