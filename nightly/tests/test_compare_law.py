"""Exit code 0 of ``diff``, for any two worlds, ways of reading them, faults and kills.

The model knows both worlds and every fault. 0 has to mean that the selected functions of every
list are equal, and that nothing kept the command from reading them.

The default run has this file too (``testpaths``), with few examples.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from contextlib import closing
from datetime import datetime
from fnmatch import fnmatchcase

import attrs
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from terminal import asks, retry_at_once, run

from tcb_async import Account, AccountListing, CloudFunction
from tcb_async.cli.formats import FORMATS
from tcb_async.emulator import Emulator, Fault
from tcb_async.exceptions import TransportError
from tcb_async.inventory import InventoryStore

NAMES = ["login", "logout", "payNotify", "登录", "=sum"]
WORLD = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        dict,
        status=st.sampled_from(["Active", "Active", "Updating"]),
        runtime=st.sampled_from(["Nodejs16.13", "Nodejs16.13", "Go1", None]),
    ),
    max_size=3,
)
"""A list: the known fields of each function, by name."""

FILES = ["json", "ndjson", "csv"]
WAYS = [*FILES, *(f"stdin {form}" for form in FILES), "configuration", "folder", "environment"]
OPTIONS = st.sampled_from([(), ("--ignore-extra",), ("--name", "log*"), ("--name", "nothing*")])
DAYS = ["2026-11-24", "2026-11-25", "2026-11-26"]


def functions(world):
    return [CloudFunction(name, **known) for name, known in world.items()]


def cut(data, fault):
    """Keep the first part of a document, unless there is no fault."""
    return data if fault is None else data[: int(len(data.rstrip()) * fault)]


@attrs.frozen
class Side:
    """One list, the way to read it, and how much of it arrives: all of it if ``fault`` is None."""

    world: dict[str, dict[str, str | None]]
    way: str
    fault: float | None

    def prepare(self, folder, emulator, env):
        """Make it, and return the argument that names it, and stdin."""
        form = self.way.removeprefix("stdin ")
        if self.way == "environment":
            self._deploy(emulator, env)
            return env, ""
        if self.way == "folder":
            for name in self.world:
                (folder / env / name).mkdir(parents=True)
                (folder / env / name / "index.js").touch()
            return f"{folder}/{env}/", ""
        if self.way == "configuration":
            path, data = folder / f"{env}.json", json.dumps({"functions": self._declared()})
            path.write_text(cut(data, self.fault), encoding="utf-8")
            return str(path), ""
        data = FORMATS[form](("name", "status", "runtime")).whole(functions(self.world))
        if self.way.startswith("stdin"):
            return "-", cut(data.decode(), self.fault)
        path = folder / f"{env}.{form}"
        if self.fault is None or form == "json":  # the others appear when they are complete
            path.write_bytes(cut(data, self.fault))
        return str(path), ""

    def _deploy(self, emulator, env):
        emulator.deploy(env, "temporary")
        emulator.delete(env, "temporary")
        for name, known in self.world.items():
            emulator.deploy(env, name, **known)
        if self.fault is not None:
            pages = itertools.repeat(Fault.ok(), int(self.fault * max(1, len(self.world))))
            emulator.script(itertools.chain(pages, itertools.repeat(Fault.errcode(45009))))

    def _declared(self):
        return [
            {"name": name, **({"runtime": known["runtime"]} if known["runtime"] else {})}
            for name, known in self.world.items()
        ]

    @property
    def known(self):
        """The fields of each function that this way of reading it tells."""
        if self.way == "folder":
            return {name: {} for name in self.world}
        if self.way == "configuration":
            return {
                name: {"runtime": known["runtime"]} if known["runtime"] else {}
                for name, known in self.world.items()
            }
        return self.world

    @property
    def is_complete(self):
        """Whether the command can read all of it."""
        form = self.way.removeprefix("stdin ")
        return not (
            (self.fault is not None and self.way != "folder")
            or (self.way.startswith("stdin") and form != "json")
            or (form == "csv" and "=sum" in self.world)
            or (self.way in {"folder", "ndjson"} and not self.world)
        )


SIDES = st.builds(
    Side, WORLD, st.sampled_from(WAYS), st.none() | st.none() | st.floats(0, 1, exclude_max=True)
)


def selected(world, options):
    pattern = options[1] if "--name" in options else "*"
    return {name: known for name, known in world.items() if fnmatchcase(name, pattern)}


def are_equal(expected, found, options):
    """Whether two lists have the same functions, as far as both sides know them."""
    if options == ("--ignore-extra",):
        found = {name: known for name, known in found.items() if name in expected}
    return expected.keys() == found.keys() and all(
        one.get(field, "Active" if field == "status" else None)
        == found[name].get(field, "Active" if field == "status" else None)
        for name, one in expected.items()
        for field in ("status", "runtime")
        if (field in one and field in found[name])
        or (field == "status" and (field in one or field in found[name]))
    )


def compared(pairs, options):
    """Whether anything is compared: two empty lists are, unless options leave out functions."""
    return bool(pairs) and (
        not options or any(one or (two and options != ("--ignore-extra",)) for one, two in pairs)
    )


@pytest.fixture(autouse=True)
def no_retry_waits(monkeypatch):
    retry_at_once(monkeypatch)


# An example reads two lists or a store, so the default run has 30 of each kind: 2 s.
FEW = settings(
    max_examples=min(300, settings.default.max_examples // 2),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def exit_code(*words, env=None, stdin=""):
    return asyncio.run(run("diff", *words, "--quiet", env=env, stdin=stdin)).code


@FEW
@given(expected=SIDES, found=SIDES, is_same=st.booleans(), options=OPTIONS)
def test_two_lists(tmp_path_factory, expected, found, is_same, options):
    if is_same:
        found = attrs.evolve(found, world=expected.world)
    folder = tmp_path_factory.mktemp("sides")
    with Emulator() as emulator:
        sides = (
            expected.prepare(folder, emulator, "one-1"),
            found.prepare(folder, emulator, "two-2"),
        )
        words, stdins = zip(*sides, strict=True)
        code = exit_code(
            *words, *options, "--page-size", "1", env=asks(emulator), stdin=stdins[0] or stdins[1]
        )
    pair = selected(expected.known, options), selected(found.known, options)
    is_read = expected.is_complete and found.is_complete and words != ("-", "-")
    event(f"exit code {code}")
    if is_read and compared([pair], options):
        assert code == (0 if are_equal(*pair, options) else 7)
    else:
        assert code not in {0, 7}


ENVIRONMENTS = st.sampled_from(["dev-1", "prod-1"])
REACHED = st.one_of(
    *[st.dictionaries(ENVIRONMENTS, st.just("as expected"), min_size=1)] * 4,
    st.dictionaries(ENVIRONMENTS, WORLD | st.just("as expected")),
    st.just("fails"),
)
VISIT = REACHED | st.just("not reached")
VISITS = st.fixed_dictionaries({"wx1": REACHED}, optional={"wx2": VISIT, "wx3": VISIT})
IS_PLANNED, FINISHES = st.booleans(), st.sampled_from([True, True, True, False])
RUNS = st.lists(st.tuples(VISITS, IS_PLANNED, FINISHES), max_size=len(DAYS))
NEWEST_ROW = {
    "functions": "DELETE FROM functions WHERE (last_seen_run, appid, env, name) = "
    "(SELECT last_seen_run, appid, env, name FROM functions ORDER BY 1 DESC, 2, 3, 4 LIMIT 1)",
    "accounts": "DELETE FROM accounts WHERE (run, appid) = "
    "(SELECT run, appid FROM accounts ORDER BY 1 DESC, 2 LIMIT 1)",
    "runs": "DELETE FROM runs WHERE run = (SELECT max(run) FROM runs)",
}


def as_found(visits, expected):
    return {
        appid: {env: expected if world == "as expected" else world for env, world in found.items()}
        if isinstance(found, dict)
        else found
        for appid, found in visits.items()
    }


def night(path, day, visits, is_planned, finishes):
    """One run: which accounts it met, whether it stored them first, and whether it was killed."""

    def noon():
        return datetime.fromisoformat(f"{day}T12:00:00+08:00")

    with InventoryStore(path, clock=noon) as store:
        begun = store.begin(appids=list(visits) if is_planned else ())
        for appid, found in visits.items():
            account = Account(appid, "a-token")
            if found == "fails":
                begun.save(AccountListing(account, error=TransportError("it failed")))
            elif found != "not reached":
                listed = {env: tuple(functions(world)) for env, world in found.items()}
                begun.save(AccountListing(account, listed))
        if finishes:
            begun.finish()


@FEW
@given(
    expected=WORLD,
    runs=RUNS,
    damaged=st.none() | st.none() | st.sampled_from(list(NEWEST_ROW)),
    options=OPTIONS,
)
def test_an_inventory(tmp_path_factory, expected, runs, damaged, options):
    folder = tmp_path_factory.mktemp("store")
    path, template = folder / "i.sqlite", folder / "cloudbaserc.json"
    template.write_text(json.dumps([{"name": name, **one} for name, one in expected.items()]))
    InventoryStore(path).close()
    runs = [(as_found(visits, expected), *rest) for visits, *rest in runs]
    for day, one in zip(DAYS, runs, strict=False):
        night(path, day, *one)
    is_damaged = damaged is not None and lose_a_row(path, damaged)
    code = exit_code(str(template), str(path), *options)
    event(f"exit code {code}")
    visits, is_planned, finishes = runs[-1] if runs else ({}, False, False)
    met = {appid: found for appid, found in visits.items() if is_planned or isinstance(found, dict)}
    met |= {appid: found for appid, found in visits.items() if found == "fails"}
    if not finishes or any(not isinstance(found, dict) for found in met.values()):
        assert code in {3, 6}
        return
    lists = [world for found in met.values() for world in (found.values() or [{}])]
    pairs = [(selected(expected, options), selected(world, options)) for world in lists]
    right = 0 if all(are_equal(*pair, options) for pair in pairs) else 7
    if not compared(pairs, options):
        right = 3
    assert code in {right, 3} if is_damaged else code == right  # an older row may be lost


def lose_a_row(path, table):
    """Delete the newest row of a table, as damage does that SQLite does not notice."""
    with closing(sqlite3.connect(path)) as database:
        lost = database.execute(NEWEST_ROW[table]).rowcount
        database.commit()
    return lost > 0
