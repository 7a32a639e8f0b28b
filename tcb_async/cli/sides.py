"""Sides of a comparison: an environment, a file, a folder, standard input, an inventory.

Rule: how a side is written decides its type. A side that cannot be read completely is an error,
never a shorter list. `Side` counts the lists that were read and the differences, and alone decides
the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tcb_async.cli.access import find_service
from tcb_async.cli.exits import DIFFERENT, DONE, MISSING
from tcb_async.cli.formats import STORES
from tcb_async.cli.options import Access, Requests
from tcb_async.cli.progress import show_walk
from tcb_async.cli.screen import Screen, plural
from tcb_async.compare import (
    SUFFIXES,
    Functions,
    KnownFields,
    known_functions,
    parse_functions,
    read_functions,
)
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.inventory import InventoryStore, StoredRun

KINDS = (
    "an environment's ID, cloudbaserc.json, an export of tcb-async list (.json, .ndjson, .csv), "
    "the SQLite file of an inventory (.sqlite, .sqlite3, .db), a folder of functions (with a / in "
    "its name), or - for JSON on stdin"
)


@attrs.frozen
class LiveEnvironment:
    """An environment to list."""

    env: str


@attrs.frozen
class Store:
    """The SQLite file of an inventory."""

    path: str


@attrs.frozen
class ListFile:
    """A file, a folder or a stream."""

    read: Callable[[], Functions]


Source = LiveEnvironment | Store | ListFile


def find_source(text: str) -> Source:
    """Find the type of a source by how it is written, without reading it."""
    path = Path(text)
    is_path = "/" in text or os.sep in text
    if text == "-":
        return ListFile(_read_stdin)
    if path.exists() and not path.is_file() and not path.is_dir():  # such as <(command)
        return ListFile(lambda: parse_functions(path.read_bytes(), text))
    if path.suffix.lower() in STORES:
        return Store(text)
    if path.suffix.lower() in SUFFIXES or (is_path and not path.is_file()):
        return ListFile(partial(read_functions, text))
    if is_path or "." in text:  # no environment's ID has a dot
        raise ConfigurationError(f"{text}: its type is unknown; name {KINDS}")
    return LiveEnvironment(text)


def _read_stdin() -> Functions:
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed: name a file, or an environment")
    return parse_functions(sys.stdin.buffer.read(), "stdin")


@attrs.frozen
class FunctionList:
    """A complete list of functions; in an inventory, with its account and environment."""

    functions: Functions
    appid: str | None = None
    env: str | None = None


@attrs.define
class Side:
    """One side of a comparison: its lists, the counts of read lists, and the differences.

    The exit code depends on nothing else.

    Attributes:
        lists: Complete lists, which can be read once.
        missing: Accounts without a complete list, and unfinished runs.
        run: The run of an inventory.
        is_selective: Whether options leave out functions, so that none may be left.
        functions: Functions that were compared.
        differences: Differences by kind, or functions on ended runtimes.
        differing_appids: Accounts with a difference.
    """

    lists: Iterable[FunctionList]
    missing: int = 0
    run: StoredRun | None = None
    is_selective: bool = False
    functions: int = 0
    differences: Counter[str] = attrs.field(factory=Counter[str])
    differing_appids: set[str | None] = attrs.field(factory=set[str | None])
    _listed: int = 0
    _environments: int = 0
    _appids: set[str | None] = attrs.field(factory=set[str | None])

    def read(self) -> Iterator[FunctionList]:
        """Yield and count the lists. Raises at the end if nothing was compared: not equality."""
        for listed in self.lists:
            self._listed += 1
            self._environments += listed.env is not None
            self._appids.add(listed.appid)
            yield listed
        if self.exit_code() == DONE and not self._listed:
            raise ConfigurationError("nothing was compared: the inventory has no accounts")
        if self.exit_code() == DONE and self.is_selective and not self.functions:
            raise ConfigurationError("nothing was compared: no function is selected")

    def exit_code(self) -> int:
        if self.missing:
            return MISSING
        return DIFFERENT if self.differences.total() else DONE

    def describe(self, verb: str) -> str:
        """Say how much was read or compared, and of which run."""
        counts = [plural(self.functions, "function")]
        if self._environments:
            counts.append(plural(self._environments, "environment"))
        if accounts := self._appids - {None}:
            counts.append(plural(len(accounts), "account"))
        run = self.run
        when = "" if run is None else f", run {run.run}, finished {run.finished_at or 'not yet'}"
        return f"{' of '.join(counts)} {verb}{when}"


@attrs.frozen
class Reader:
    """Reads sources completely, environments with this account."""

    access: Access
    requests: Requests
    screen: Screen

    @contextlib.contextmanager
    def read(self, *given: Source) -> Generator[list[Side]]:
        """Read each source, the environments last; a store stays open for the block."""
        sides: dict[Source, Side] = {}
        with contextlib.ExitStack() as stack:
            for source in given:
                if isinstance(source, Store):
                    sides[source] = self._open(source, stack)
                elif isinstance(source, ListFile):
                    sides[source] = Side([FunctionList(source.read())])
            # Last: a file that is refused costs no request.
            if envs := [source.env for source in given if isinstance(source, LiveEnvironment)]:
                sides |= self._walk_all(envs)
            yield [sides[source] for source in given]

    def _walk_all(self, envs: Sequence[str]) -> dict[Source, Side]:
        found: dict[Source, Side] = {}
        for env in envs:
            if Path(env).exists():
                self.screen.say(f"{env} is read as an environment; for the file, write ./{env}")

        async def work(client: TcbClient) -> None:
            # A terminal shows one bar at a time.
            walks = [self._walk(client, env, env is envs[-1]) for env in envs]
            for env, functions in zip(envs, await asyncio.gather(*walks), strict=True):
                found[LiveEnvironment(env)] = Side([FunctionList(functions, env=env)])

        service = find_service(None, self.access, needs_env=False, others=envs)
        service.run(work, self.requests.concurrency)
        return found

    async def _walk(self, client: TcbClient, env: str, is_shown: bool) -> Functions:
        functions: dict[str, KnownFields] = {}
        async with client.functions(env, page_size=self.requests.page_size) as walk:
            shown = is_shown and self.screen.is_watched
            with show_walk(self.screen, env, walk, shown=shown) as set_done:
                async for page in walk.by_page():
                    functions |= known_functions(page.items)
                    set_done(len(functions))
        return functions

    def _open(self, source: Store, stack: contextlib.ExitStack) -> Side:
        """Open a store, and name the accounts that its run does not have completely."""
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

        store = stack.enter_context(InventoryStore(source.path, read_only=True))
        store.check()
        run, unfinished = _decisive_run(store)
        for later in unfinished:
            self.screen.say(f"run {later.run} of {source.path} is not finished")
        sentences = (
            f"{account.appid} is not compared: {account.message}"
            for account in store.missing(run.run)
        )
        incomplete = self.screen.say_each(sentences, "… and {:,} more in the table accounts")
        names = (
            f"{one.env} of {one.appid} is not compared: WeChat reports that it is {one.status}"
            for one in store.unavailable(run.run)
        )
        self.screen.say_each(names, "… and {:,} more in the view unavailable")
        return Side(_read_lists(store, run.run), incomplete + len(unfinished), run)


def _decisive_run(store: InventoryStore) -> tuple[StoredRun, list[StoredRun]]:
    """Return the newest finished run, and the unfinished runs after it.

    Without a finished run, the newest run with planned accounts takes its place, so that they can
    be named.
    """
    runs = store.runs()
    unfinished = list(itertools.takewhile(lambda run: run.finished_at is None, runs))
    decisive = [*runs[len(unfinished) :], *(run for run in unfinished if run.planned_at)]
    if not decisive:
        raise ConfigurationError(
            f"{store.path} has no finished run: finish one with tcb-async inventory"
        )
    return decisive[0], unfinished


def _read_lists(store: InventoryStore, run: str) -> Iterator[FunctionList]:
    """Yield the lists of the complete accounts; an account without an environment has one too."""
    for account in store.complete_accounts(run):
        if not account.functions:
            yield FunctionList({}, account.appid)
        for env, functions in account.functions.items():
            yield FunctionList(known_functions(functions), account.appid, env)
