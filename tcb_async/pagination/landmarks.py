"""Whether a row is the same row as before, and where to look for it.

Rule: a row is the same only if it is unchanged, value for value. Its name says nothing here: a
function that was deleted and deployed again under its name is another row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

from tcb_async.cursor import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Identity", "Landmarks", "ReadRows", "RememberedRows", "rows_around"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

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


class Landmarks(Protocol[T_contra]):
    """Some rows that joined, in order: behind any of them that is unchanged a page may join."""

    def is_first(self, items: Sequence[T_contra]) -> bool:
        """Whether the last of these rows is the first of `items`, unchanged."""
        ...

    def places(self, items: Sequence[T_contra]) -> list[int]:
        """Where in `items` these rows are unchanged: that of the last row first."""
        ...

    def digests(self) -> bytes:
        """The last of these rows, as a cursor carries them."""
        ...


@attrs.frozen(eq=False)
class ReadRows(Generic[T]):
    """Landmarks that this run has read: compared by value."""

    identity: Identity[T]
    rows: Sequence[T]

    def is_first(self, items: Sequence[T]) -> bool:
        """Whether the last of these rows is the first of `items`, unchanged."""
        return len(items) > 0 and items[0] == self.rows[-1]

    def places(self, items: Sequence[T]) -> list[int]:
        """Where in `items` these rows are unchanged: that of the last row first."""
        name = self.identity.name
        by_name = {name(item): place for place, item in enumerate(items)}
        found = ((row, by_name.get(name(row))) for row in reversed(self.rows))
        return [place for row, place in found if place is not None and items[place] == row]

    def digests(self) -> bytes:
        """The last of these rows, as a cursor carries them."""
        return b"".join(map(self.identity.digest, self.rows[-_REMEMBERED:]))


@attrs.frozen(eq=False)
class RememberedRows(Generic[T]):
    """Landmarks that an earlier run has read: compared by the digest of their value."""

    identity: Identity[T]
    rows: Sequence[bytes]

    def is_first(self, items: Sequence[T]) -> bool:
        """Whether the last of these rows is the first of `items`, unchanged."""
        return len(items) > 0 and self.identity.digest(items[0]) == self.rows[-1]

    def places(self, items: Sequence[T]) -> list[int]:
        """Where in `items` these rows are unchanged: that of the last row first."""
        by_value = {self.identity.digest(item): place for place, item in enumerate(items)}
        return [by_value[row] for row in reversed(self.rows) if row in by_value]

    def digests(self) -> bytes:
        """The last of these rows, as a cursor carries them."""
        return b"".join(self.rows)


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
