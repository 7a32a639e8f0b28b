"""Identity: the two keys of an item, and a reply with the keys of its items.

Rule: the name and the value of an item are read once, before the consumer receives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from tcb_async.cursor import digest
from tcb_async.exceptions import ConfigurationError
from tcb_async.pagination.page import Page, Request

T = TypeVar("T")


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
    # Differs where items differ, except in a secret, and is the same in every process.
    text: Callable[[T], str] = repr
    frozen: bool = False  # items cannot be changed, so each is its own value
    # Whether a list that contains a name twice is wrong. Otherwise it is one item in two rows.
    is_unique: bool = True

    def texts(self, items: Sequence[T]) -> list[str]:
        """Return the texts of items; refuse a repr that is an address."""
        if items and self.text is repr and type(items[0]).__repr__ is object.__repr__:
            raise ConfigurationError(
                f"value=repr: the repr of a {type(items[0]).__name__} is its address, and does not "
                "show whether the item has changed: make the class a dataclass, or pass value=…"
            )
        return _compute_keys("value", self.text, items)

    def digest(self, value: T | str | bytes) -> bytes:
        """Return the digest of a value, for a cursor; bytes are a digest already."""
        if isinstance(value, bytes):
            return value
        text = value if isinstance(value, str) else self.texts((value,))[0]
        return digest(text)

    def is_same(self, stored: T | str | bytes, value: T | str) -> bool:
        """Whether a value is equal to the stored value, or has the stored digest."""
        if isinstance(stored, bytes):
            return stored == self.digest(value)
        return stored == value

    def make_reply(self, request: Request, page: Page[T]) -> Reply[T]:
        """Compute the keys of a page's items. A value never changes: a frozen item, or a text."""
        names = _compute_keys("identify", self.name, page.items)
        values = page.items if self.frozen else self.texts(page.items)
        repeated: set[str] = set()
        if len(set(names)) < len(names):
            repeated = {name for name, times in Counter(names).items() if times > 1}
        end = request.offset + len(names)
        return Reply(request, page, names, values, end, repeated)


@attrs.define(eq=False)
class Reply(Generic[T]):
    """The page that a request returned, with the keys of its items."""

    request: Request
    page: Page[T]
    names: Sequence[str]
    values: Sequence[T | str]
    end: int  # the row below the last item
    repeated: set[str]  # the names that appear more than once


def _compute_keys(argument: str, function: Callable[[T], str], items: Sequence[T]) -> list[str]:
    try:
        keys = list(map(function, items))
    except Exception as error:
        raise ConfigurationError(
            f"{argument} failed with {type(error).__name__} for a fetched item: it must return a "
            "str for each item"
        ) from error
    for kind in {*map(type, keys)}:  # by type: a page has many keys, and mostly one type
        if not issubclass(kind, str):
            each = next(key for key in keys if not isinstance(key, str))
            raise ConfigurationError(
                f"{argument} returned {each!r:.80}: must be a str, such as str(order.number)"
            )
    return keys
