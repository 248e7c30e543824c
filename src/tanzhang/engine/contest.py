"""Which of some acts that exclude each other are kept: claims and overlaps decided together, in the declared order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.int64]


def keep_in_order(
    *, ring: Column, island: Column, start: Column, stop: Column, needed: Column, companions: Column
) -> Column:
    """:func:`tanzhang.core.claim.keep_greedily` in columns, for acts given in the total order.

    Acts of one ``ring`` share a claim; acts of one ``island`` may overlap, if they share ``needed`` microseconds of
    one of them and are not ``companions``; -1 is none. Returns the first kept act that each act conflicts with, -1 if
    it is kept itself. Each round keeps the first undecided act of every ring and island and drops its rivals, so
    memory is linear, and time is linear times the acts kept in the fullest island.
    """
    count = len(ring)
    nobody = count
    # One place more than there are numbers: what has number -1 goes there, and nobody is read from there.
    owner = np.full(int(ring.max(initial=-1)) + 2, nobody, dtype=np.int64)
    keeper = np.full(int(island.max(initial=-1)) + 2, nobody, dtype=np.int64)
    scratch = np.empty(max(len(owner), len(keeper)), dtype=np.int64)
    overlapped = np.full(count, nobody, dtype=np.int64)  # by the first kept act of its island that overlaps it
    undecided, ashore = np.arange(count), np.flatnonzero(island >= 0)
    while len(undecided):
        ready = _firsts(undecided, ring, scratch) & _firsts(undecided, island, scratch)
        kept = undecided[ready]
        owner[ring[kept]] = keeper[island[kept]] = kept
        owner[-1] = keeper[-1] = nobody
        # Acts that have lost their claim stay ashore, since the first of all winners is named.
        rival = keeper[island[ashore]]
        later = rival < ashore
        act, rival = ashore[later], rival[later]
        shared = np.minimum(stop[act], stop[rival]) - np.maximum(start[act], start[rival])
        crosses = (shared > 0) & (shared >= np.minimum(needed[act], needed[rival]))
        crosses &= (companions[act] < 0) | (companions[act] != companions[rival])
        overlapped[act[crosses]] = rival[crosses]
        keeper[island[kept]] = nobody
        undecided = undecided[~ready]
        undecided = undecided[(owner[ring[undecided]] == nobody) & (overlapped[undecided] == nobody)]
        scratch[island[ashore]] = 0
        scratch[island[undecided]] = 1
        ashore = ashore[(overlapped[ashore] == nobody) & (scratch[island[ashore]] == 1)]
    claimed = owner[ring]
    claimed[claimed >= np.arange(count)] = nobody  # the act itself, or one kept after this had lost to an overlap
    lost_to = np.minimum(overlapped, claimed)
    lost_to[lost_to == nobody] = -1
    return lost_to


def _firsts(acts: Column, number: Column, scratch: Column) -> npt.NDArray[np.bool_]:
    """Which of some acts in order are the first of their number; those without a number are."""
    numbers = number[acts]
    scratch[numbers[::-1]] = acts[::-1]  # of several values for one place the last one stays
    first: npt.NDArray[np.bool_] = (numbers < 0) | (scratch[numbers] == acts)
    return first
