"""Which request meets which fault. Rule: scripts in the order they were added, then chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from tcb_async.emulator.faults import Fault
from tcb_async.emulator.journal import RecordedRequest

if TYPE_CHECKING:
    import random

When = Callable[[RecordedRequest], bool]
_BUSY = Fault.errcode()
_OK = Fault.ok()


@attrs.frozen
class _Script:
    faults: Iterator[Fault]
    path: str | None
    when: When | None

    def matches(self, asked: RecordedRequest) -> bool:
        return self.path in (None, asked.path) and (self.when is None or self.when(asked))


def _checked(fault: object) -> Fault:
    if not isinstance(fault, Fault):
        raise TypeError(f"faults holds {fault!r}: it must hold Fault values, such as Fault.reset()")
    return fault


class FaultScripts:
    """The scripts that are not used up yet, and the share of random faults.

    Args:
        chance: The source of randomness.
    """

    def __init__(self, chance: random.Random) -> None:
        self.busy_rate = 0.0
        self._chance = chance
        self._scripts: dict[str | None, list[_Script]] = {}

    def add(
        self,
        faults: Iterable[Fault],
        path: str | None,
        account: str | None,
        when: When | None,
    ) -> None:
        """See ``Emulator.script``."""
        if isinstance(faults, Sequence):
            for fault in faults:
                _checked(fault)
        self._scripts.setdefault(account, []).append(_Script(iter(faults), path, when))

    def clear(self) -> None:
        """Drop all scripts."""
        self._scripts.clear()

    def next_for(self, asked: RecordedRequest) -> Fault:
        """Choose the fault for a request; ``Fault.ok()`` if no script matches."""
        for account in dict.fromkeys((asked.account, None)):
            scripts = self._scripts.get(account, [])
            for script in list(scripts):
                if script.matches(asked):
                    if (fault := next(script.faults, None)) is not None:
                        return _checked(fault)
                    scripts.remove(script)
        if self.busy_rate and self._chance.random() < self.busy_rate:
            return _BUSY
        return _OK
