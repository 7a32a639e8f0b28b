"""Tokens shared within one process.

Rule: each step is done between two awaits, so that no other task sees half of it.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

import attrs

from tcb_async._redact import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcb_async.tokens.protocols import StoredToken

__all__ = ["MemoryStore"]


@attrs.define
class _Slot:
    value: StoredToken | None = None
    newest: int = 0
    leased_until: float = -math.inf


@attrs.define(eq=False)
class MemoryStore:
    """Shares tokens between the providers of one process, for as long as it lives.

    Providers of the same account that are given the same store ask WeChat once. It belongs to no
    event loop; it is not made for several threads.

    Args:
        clock: Monotonic seconds; for tests.

    Attributes:
        lease_seconds: How long one provider may take before another asks WeChat instead.
    """

    lease_seconds: Final = 15.0
    _clock: Callable[[], float] = attrs.field(default=time.monotonic, kw_only=True)
    _slots: dict[str, _Slot] = attrs.field(init=False, factory=dict[str, _Slot])

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._slots)} keys>"

    async def get(self, key: str) -> StoredToken | None:
        """Return what is stored, expired or not; None for nothing."""
        return self._slot(key).value

    async def compare_and_set(self, key: str, value: StoredToken, *, ttl: float | None) -> bool:  # noqa: ARG002 - memory forgets with the process
        """Write a value, unless a newer one, or the lease of a newer one, is there."""
        slot = self._slot(key)
        stored = 0 if slot.value is None else slot.value.version
        if stored >= value.version or slot.newest > value.version:
            return False
        slot.value, slot.newest = value, value.version
        return True

    async def delete_if(self, key: str, token: str | Secret) -> None:
        """Forget what is stored, if it is this very token."""
        token = Secret(token)
        slot = self._slot(key)
        if slot.value is not None and slot.value.token == token:
            slot.value = None

    async def acquire_lease(self, key: str) -> int | None:
        """Take the lease of a key; None if another provider holds it."""
        slot = self._slot(key)
        now = self._clock()
        if now < slot.leased_until:
            return None
        slot.leased_until = now + self.lease_seconds
        slot.newest += 1
        return slot.newest

    async def release_lease(self, key: str, version: int) -> None:
        """Give a lease back, if it is still this one."""
        slot = self._slot(key)
        if slot.newest == version:
            slot.leased_until = -math.inf

    def _slot(self, key: str) -> _Slot:
        return self._slots.setdefault(key, _Slot())
