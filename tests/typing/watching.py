"""Typical observers of a client. Checked by mypy and pyright, never run."""

from contextlib import AbstractContextManager, nullcontext
from typing import assert_type

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from tcb_async import TcbClient, WalkStats
from tcb_async.observer import Attempt, Observer, WorkObserver
from tcb_async.otel import Telemetry

TcbClient("ACCESS_TOKEN", observer=Telemetry())
TcbClient(
    "ACCESS_TOKEN",
    observer=Telemetry(tracer_provider=TracerProvider(), meter_provider=MeterProvider()),
)


class Walk:
    """Watches one walk."""

    def __init__(self, env: str) -> None:
        self.env = env

    def fetching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def ended(self, stats: WalkStats, error: BaseException | None) -> None:
        assert_type(stats.retries, int)
        print(self.env, error)


class Counter:
    """An observer of a user's own, which inherits from nothing."""

    def __init__(self) -> None:
        self.tries = 0

    def attempting(self, attempt: Attempt) -> AbstractContextManager[None]:
        assert_type(attempt.path, str)
        assert_type(attempt.status, int | None)
        self.tries += 1
        return nullcontext()

    def walk_started(self, env: str) -> Walk:
        return Walk(env)


TcbClient("ACCESS_TOKEN", observer=Counter())
observer: Observer = Counter()
walk: WorkObserver[WalkStats] = observer.walk_started("test-777bb9")
TcbClient("ACCESS_TOKEN", observer=print)  # type: ignore[arg-type]
