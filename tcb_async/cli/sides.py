"""Sides of a comparison: an environment, a JSON document, standard input, a night.

Rule: how a side is written decides its type (an existing pipe is a document), and a side that
cannot be read completely is an error, never a shorter list. The sides have roles: only a list that
exists can be AFTER, and only one list can be BEFORE.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from cyclopts import CycloptsError

import tcb_async
from tcb_async.cli.credentials import prepare_service
from tcb_async.cli.files import read_input
from tcb_async.cli.formats import NIGHT_SUFFIX
from tcb_async.cli.nights import FunctionList, read_lists, report_missing
from tcb_async.cli.options import Access, Requests
from tcb_async.cli.progress import list_with_bar
from tcb_async.cli.screen import Screen
from tcb_async.exceptions import ConfigurationError

if TYPE_CHECKING:
    from tcb_async.client import TcbClient
    from tcb_async.models import CloudFunction

BEFORE = (
    "an environment's ID, cloudbaserc.json, a JSON export of tcb-async list, or - for JSON on stdin"
)
AFTER = "an environment's ID, a JSON export, -, or the file of a night"

Kind = Literal["environment", "document", "night"]
"""An environment to list, a JSON document (or a pipe), or the file of a night."""


def choose_kind(side: str) -> Kind:
    """Choose the type of a side by how it is written, unless it is a pipe; nothing is read."""
    path = Path(side)
    is_stream = path.exists() and not path.is_file() and not path.is_dir()
    if side == "-" or path.suffix.lower() == ".json" or is_stream:
        return "document"
    if path.suffix.lower() == NIGHT_SUFFIX:
        return "night"
    if "." in side or "/" in side or os.sep in side:  # no environment's ID contains one of these
        raise ConfigurationError(
            f"{side} cannot be compared: name an environment, cloudbaserc.json, a JSON export "
            "(tcb-async list ENV -o all.json), or the file of a night"
        )
    return "environment"


def _choose_kinds(before: str, after: str) -> dict[str, Kind]:
    if before == after == "-":
        raise CycloptsError("- is given twice: stdin can be read only once")
    kinds: dict[str, Kind] = {side: choose_kind(side) for side in (before, after)}
    if kinds[before] == "night":
        command = f"diff {after} {before}"
        if kinds[after] == "night":
            command = f"changes {before} {after}"
        raise CycloptsError(
            f"BEFORE is one list, and {before} is a night: write tcb-async {command}"
        )
    return kinds


def _read_document(side: str) -> tuple[bytes, str]:
    """Read a document; return its content, and the name by which errors call it."""
    return read_input(side), "stdin" if side == "-" else side


@attrs.frozen
class Side:
    """The side that is compared with the list before."""

    lists: Iterable[FunctionList]  # can be read once
    has_accounts: bool = False
    not_compared: int = 0  # accounts without a complete list, and environments that are not listed
    complete: int = 1  # accounts with complete lists; a plain list is that of one


@contextlib.contextmanager
def read_sides(
    before: str, after: str, access: Access, requests: Requests, screen: Screen
) -> Generator[tuple[Sequence[CloudFunction], Side]]:
    """Read the list before, and the side after; a night stays open for the block."""
    kinds = _choose_kinds(before, after)
    functions: Sequence[CloudFunction] = ()
    if kinds[before] == "document":
        functions = tcb_async.documents.parse_functions(*_read_document(before))
    side = None
    with contextlib.ExitStack() as stack:
        if kinds[after] == "document":
            rows = tcb_async.documents.parse_export(*_read_document(after))
            side = Side([(None, None, rows)])
        elif kinds[after] == "night":
            night = stack.enter_context(tcb_async.inventory.Night(after))
            counts = night.read_counts()
            missing = report_missing(night, screen) + counts.unavailable
            side = Side(
                read_lists(night), has_accounts=True, not_compared=missing, complete=counts.complete
            )
        # Environments are last, so that an invalid file costs no request.
        envs = [name for name, kind in kinds.items() if kind == "environment"]
        lists = _read_environments(envs, access, requests, screen) if envs else {}
        yield lists.get(before, functions), side or Side([(None, after, lists[after])])


def _read_environments(
    envs: Sequence[str], access: Access, requests: Requests, screen: Screen
) -> dict[str, list[CloudFunction]]:
    lists: dict[str, list[CloudFunction]] = {}

    async def work(client: TcbClient) -> None:
        for env in envs:
            _, rows = await list_with_bar(client, env, screen, page_size=requests.page_size)
            lists[env] = rows

    service = prepare_service(access, envs)
    service.run(work, requests.concurrency)
    return lists
