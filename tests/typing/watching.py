"""Typical observers of a client. Checked by mypy and pyright, never run."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, assert_type

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from tcb_async import TcbClient
from tcb_async.observer import Attempt, Observer, Work
from tcb_async.otel import Telemetry

TcbClient("ACCESS_TOKEN", observer=Telemetry())
TcbClient(
    "ACCESS_TOKEN",
    observer=Telemetry(tracer_provider=TracerProvider(), meter_provider=MeterProvider()),
)


class Counter:
    """An observer of a user's own, which inherits from nothing."""

    def __init__(self) -> None:
        self.tries = 0

    def observe(self, work: Attempt | Work) -> AbstractContextManager[None]:
        if isinstance(work, Attempt):
            assert_type(work.path, str)
            assert_type(work.status, int | None)
            self.tries += 1
        else:
            assert_type(work.kind, Literal["walk", "account", "inventory"])
            assert_type(work.result, dict[str, str | int | float | bool])
        return nullcontext()


TcbClient("ACCESS_TOKEN", observer=Counter())
observer: Observer = Counter()
TcbClient("ACCESS_TOKEN", observer=print)  # type: ignore[arg-type]
