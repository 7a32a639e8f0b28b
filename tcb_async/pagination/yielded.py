"""The names that a walk has yielded.

Rule: a name is added before the consumer receives its item, and is never yielded again, in any run.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import islice
from typing import TypeVar

import attrs

from tcb_async.cursor import DIGEST, digest

T = TypeVar("T")


@attrs.define(eq=False)
class YieldedNames:
    """The names that were yielded, in this run and in earlier ones."""

    earlier: frozenset[bytes]  # the digests of the names yielded by earlier runs
    maximum: int  # items to yield in this run
    # All names of this run, in the order of yielding.
    _names: dict[str, None] = attrs.field(init=False, factory=dict[str, None])
    # Their digests, computed as far as the last cursor needed them.
    _digests: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def count(self) -> int:
        """The number of items yielded by this run."""
        return len(self._names)

    @property
    def is_full(self) -> bool:
        """Whether this run has yielded all items that it may yield."""
        return len(self._names) == self.maximum

    def find_known(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that were yielded, in this run or an earlier one."""
        known = self._names.keys() & names
        if self.earlier:
            known |= {name for name in names if digest(name) in self.earlier}
        return known

    def add_unknown(self, names: Sequence[str], items: Sequence[T]) -> list[T]:
        """Add the unknown names, up to the maximum; return their items."""
        unknown = dict(zip(names, items, strict=True))
        for name in self.find_known(names):
            del unknown[name]
        new = dict(islice(unknown.items(), self.maximum - self.count))
        self._names |= dict.fromkeys(new)
        return [*new.values()]

    def add_all(self, names: Sequence[str]) -> bool:
        """Add names if all are unknown, different and not too many; otherwise add none.

        For nearly every page this is possible, and the fastest way.
        """
        new = dict.fromkeys(names)
        is_too_long = self.count + len(names) > self.maximum
        has_name_twice = len(new) < len(names)
        if is_too_long or has_name_twice or not self._names.keys().isdisjoint(new):
            return False
        if self.earlier and self.find_known(names):
            return False
        self._names |= new
        return True

    def keep(self, names: Container[str]) -> None:
        """Forget all names but these: the items of the others were not returned."""
        self._names = {name: None for name in self._names if name in names}
        self._digests.clear()

    def digests(self, unread: int) -> bytes:
        """Return the digests of the names, without the last `unread` items."""
        for name in islice(self._names, len(self._digests) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])
