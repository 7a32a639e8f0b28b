"""Sides of a comparison: an environment, a JSON document, standard input, an inventory.

Rule: how a side is written decides its type, and a side that cannot be read completely is an error,
never a shorter list. The sides have roles: only an existing list can be FOUND, and only one list
can be EXPECTED.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
from cyclopts import CycloptsError

import tcb_async
from tcb_async.cli.credentials import choose_service
from tcb_async.cli.files import read_input
from tcb_async.cli.formats import STORES
from tcb_async.cli.options import Access, Requests
from tcb_async.cli.reading import read_list
from tcb_async.cli.screen import Screen
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    import tcb_async.pagination.settled
    from tcb_async.client import TcbClient
    from tcb_async.compare import Functions
    from tcb_async.inventory import InventoryStore, StoredRun

EXPECTED = (
    "an environment's ID, cloudbaserc.json, a JSON export of tcb-async list, or - for JSON on stdin"
)
FOUND = "an environment's ID, a JSON export, -, or the SQLite file of an inventory"

Kind = Literal["environment", "document", "store"]
"""An environment to list, a JSON document (or a pipe), or the SQLite file of an inventory."""


def choose_kind(side: str) -> Kind:
    """Choose the type of a side by how it is written, without reading it."""
    path = Path(side)
    is_pipe = path.exists() and not path.is_file() and not path.is_dir()
    if side == "-" or path.suffix.lower() == ".json" or is_pipe:
        return "document"
    if path.suffix.lower() in STORES:
        return "store"
    if "." in side or "/" in side or os.sep in side:  # no environment's ID contains one of these
        raise ConfigurationError(
            f"{side} cannot be compared: name an environment, cloudbaserc.json, a JSON export "
            "(tcb-async list ENV -o all.json), or the SQLite file of an inventory"
        )
    return "environment"


def _choose_kinds(expected: str, found: str) -> dict[str, Kind]:
    if expected == found == "-":
        raise CycloptsError("- is given twice: stdin can be read only once")
    kinds: dict[str, Kind] = {side: choose_kind(side) for side in (expected, found)}
    if kinds[expected] == "store":
        command = f"changes {found}" if kinds[found] == "store" else f"diff {found} {expected}"
        raise CycloptsError(
            f"EXPECTED is one list, and {expected} is an inventory: write tcb-async {command}"
        )
    return kinds


def _read_documents(expected: str, found: str, kinds: Mapping[str, Kind]) -> dict[str, Functions]:
    documents = {
        side: tcb_async.compare.parse_document(read_input(side), "stdin" if side == "-" else side)
        for side, kind in kinds.items()
        if kind == "document"
    }
    declarations = [side for side, document in documents.items() if document.is_declaration]
    if found in declarations:
        other = "ENV" if expected in declarations else expected
        raise CycloptsError(
            f"FOUND is a list of existing functions, and {found} only declares functions: "
            f"write tcb-async diff {found} {other}"
        )
    return {side: document.functions for side, document in documents.items()}


FunctionList: TypeAlias = "tuple[str | None, str | None, Functions]"
"""A complete list of functions: of an account of an inventory, and of an environment, if any."""


@attrs.frozen
class Side:
    """The side that is compared with the expected list."""

    lists: Iterable[FunctionList]  # can be read once
    missing: int = 0  # accounts without a complete list, and unfinished runs
    run: StoredRun | None = None  # of an inventory


@contextlib.contextmanager
def read_sides(
    expected: str, found: str, access: Access, requests: Requests, screen: Screen
) -> Generator[tuple[Functions, Side]]:
    """Read the expected list, and the other side; a store stays open for the block."""
    kinds = _choose_kinds(expected, found)
    lists = _read_documents(expected, found, kinds)
    with contextlib.ExitStack() as stack:
        store_side = None
        if kinds[found] == "store":
            store, run, unfinished = stack.enter_context(open_store(found, screen))
            missing = unfinished + _name_missing(store, run.run, screen)
            _name_unavailable(store, run.run, screen)
            store_side = Side(_read_lists(store, run.run), missing, run)
        # Environments are last, so that an invalid file costs no request.
        if envs := [side for side, kind in kinds.items() if kind == "environment"]:
            lists |= _read_environments(envs, access, requests, screen)
        env = found if kinds[found] == "environment" else None
        yield lists[expected], store_side or Side([(None, env, lists[found])])


def _read_environments(
    envs: Sequence[str], access: Access, requests: Requests, screen: Screen
) -> dict[str, Functions]:
    lists: dict[str, Functions] = {}

    async def work(client: TcbClient) -> None:
        for env in envs:
            walk, rows = await read_list(client, env, screen, page_size=requests.page_size)
            tcb_async.pagination.settled.check_settled(walk.stats, env)
            lists[env] = tcb_async.compare.known_functions(env, rows)

    service = choose_service(None, access, needs_env=False, others=envs)
    service.run(work, requests.concurrency)
    return lists


@contextlib.contextmanager
def open_store(path: str, screen: Screen) -> Generator[tuple[InventoryStore, StoredRun, int]]:
    """Open a store, choose its latest finished run, and name and count the later ones."""
    with tcb_async.inventory.InventoryStore(path, read_only=True) as store:
        store.check()
        run, unfinished = _choose_run(store)
        for later in unfinished:
            screen.say(f"run {later.run} of {path} is not finished")
        yield store, run, len(unfinished)


def _name_missing(store: InventoryStore, run: str, screen: Screen) -> int:
    incomplete = screen.say_each(
        (f"{account.appid} is not compared: {account.message}" for account in store.missing(run)),
        "… and {:,} more in the table accounts",
    )
    progress = store.progress(run)
    assert progress is not None
    if progress.environments or not progress.unavailable:
        return incomplete
    screen.say(f"no account of run {run} has an environment in service")
    return incomplete + 1  # a run without lists is not complete


def _name_unavailable(store: InventoryStore, run: str, screen: Screen) -> None:
    screen.say_each(
        (
            f"{environment.env} of {environment.appid} is not compared: WeChat reports that it is "
            f"{environment.status}"
            for environment in store.unavailable(run)
        ),
        "… and {:,} more in the view unavailable",
    )


def _choose_run(store: InventoryStore) -> tuple[StoredRun, list[StoredRun]]:
    """Return the latest finished run, and the unfinished runs after it."""
    runs = store.runs()
    unfinished = list(itertools.takewhile(lambda run: run.finished_at is None, runs))
    if unfinished == runs:
        advice = "finish one with tcb-async inventory"
        raise ConfigurationError(f"{store.path} has no finished run: {advice}")
    return runs[len(unfinished)], unfinished


def _read_lists(store: InventoryStore, run: str) -> Iterator[FunctionList]:
    for account in store.complete_accounts(run):
        if not account.functions and not account.unavailable:  # WeChat refused no environment
            yield account.appid, None, {}
        for env, functions in account.functions.items():
            yield account.appid, env, tcb_async.compare.known_functions(env, functions)
