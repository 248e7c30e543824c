"""Accounts that have to be decided together: the connected components of what meets across accounts.

Most accounts meet no other and are not named here; each of them is a component of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tanzhang.engine.columns import Bytes

_Keys = npt.NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Components:
    """The component of each account that meets another, by account; it is named by one of its accounts."""

    accounts: _Keys
    labels: Bytes

    def of(self, accounts: Bytes) -> Bytes:
        """The label of each account, (n, 16) bytes: its component's, or itself."""
        if not len(self.accounts):
            return accounts
        keys = _keys(accounts)
        at = np.minimum(np.searchsorted(self.accounts, keys), len(self.accounts) - 1)
        known = self.accounts[at] == keys
        return np.where(known[:, None], self.labels[at], accounts)


def components(left: Bytes, right: Bytes) -> Components:
    """Components of a graph whose edges join ``left[i]`` and ``right[i]``.

    Every round hooks each tree's root to the least root it meets and flattens the trees, so rounds are few: about the
    logarithm of the longest chain.
    """
    names, ends = np.unique(np.concatenate([_keys(left), _keys(right)]), return_inverse=True)
    one, other = ends[: len(left)], ends[len(left) :]
    root = np.arange(len(names))
    while True:
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        if (low == high).all():
            break
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    data = np.frombuffer(names.tobytes(), dtype=np.uint8).reshape(-1, 16)
    return Components(names, data[root])


def _keys(identities: Bytes) -> _Keys:
    """Identities as byte strings, which numpy sorts as DuckDB does; all have 16 bytes, so zeros at the end are safe."""
    return np.ascontiguousarray(identities).view("S16").ravel()
