"""A guard that reports functions on runtimes past their end of life.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… python runtime_guard.py test-777bb9 prod-1a2b3c

To try it without an account, paste what ``tcb-async emulator --demo`` prints, and pass
``demo-3f6b2a``.

``--on 2027-01-01`` judges as of another day. The exit status suits a pipeline: 0 if all is well, 1
if a function was reported, 2 if an environment could not be looked at. Runtimes that the table does
not know are named on stderr, for nobody should take silence for a clean bill of health.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import UTC, date, datetime

from tcb_async import TcbClient, TcbError

NEVER = date.max
END_OF_LIFE = {
    "Nodejs8": date(2019, 12, 31),
    "Nodejs10": date(2021, 4, 30),
    "Nodejs12": date(2022, 4, 30),
    "Nodejs14": date(2023, 4, 30),
    "Nodejs16": date(2023, 9, 11),
    "Nodejs18": date(2025, 4, 30),
    "Nodejs20": date(2026, 4, 30),
    "Nodejs22": date(2027, 4, 30),
    "Python2.7": date(2020, 1, 1),
    "Python3.6": date(2021, 12, 23),
    "Python3.7": date(2023, 6, 27),
    "Python3.9": date(2025, 10, 31),
    "Python3.10": date(2026, 10, 31),
    "Php5.2": date(2011, 1, 6),
    "Php7.2": date(2020, 11, 30),
    "Php7.4": date(2022, 11, 28),
    "Php8.0": date(2023, 11, 26),
    "Go1": NEVER,
    "CustomRuntime": NEVER,
}
"""The days that the makers of the runtimes have announced; revise it as they do."""


def end_of_life(runtime: str) -> date | None:
    """The end of the line that a runtime belongs to; None if the table does not know it."""
    for line, end in END_OF_LIFE.items():
        if runtime == line or runtime.startswith(f"{line}."):
            return end
    return None


async def guard(client: TcbClient, env: str, today: date) -> int:
    """Report one environment; returns how many of its functions are past their time."""
    reported = 0
    unknown: set[str] = set()
    async with client.functions(env) as pager:
        async for function in pager:
            runtime = function.runtime or "no runtime"
            end = end_of_life(runtime)
            if end is None:
                unknown.add(runtime)
            elif end < today:
                print(f"{env} {function.name}: {runtime} came to its end on {end}")
                reported += 1
    for runtime in sorted(unknown):
        print(f"{env}: {runtime} is not in the table", file=sys.stderr)
    return reported


async def main(envs: list[str], today: date) -> int:
    reported, failed = 0, 0
    async with TcbClient.from_env() as client:
        for env in envs:
            try:
                reported += await guard(client, env, today)
            except TcbError as error:
                print(f"{env} could not be looked at: {error}", file=sys.stderr)
                failed += 1
    if failed:
        return 2
    return 1 if reported else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Report functions past their runtime's end.")
    parser.add_argument("envs", metavar="ENV", nargs="+")
    parser.add_argument("--on", type=date.fromisoformat, default=datetime.now(UTC).date())
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.envs, arguments.on)))
