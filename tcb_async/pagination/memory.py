"""Identity: the two keys of an item, and the names that a walk has yielded.

Rule: the name and the value of an item are read once, before the consumer receives it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from itertools import islice
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import DIGEST, digest
from tcb_async.exceptions import ConfigurationError
from tcb_async.pagination.page import Page, Request

T = TypeVar("T")
Key = TypeVar("Key")


# Two questions need two keys. Was this item yielded before? The name tells. Is this the row that
# was read before? Only if its value is unchanged: a function that was deleted and deployed again
# under its name is a different row.
#
# The consumer may change its rows, and equal rows need not compare equal (objects without `__eq__`,
# NaN). So the walk stores the text of a row's value, computed before the row is yielded. A frozen
# row is its own value. Digests are computed only for cursors: they cost more than all other work.
@attrs.frozen
class Identity(Generic[T]):
    """The two keys of an item."""

    name: Callable[[T], str]  # is never yielded twice
    text: Callable[[T], str] = repr  # differs where items differ, and is the same in every process
    frozen: bool = False  # items cannot be changed, and are equal where their texts are

    def names(self, items: Sequence[T]) -> list[str]:
        """Return the names of items."""
        return _each("identify", self.name, items)

    def texts(self, items: Sequence[T]) -> list[str]:
        """Return the texts of items."""
        if items and self.text is repr and type(items[0]).__repr__ is object.__repr__:
            raise ConfigurationError(
                f"value=repr: the repr of a {type(items[0]).__name__} is its address, and does not "
                "show whether the item has changed: make the class a dataclass, or pass value=…"
            )
        return _each("value", self.text, items)

    def values(self, items: Sequence[T]) -> Sequence[T | str]:
        """Return the values of items, which do not change: frozen items, or texts."""
        return items if self.frozen else self.texts(items)

    def digest(self, value: T | str | bytes) -> bytes:
        """Return the digest of a value, for a cursor."""
        if isinstance(value, bytes):
            return value
        return digest(value if isinstance(value, str) else self.texts((value,))[0])

    def is_same(self, stored: T | str | bytes, value: T | str) -> bool:
        """Whether a value is the stored one, or the one of the stored digest."""
        if isinstance(stored, bytes):
            return stored == self.digest(value)
        return stored == value

    def read(self, request: Request, page: Page[T]) -> Reply[T]:
        """Return a page with the keys of its items."""
        names = self.names(page.items)
        values = self.values(page.items)
        return Reply(request, page, names, values, request.offset + len(names))


@attrs.define(eq=False)
class Reply(Generic[T]):
    """The page that a request returned, with the keys of its items."""

    request: Request
    page: Page[T]
    names: Sequence[str]
    values: Sequence[T | str]
    end: int  # the row below the last item

    def find_repeated_name(self) -> str | None:
        """Return a name that appears twice in this reply; None if there is none."""
        if len(set(self.names)) == len(self.names):
            return None
        return next(name for name in self.names if self.names.count(name) > 1)


def _each(which: str, key: Callable[[T], Key], items: Sequence[T]) -> list[Key]:
    try:
        keys = list(map(key, items))
    except Exception as error:
        raise ConfigurationError(
            f"{which} failed with {type(error).__name__} for a fetched item: it must return a str "
            "for each item"
        ) from error
    if keys and not isinstance(keys[0], str):
        raise ConfigurationError(
            f"{which} returned {keys[0]!r:.80}: must be a str, such as str(order.number)"
        )
    return keys


@attrs.define(eq=False)
class YieldedNames:
    """The yielded names: a name in it is never yielded again, in any run."""

    earlier: frozenset[bytes]  # the digests of the names yielded by earlier runs
    maximum: int  # items to yield in this run
    # All names of this run, as a set, and in the order of yielding.
    _names: set[str] = attrs.field(init=False, factory=set[str])
    _order: list[str] = attrs.field(init=False, factory=list[str])
    # Their digests, computed as far as the last cursor needed them.
    _digests: bytearray = attrs.field(init=False, factory=bytearray)

    @property
    def count(self) -> int:
        """The number of items yielded by this run."""
        return len(self._order)

    @property
    def is_full(self) -> bool:
        """Whether this run has yielded all items that it may yield."""
        return len(self._order) == self.maximum

    def knows(self, name: str) -> bool:
        """Whether an item of this name was yielded, in this run or an earlier one."""
        return name in self._names or (bool(self.earlier) and digest(name) in self.earlier)

    def add_unknown(self, names: Sequence[str], items: Sequence[T]) -> list[T]:
        """Add the unknown names, up to the maximum; return their items."""
        new: list[T] = []
        for name, item in zip(names, items, strict=True):
            if not self.is_full and not self.knows(name):
                self._names.add(name)
                self._order.append(name)
                new.append(item)
        return new

    def add_all(self, names: Sequence[str]) -> bool:
        """Add names if all are unknown and not too many; otherwise add none.

        This is faster than `add_unknown`, and possible for nearly every page.
        """
        if self.earlier or len(self._order) + len(names) > self.maximum:
            return False
        if not self._names.isdisjoint(names):
            return False
        self._names.update(names)
        self._order += names
        return True

    def keep(self, names: Container[str]) -> None:
        """Forget all names but these: the items of the others were not returned."""
        self._order = [name for name in self._order if name in names]
        self._names = set(self._order)
        self._digests.clear()

    def digests(self, unread: int) -> bytes:
        """Return the digests of the names, without the last `unread` items."""
        for name in islice(self._order, len(self._digests) // DIGEST, None):
            self._digests += digest(name)
        return bytes(self._digests[: len(self._digests) - DIGEST * unread])
