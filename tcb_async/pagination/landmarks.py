"""Whether a row is the same row as before, and where to look for it.

Rule: a row is the same only if it is unchanged, value for value. Its name says nothing here: a
function that was deleted and deployed again under its name is another row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from tcb_async.cursor import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Identity", "Landmarks", "rows_around"]

T = TypeVar("T")

_REMEMBERED = 16  # landmarks that a cursor carries: 8 bytes each


@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item.

    Args:
        name: What must not be yielded twice.
        value: A text that differs where the items differ, and is the same in every process.
    """

    name: Callable[[T], str]
    value: Callable[[T], str] = repr

    def digest(self, item: T) -> bytes:
        """The item's value, short enough for a cursor."""
        return digest(self.value(item))


@attrs.frozen(eq=False)
class Landmarks(Generic[T]):
    """Some rows that joined, in order: behind any of them that is unchanged a page may join.

    Args:
        identity: The two keys of an item.
        rows: Those that this run has read.
        earlier: The digests of those that an earlier run has read, instead.
    """

    identity: Identity[T]
    rows: Sequence[T] = ()
    earlier: Sequence[bytes] = ()

    def is_first(self, items: Sequence[T]) -> bool:
        """Whether the last of these rows is the first of `items`, unchanged."""
        if not items:
            return False
        if self.rows:
            return items[0] == self.rows[-1]
        return self.identity.digest(items[0]) == self.earlier[-1]

    def places(self, items: Sequence[T]) -> list[int]:
        """Where in `items` these rows are unchanged: that of the last row first."""
        places = {self.identity.digest(item): place for place, item in enumerate(items)}
        return [places[row] for row in reversed(self._digests()) if row in places]

    def packed(self) -> bytes:
        """The last of these rows, as a cursor carries them."""
        return b"".join(self._digests()[-_REMEMBERED:])

    def _digests(self) -> Sequence[bytes]:
        return list(map(self.identity.digest, self.rows)) or self.earlier


def rows_around(row: int, step: int, total: int, *, is_exact: bool) -> Iterator[int]:
    """Yield the rows from which to look for what should be in `row` now, likeliest first.

    Args:
        row: Where it should be.
        step: How far the pages that are looked at lie apart.
        total: How many rows there are.
        is_exact: Whether it is likely to be just there; else it is looked for half a page earlier,
            where a page shows it even if the list goes on shrinking.
    """
    here = max(0, min(row, total - 1))
    if is_exact:
        yield here
    left = right = max(0, here - (step + 1) // 2)
    if left < here or not is_exact:
        yield left
    while left > 0 or right + step < total:
        if left > 0:
            left = max(0, left - step)
            yield left
        right += step
        if right < total:
            yield right
