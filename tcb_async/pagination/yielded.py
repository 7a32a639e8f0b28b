"""The names that a walk has yielded.

Rule: a name is added before the consumer receives its item, and is never yielded again, in any run.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
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

    def find_known(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that were yielded, in this run or an earlier one."""
        known = self._names.keys() & names
        if self.earlier:
            known |= {name for name in names if digest(name) in self.earlier}
        return known

    def add(self, rows: dict[str, T]) -> list[T]:
        """Add the names of rows that were not yielded, up to the maximum; return these rows."""
        room = self.maximum - len(self._names)
        if len(rows) > room:
            rows = dict(islice(rows.items(), room))
        self._names |= dict.fromkeys(rows)
        return [*rows.values()]

    def keep(self, names: Container[str]) -> None:
        """Forget all names but these: the items of the others were not returned."""
        self._names = {name: None for name in self._names if name in names}
        self._digests.clear()

    def digests(self, unread: int) -> bytes:
        """Return the digests of the names, without the last `unread` items."""
        for name in islice(self._names, len(self._digests) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])
