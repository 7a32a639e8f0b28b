"""Which ids a walk has handed out, in 8 bytes each.

Rule: the latest few thousand are kept as they are; older ones as hashes of 64 bits, keyed anew in
each process, so that the chance to lose an item to a collision is 2⁻⁶⁴ a pair, and only where a
walk begins again: 3 in 10⁹ for such a walk over 300,000 items.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["Seen"]

_RECENT = 4096
_SCANS_PER_SORT = 16
"""A sort costs about as much as this many scans."""


def _hashes(names: Collection[str]) -> array[int]:
    packed = struct.pack(f"{len(names)}q", *map(hash, names))  # twice as fast as array's own way
    return array("q", packed)


class _Hashes:
    """A bag of 64-bit hashes: cheap to add to, sorted only once it is asked often."""

    __slots__ = ("_all", "_scanned", "_sorted")

    def __init__(self) -> None:
        self._all = array("q")
        self._sorted = 0
        self._scanned = 0

    def __len__(self) -> int:
        return len(self._all)

    def extend(self, hashes: array[int]) -> None:
        self._all.extend(hashes)

    def among(self, wanted: array[int]) -> set[int]:
        found = {each for each in wanted if self._is_sorted_in(each)}
        tail = self._all[self._sorted :]
        found |= set(wanted).intersection(tail)
        self._scanned += len(tail)
        if self._scanned > _SCANS_PER_SORT * len(self._all):
            self._all = array("q", sorted(self._all))
            self._sorted, self._scanned = len(self._all), 0
        return found

    def _is_sorted_in(self, wanted: int) -> bool:
        place = bisect_left(self._all, wanted, hi=self._sorted)
        return place < self._sorted and self._all[place] == wanted


class Seen:
    """The ids that were handed out.

    The first look, :meth:`admit`, only knows the latest 4,096 to 8,192 of them: enough while the
    walk goes down the list, where an id can come back only as far as rows were pushed down since.
    :meth:`known` knows them all.
    """

    __slots__ = ("_latest", "_older", "_previous")

    def __init__(self) -> None:
        self._latest: set[str] = set()
        self._previous: set[str] = set()
        self._older = _Hashes()

    def __len__(self) -> int:
        return len(self._latest) + len(self._previous) + len(self._older)

    def admit(self, names: list[str]) -> bool:
        """Remember ids, unless one of them was here lately or is here twice: then none."""
        latest = self._latest
        if not latest.isdisjoint(names) or not self._previous.isdisjoint(names):
            return False
        size = len(latest)
        latest.update(names)
        if len(latest) != size + len(names):
            latest.difference_update(names)
            return False
        if len(latest) >= _RECENT:
            self._age()
        return True

    def add(self, names: Iterable[str]) -> None:
        """Remember ids, none of which was here before."""
        self._latest.update(names)
        if len(self._latest) >= _RECENT:
            self._age()

    def _age(self) -> None:
        self._older.extend(_hashes(self._previous))
        self._previous, self._latest = self._latest, set()

    def known(self, names: list[str]) -> set[str]:
        """Which of these ids were handed out before."""
        found = {name for name in names if name in self._latest or name in self._previous}
        if self._older:
            hashes = _hashes(names)
            older = self._older.among(hashes)
            found |= {name for name, one in zip(names, hashes, strict=True) if one in older}
        return found
