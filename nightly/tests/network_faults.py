"""Faults of a network, for the bytes of one connection, as frozen values.

Rule: a fault never alters a byte that passes; bytes are only late, in pieces, or missing. Values
compose: in a tuple of faults, bytes meet the first one first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Literal

import attrs
from attrs.validators import ge, gt, in_


@attrs.frozen
class Fault:
    """The treatment of the bytes of one direction; this base class passes all of them on.

    ``up`` is from the client to the server, ``down`` is back.
    """

    direction: Literal["up", "down"] = attrs.field(
        default="down", validator=in_(("up", "down")), kw_only=True
    )

    def onto(self, send):
        """Return a ``send`` that puts this fault before the one given.

        It passes on bytes that arrived at a time of the loop's clock.
        """
        return send


@attrs.frozen
class Latency(Fault):
    """Every byte arrives ``seconds`` later, whatever their number."""

    seconds: float = attrs.field(validator=ge(0))

    def onto(self, send):
        async def late(data, arrived):
            await _sleep_until(arrived + self.seconds)
            await send(data, now())

        return late


@attrs.frozen
class Bandwidth(Fault):
    """At most ``rate`` bytes pass per second, evenly."""

    rate: float = attrs.field(validator=gt(0))

    def onto(self, send):
        piece = max(1, int(self.rate / 100))
        free_at = 0.0

        async def paced(data, arrived):
            nonlocal free_at
            free_at = max(free_at, arrived)
            for part in _parts(data, piece):
                free_at += len(part) / self.rate
                await _sleep_until(free_at)
                await send(part, now())

        return paced


@attrs.frozen
class Slice(Fault):
    """Bytes arrive in pieces of at most ``size``, ``gap`` seconds apart."""

    size: int = attrs.field(validator=gt(0))
    gap: float = attrs.field(default=0.001, validator=ge(0))

    def onto(self, send):
        async def sliced(data, arrived):
            for part in _parts(data, self.size):
                await send(part, arrived)
                await asyncio.sleep(self.gap)

        return sliced


def drip(interval, *, direction="down"):
    """Return the fault that delivers one byte every ``interval`` seconds."""
    return Slice(1, gap=interval, direction=direction)


class End(Exception):  # noqa: N818  # not an error of ours
    """How a connection is closed."""


class Cut(End):
    """Both sides get a FIN."""


class Reset(End):
    """Both sides get an RST."""


class Lost(End):
    """Nothing more passes this way, and nobody is told."""


@attrs.frozen
class _After(Fault):
    after: int = attrs.field(default=0, validator=ge(0))
    _end: ClassVar[type[End]]

    def onto(self, send):
        left = self.after

        async def limited(data, arrived):
            nonlocal left
            passing = data[:left]
            left -= len(passing)
            if passing:
                await send(passing, arrived)
            if len(passing) < len(data):
                raise self._end

        return limited


@attrs.frozen
class CutAfter(_After):
    """``after`` bytes pass; the next one closes both sides of the connection (FIN)."""

    _end = Cut


@attrs.frozen
class ResetAfter(_After):
    """``after`` bytes pass; the next one resets both sides of the connection (RST).

    As with any RST, bytes that the client's system had no room for by then are lost.
    """

    _end = Reset


@attrs.frozen
class BlackHole(_After):
    """``after`` bytes pass; all later ones, and the FIN, are lost silently."""

    _end = Lost


@attrs.frozen
class HalfOpen(Fault):
    """The connection is accepted and read; there is no server, and no byte ever arrives."""


Faults = Fault | Sequence[Fault]
"""The plan of one connection: a fault, or several in the order in which bytes meet them."""


def as_tuple(faults):
    several = (faults,) if isinstance(faults, Fault) else tuple(faults)
    for fault in several:
        if not isinstance(fault, Fault):
            raise TypeError(f"not a fault: {fault!r}")
    return several


def _parts(data, size):
    return (data[start : start + size] for start in range(0, len(data), size))


def now():
    return asyncio.get_running_loop().time()


async def _sleep_until(time):
    await asyncio.sleep(time - now())
