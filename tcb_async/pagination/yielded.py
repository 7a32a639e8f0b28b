"""The names that a walk has yielded.

Rule: a name is added before the consumer receives its item, and is never yielded again, in any run.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from itertools import islice
from typing import TypeVar

import attrs

from tcb_async.cursor import DIGEST_SIZE, digest

T = TypeVar("T")


@attrs.define(eq=False)
class YieldedNames:
    """The names that were yielded, in this run and in earlier ones."""

    earlier: frozenset[bytes]  # the digests of the names yielded by earlier runs
    maximum: int  # items to yield in this run
    # All names of this run: in the order of yielding, and as a set.
    _order: list[str] = attrs.field(init=False, factory=list[str])
    _names: set[str] = attrs.field(init=False, factory=set[str])
    # Their digests, computed as far as the last cursor needed them.
    _digests: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def count(self) -> int:
        """The number of items yielded by this run."""
        return len(self._order)

    @property
    def is_full(self) -> bool:
        """Whether this run has yielded all items that it may yield."""
        return self.count == self.maximum

    def find_known(self, names: Collection[str]) -> set[str]:
        """Return the names that were yielded already, in this run or an earlier run."""
        known = self._names.intersection(names)
        if self.earlier:
            known |= {name for name in names if digest(name) in self.earlier}
        return known

    def add(self, names: Sequence[str], items: Sequence[T]) -> Sequence[T]:
        """Add names that were not yielded, up to the maximum; return their items."""
        room = self.maximum - self.count
        new = names[:room]
        self._order += new
        self._names.update(new)
        return items[:room]

    def keep(self, names: Container[str]) -> Container[str]:
        """Forget the names of this run, except these; return the names that remain."""
        self._order = [name for name in self._order if name in names]
        self._names = {*self._order}
        self._digests.clear()
        return self._names

    def digests(self, unread: int) -> bytes:
        """Return the joined digests of this run's names, without the last `unread` names."""
        for name in islice(self._order, len(self._digests) // DIGEST_SIZE, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST_SIZE * unread])
