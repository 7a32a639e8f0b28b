"""Sides of a comparison: an environment, a JSON document, standard input, an inventory.

Rule: how a side is written decides its type, and a side that cannot be read completely is an error,
never a shorter list. The sides have roles: only an existing list can be FOUND, and only one list
can be EXPECTED.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import CycloptsError

from tcb_async.cli.credentials import choose_service
from tcb_async.cli.formats import STORES
from tcb_async.cli.options import Access, Requests
from tcb_async.cli.progress import show_walk
from tcb_async.cli.screen import Screen
from tcb_async.compare import FunctionDocument, Functions, known_functions, parse_document
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.inventory import InventoryStore, StoredRun

EXPECTED = (
    "an environment's ID, cloudbaserc.json, a JSON export of tcb-async list, or - for JSON on stdin"
)
FOUND = "an environment's ID, a JSON export, -, or the SQLite file of an inventory"


@attrs.frozen
class Environment:
    """An environment to list."""

    name: str


@attrs.frozen
class Store:
    """The SQLite file of an inventory."""

    name: str


@attrs.frozen
class Document:
    """A JSON file, a pipe such as ``<(command)``, or stdin."""

    name: str

    def read(self) -> FunctionDocument:
        if self.name != "-":
            return parse_document(Path(self.name).read_bytes(), self.name)
        if sys.stdin is None:
            raise ConfigurationError("stdin is closed: name a file, or an environment")
        return parse_document(sys.stdin.buffer.read(), "stdin")


Source = Environment | Store | Document


def choose_source(text: str) -> Source:
    """Choose the type of a source by how it is written, without reading it."""
    path = Path(text)
    is_pipe = path.exists() and not path.is_file() and not path.is_dir()
    if text == "-" or path.suffix.lower() == ".json" or is_pipe:
        return Document(text)
    if path.suffix.lower() in STORES:
        return Store(text)
    if "." in text or "/" in text or os.sep in text:  # no environment's ID contains one of these
        raise ConfigurationError(
            f"{text} cannot be compared: name an environment, cloudbaserc.json, a JSON export "
            "(tcb-async list ENV -o all.json), or the SQLite file of an inventory"
        )
    return Environment(text)


def _choose_sources(expected: str, found: str) -> tuple[Source, Source]:
    if expected == found == "-":
        raise CycloptsError("- is given twice: stdin can be read only once")
    first, second = choose_source(expected), choose_source(found)
    if isinstance(first, Store):
        other = "cloudbaserc.json" if isinstance(second, Store) else found
        raise CycloptsError(
            f"EXPECTED is one list, and {expected} is an inventory: write "
            f"tcb-async diff {other} {expected}"
        )
    return first, second


def _read_documents(first: Source, second: Source) -> dict[Source, FunctionList]:
    documents = {each: each.read() for each in (first, second) if isinstance(each, Document)}
    declarations = [each for each, document in documents.items() if document.is_declaration]
    if second in declarations:
        other = "ENV" if first in declarations else first.name
        raise CycloptsError(
            f"FOUND is a list of existing functions, and {second.name} only declares functions: "
            f"write tcb-async diff {second.name} {other}"
        )
    return {each: FunctionList(document.functions) for each, document in documents.items()}


@attrs.frozen
class FunctionList:
    """A complete list of functions; in an inventory, with its account and environment."""

    functions: Functions
    appid: str | None = None
    env: str | None = None


@attrs.frozen
class Side:
    """The side that is compared with the expected list.

    Attributes:
        lists: Complete lists, which can be read once.
        missing: Accounts without a complete list, and unfinished runs.
        run: The run of an inventory.
    """

    lists: Iterable[FunctionList]
    missing: int = 0
    run: StoredRun | None = None


@attrs.frozen
class Reader:
    """Reads both sides completely, environments with this account."""

    access: Access
    requests: Requests
    screen: Screen

    @contextlib.contextmanager
    def read(self, expected: str, found: str) -> Generator[tuple[Functions, Side]]:
        """Read the expected list, and the other side; a store stays open for the block."""
        first, second = _choose_sources(expected, found)
        lists = _read_documents(first, second)
        with contextlib.ExitStack() as stack:
            store = self._open_store(second.name, stack) if isinstance(second, Store) else None
            # Last: a file that is refused costs no request.
            if envs := [each for each in (first, second) if isinstance(each, Environment)]:
                lists |= self._list_environments(envs)
            yield lists[first].functions, store or Side([lists[second]])

    def _list_environments(self, envs: Sequence[Environment]) -> dict[Source, FunctionList]:
        found: dict[Source, FunctionList] = {}

        async def work(client: TcbClient) -> None:
            # A terminal shows one bar at a time.
            listings = [self._list(client, env.name, env is envs[-1]) for env in envs]
            found.update(zip(envs, await asyncio.gather(*listings), strict=True))

        others = [env.name for env in envs]
        service = choose_service(None, self.access, needs_env=False, others=others)
        service.run(work, self.requests.concurrency)
        return found

    async def _list(self, client: TcbClient, env: str, is_shown: bool) -> FunctionList:
        walk = client.functions(
            env,
            page_size=self.requests.page_size,
            on_progress=lambda done, _total: set_done(done),
        )
        with show_walk(
            self.screen, env, walk, is_shown=is_shown and self.screen.is_watched
        ) as set_done:
            # All rows, as the last pass read them: a page yielded earlier may be outdated.
            functions = await walk.collect()
        return FunctionList(known_functions(env, functions), env=env)

    def _open_store(self, path: str, stack: contextlib.ExitStack) -> Side:
        """Open a store, and name the accounts that its run does not have completely."""
        from tcb_async.inventory import InventoryStore  # noqa: PLC0415 - --help does not wait for it

        store = stack.enter_context(InventoryStore(path, read_only=True))
        store.check()
        run, unfinished = _choose_run(store)
        for later in unfinished:
            self.screen.say(f"run {later.run} of {path} is not finished")
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


def _choose_run(store: InventoryStore) -> tuple[StoredRun, list[StoredRun]]:
    """Return the latest finished run, and the unfinished runs after it.

    Without a finished run, the latest run with planned accounts takes its place, so that they can
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
            yield FunctionList(known_functions(env, functions), account.appid, env)
