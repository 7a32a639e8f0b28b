"""A nightly inventory of the cloud functions of many environments, as one CSV file.

    TCB_APPID=wx0123456789abcdef TCB_SECRET=… python inventory.py environments.txt inventory.csv

``environments.txt`` holds the id of an environment a line.

- Bounded: a few environments are in memory at a time, and one client's requests in flight.
- Resumable: what is finished is kept in ``inventory.csv.partial``. Killed at any moment and run
  again, it asks for the rest only. ``inventory.csv`` appears when it is whole.
- An environment that fails does not stop the others: it is named on stderr, and the exit status
  is 1. Only where the day's quota is used up is there no use in going on: the exit status is 2, and
  tomorrow's run asks for the rest.
"""

from __future__ import annotations

import asyncio
import csv
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tcb_async import DailyQuotaError, TcbClient, TcbError
from tcb_async.tokens import StableToken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcb_async import CloudFunction

COLUMNS = ("env", "name", "status", "runtime", "add_time", "mod_time")
ENVIRONMENTS_AT_ONCE = 4


class Partial:
    """What is finished so far: all functions of an environment, or none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE IF NOT EXISTS finished (env PRIMARY KEY)")
        self._database.execute(f"CREATE TABLE IF NOT EXISTS functions ({', '.join(COLUMNS)})")

    def close(self) -> None:
        self._database.close()

    def finished(self) -> set[str]:
        return {env for (env,) in self._database.execute("SELECT env FROM finished")}

    def keep(self, env: str, functions: list[CloudFunction]) -> None:
        rows = [(env, *row_of(function)) for function in functions]
        with self._database:
            self._database.executemany("INSERT INTO functions VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._database.execute("INSERT INTO finished VALUES (?)", (env,))

    def publish(self, envs: list[str], output: Path) -> None:
        """Write the CSV file, whole or not at all, and forget what it was made of."""
        draft = output.with_name(output.name + ".draft")
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for env in envs:
                select = "SELECT * FROM functions WHERE env = ? ORDER BY rowid"
                writer.writerows(self._database.execute(select, (env,)))
        draft.replace(output)
        self._path.unlink()


def row_of(function: CloudFunction) -> tuple[str | None, ...]:
    times = (time.isoformat() if time else None for time in (function.add_time, function.mod_time))
    return (function.name, function.status, function.runtime, *times)


async def take(client: TcbClient, envs: Iterator[str], partial: Partial) -> dict[str, TcbError]:
    """Take one environment after the other; returns those that failed."""
    failed: dict[str, TcbError] = {}
    for env in envs:
        try:
            async with client.functions(env) as pager:
                functions = await pager.collect()
        except DailyQuotaError:
            raise
        except TcbError as error:
            failed[env] = error
        else:
            partial.keep(env, functions)
    return failed


async def take_all(envs: list[str], partial: Partial) -> dict[str, TcbError]:
    finished = partial.finished()
    rest = iter([env for env in envs if env not in finished])
    token = StableToken(os.environ["TCB_APPID"], os.environ["TCB_SECRET"])
    base_url = os.environ.get("TCB_BASE_URL", "https://api.weixin.qq.com")
    async with TcbClient(token, base_url=base_url) as client, asyncio.TaskGroup() as group:
        takers = [
            group.create_task(take(client, rest, partial)) for _ in range(ENVIRONMENTS_AT_ONCE)
        ]
    return {env: error for taker in takers for env, error in taker.result().items()}


def main(listed: Path, output: Path) -> int:
    envs = list(dict.fromkeys(listed.read_text(encoding="utf-8").split()))
    with closing(Partial(output.with_name(output.name + ".partial"))) as partial:
        try:
            failed = asyncio.run(take_all(envs, partial))
        except* DailyQuotaError as errors:
            print(errors.exceptions[0], file=sys.stderr)
            print("what is finished is kept: run again tomorrow", file=sys.stderr)
            return_code = 2
        else:
            partial.publish(envs, output)
            for env, error in failed.items():
                print(f"{env} is missing: {error}", file=sys.stderr)
            return_code = 1 if failed else 0
    return return_code


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the program and its two arguments
        sys.exit("usage: inventory.py ENVIRONMENTS.txt OUTPUT.csv")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
