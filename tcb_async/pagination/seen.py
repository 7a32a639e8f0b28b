"""Which ids a walk has handed out, in 8 bytes each.

Rule: an id is kept as its hash of 64 bits, keyed anew in each process. The chance to lose an item
to a collision is 2⁻⁶⁴ a pair, and only where a walk was disturbed: 3 in 10⁹ over 300,000 items.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Seen"]

_FIRST = 512
_UNSORTED = 4096


class Seen:
    """The hashes of the ids that were handed out: sorted only once they are asked for.

    The first 512 are kept apart. Where a seam matches although the list
    moved, because the seam itself was lifted to the head and pushed back to its row, what stands
    behind it are the rows that were first: `is_quiet` looks for those.
    """

    __slots__ = ("_first", "_index", "_new", "_old")

    def __init__(self) -> None:
        self._first: set[int] = set()
        self._old = array("q")
        self._new = array("q")
        self._index: set[int] | None = None

    def __len__(self) -> int:
        return len(self._old) + len(self._new)

    def is_quiet(self, hashes: Sequence[int]) -> bool:
        """Whether these ids are all different and none of the first is among them."""
        new = set(hashes)
        return len(new) == len(hashes) and self._first.isdisjoint(new)

    def remember(self, hashes: Sequence[int]) -> None:
        """Remember ids."""
        if len(self._first) < _FIRST:
            self._first.update(hashes)
        # Twice as fast as to extend the array by the hashes.
        self._new.frombytes(struct.pack(f"{len(hashes)}q", *hashes))
        if self._index is not None:
            self._index.update(hashes)

    def known(self, hashes: Sequence[int]) -> set[int]:
        """Which of these ids were handed out before."""
        if not len(self):
            return set()
        if self._index is None or len(self._new) > _UNSORTED:
            self._old = array("q", sorted(self._old + self._new))
            self._new, self._index = array("q"), set()
        index = self._index
        return {each for each in hashes if each in index or self._is_old(each)}

    def _is_old(self, wanted: int) -> bool:
        place = bisect_left(self._old, wanted)
        return place < len(self._old) and self._old[place] == wanted
