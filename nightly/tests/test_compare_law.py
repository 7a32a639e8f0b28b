"""Exit code 0 of ``diff``, for any lists, ways of reading them, faults, changes and kills.

The model knows both lists and every fault. 0 has to mean that the selected functions of every list
are equal, and that the command has read all of them.
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
from terminal import env_for, retry_at_once, run

from tcb_async import Account, AccountListing, CloudFunction
from tcb_async.cli.formats import FORMATS
from tcb_async.emulator import Emulator, Fault
from tcb_async.exceptions import TransportError
from tcb_async.inventory import InventoryStore

NAMES = ["login", "logout", "payNotify", "登录", "=sum"]
FIELDS = st.builds(
    dict,
    status=st.sampled_from(["Active", "Active", "Updating"]),
    runtime=st.sampled_from(["Nodejs16.13", "Nodejs16.13", "Go1", None]),
)
LISTS = st.dictionaries(st.sampled_from(NAMES), FIELDS, max_size=3)
"""Lists: the fields of each function, by name."""

PATTERNS = {
    (): (),
    ("--ignore-extra",): (),
    ("--name", "log*"): ("log*",),
    ("--name", "none*"): ("none*",),
    ("--name", "login", "--name", "none*"): ("login", "none*"),
}
OPTIONS = st.sampled_from(list(PATTERNS))
DAYS = ["2026-11-24", "2026-11-25", "2026-11-26"]


def functions(rows):
    return [CloudFunction(name, **fields) for name, fields in rows.items()]


def export(rows, output_format="json"):
    document = FORMATS[output_format](("name", "status", "runtime"))
    return b"".join(document.parts(functions(rows))).decode()


def items(rows):
    return [{"name": name, **fields} for name, fields in rows.items()]


def declare(rows, **more):
    declared = [
        {"name": name, **({"runtime": fields["runtime"]} if fields["runtime"] else {})}
        for name, fields in rows.items()
    ]
    return json.dumps({"functions": declared, **more})


PLUGINS = {"plugins": {"func": {"inputs": {"functions": [{"name": "login"}]}}}}
WRONG_DOCUMENTS = {
    "one page": lambda rows: json.dumps({"total_count": 9, "functions": items(rows)}),
    "a reply": lambda rows: json.dumps({"errcode": 0, "functions": items(rows)}),
    "an error": lambda _: json.dumps({"errcode": -1, "errmsg": "system error"}),
    "ndjson": lambda rows: export(rows, "ndjson") or "\n",
    "csv": lambda rows: export(rows, "csv"),
    "duplicate names": lambda rows: json.dumps([*items(rows), *items(rows), *[{"name": "a"}] * 2]),
    "duplicate keys": lambda rows: declare(rows)[:-1] + ', "functions": []}',
    "unknown fields": lambda rows: json.dumps([*items(rows), {"name": "a", "Runtime": "Go1"}]),
    "a placeholder": lambda rows: declare(rows | {"{{env.NAME}}": {"runtime": None}}),
    "plugins": lambda rows: declare(rows, framework=PLUGINS),
    "an inventory": lambda rows: json.dumps({"current": items(rows)}),
    "rows of an inventory": lambda rows: json.dumps(
        [{"appid": "wx1", **row} for row in [*items(rows), {"name": "a"}]]
    ),
}
KINDS = ["export", "declaration", "environment"]


@attrs.frozen
class Side:
    """One list, the way to read it, and its fault.

    Attributes:
        rows: The list.
        kind: One of `KINDS`.
        by_stdin: Whether a document is read from stdin.
        fault: None, the name of a wrong document, or the fraction of the list that arrives.
    """

    rows: dict[str, dict[str, str | None]]
    kind: str
    by_stdin: bool
    fault: str | float | None

    def prepare(self, folder, emulator, env):
        """Write the document or deploy the functions; return the argument and stdin."""
        if self.kind == "environment":
            self._deploy(emulator, env)
            return env, ""
        text = declare(self.rows) if self.kind == "declaration" else export(self.rows)
        if isinstance(self.fault, str):
            text = WRONG_DOCUMENTS[self.fault](self.rows)
        elif self.fault is not None:
            text = text[: int(len(text.rstrip()) * self.fault)]
        if self.by_stdin:
            return "-", text
        (folder / f"{env}.json").write_text(text, encoding="utf-8")
        return f"{folder}/{env}.json", ""

    def _deploy(self, emulator, env):
        emulator.deploy(env, "temporary")
        emulator.delete(env, "temporary")
        for name, fields in self.rows.items():
            emulator.deploy(env, name, **fields)
        if self.fault is not None:
            needed = max(1, len(self.rows) - 1)  # pages of two rows, which overlap by one
            pages = itertools.repeat(Fault.ok(), int(self.fault * needed))
            emulator.script(itertools.chain(pages, itertools.repeat(Fault.errcode(45009))))


DOCUMENTS = st.builds(
    Side,
    LISTS,
    st.sampled_from(KINDS[:2]),
    st.booleans(),
    st.one_of(
        *[st.none()] * 4, st.floats(0, 1, exclude_max=True), st.sampled_from([*WRONG_DOCUMENTS])
    ),
)
ENVIRONMENTS = st.builds(
    Side,
    LISTS,
    st.just("environment"),
    st.just(False),  # noqa: FBT003 - a strategy
    st.one_of(*[st.none()] * 3, st.floats(0, 1, exclude_max=True)),
)
SIDES = DOCUMENTS | ENVIRONMENTS


def select(rows, options):
    patterns = PATTERNS[options] or ("*",)
    return {
        name: fields
        for name, fields in rows.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def is_equal(expected, found, *, is_declared):
    """Whether a function is as expected: a declaration expects it to be Active."""
    if is_declared:
        return found["status"] == "Active" and expected["runtime"] in {None, found["runtime"]}
    return expected == found


def right_code(expected, lists, options, *, is_declared=False):
    """Return the exit code of a comparison that read everything."""
    names, is_selected = set(expected).union(*lists), False
    expected = select(expected, options)
    for rows in lists:
        found = {
            name: fields
            for name, fields in select(rows, options).items()
            if name in expected or options != ("--ignore-extra",)
        }
        is_selected |= bool(expected or found)
        if expected.keys() != found.keys() or not all(
            is_equal(fields, found[name], is_declared=is_declared)
            for name, fields in expected.items()
        ):
            return 7
    unmatched = [one for one in PATTERNS[options] if not any(fnmatchcase(n, one) for n in names)]
    return 3 if not lists or unmatched or (options and not is_selected) else 0


@pytest.fixture(autouse=True)
def no_retry_waits(monkeypatch):
    retry_at_once(monkeypatch)


# An example reads two lists or a store.
FEW_EXAMPLES = settings(
    max_examples=min(300, settings.default.max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def exit_code(*words, env=None, stdin=""):
    return asyncio.run(run("diff", *words, "--quiet", env=env, stdin=stdin)).code


@FEW_EXAMPLES
@given(expected=SIDES, found=SIDES, is_same=st.booleans(), options=OPTIONS)
def test_0_means_that_two_lists_are_equal(tmp_path_factory, expected, found, is_same, options):
    if is_same:
        found = attrs.evolve(found, rows=expected.rows)
    folder = tmp_path_factory.mktemp("sides")
    with Emulator() as emulator:
        sides = (
            expected.prepare(folder, emulator, "one-1"),
            found.prepare(folder, emulator, "two-2"),
        )
        words, stdins = zip(*sides, strict=True)
        code = exit_code(
            *words,
            *options,
            "--page-size",
            "2",
            env=env_for(emulator),
            stdin=stdins[0] or stdins[1],
        )
    event(f"exit code {code}")
    if words == ("-", "-"):
        assert code == 2
    elif expected.fault is not None or found.fault is not None:
        assert code in {2, 3, 4}
    elif found.kind == "declaration":
        assert code == 2
    else:
        is_declared = expected.kind == "declaration"
        right = right_code(expected.rows, [found.rows], options, is_declared=is_declared)
        assert code == right


CHANGES = st.lists(
    st.tuples(
        st.integers(2, 8), st.sampled_from(["update", "delete", "deploy"]), st.integers(0, 11)
    ),
    max_size=3,
)


def change(emulator, env, kind, index):
    """Make one change, to some function if there are any."""
    names = [function.name for function in emulator.functions(env)]
    if kind == "deploy":
        free = (f"new-{n}" for n in itertools.count(index) if f"new-{n}" not in names)
        emulator.deploy(env, next(free))
    elif names and kind == "update":
        emulator.update(env, names[index % len(names)], status="UpdateFailed")
    elif names:
        emulator.delete(env, names[index % len(names)])


@FEW_EXAMPLES
@given(
    count=st.integers(1, 12),
    page_size=st.integers(2, 5),
    changes=CHANGES,
    expects_changes=st.booleans(),
)
def test_0_means_that_the_last_replies_agree(
    tmp_path_factory, count, page_size, changes, expects_changes
):
    seen, totals, path = {}, [], tmp_path_factory.mktemp("changes") / "expected.json"
    with Emulator() as emulator:
        for env in ("one-1", "two-2"):
            emulator.deploy(env, count=count)
        for _, kind, index in changes if expects_changes else ():
            change(emulator, "two-2", kind, index)
        expected = {row.name: row.status for row in emulator.functions("two-2")}
        path.write_text(json.dumps([{"name": n, "status": s} for n, s in expected.items()]))

        @emulator.on_request
        def change_and_record(request):
            for number, kind, index in changes:
                if number == request.number:
                    change(emulator, "one-1", kind, index)
            rows = emulator.functions("one-1")
            totals.append(len(rows))
            page = rows[request.offset :][: request.body["limit"]]
            seen.update({row.name: row.status for row in page})

        words = ("--page-size", str(page_size), "--concurrency", "1")
        code = exit_code(str(path), "one-1", *words, env=env_for(emulator))
    event(f"exit code {code}")
    if code == 0:
        assert len(expected) == totals[-1]
        assert {name: seen.get(name) for name in expected} == expected
    else:
        assert code == 7
        assert changes


RESULTS = st.one_of(
    *[st.dictionaries(st.sampled_from(["dev-1", "prod-1"]), st.just("as expected"), min_size=1)]
    * 4,
    st.dictionaries(st.sampled_from(["dev-1", "prod-1"]), LISTS | st.just("as expected")),
    st.just("fails"),
)
ACCOUNTS = st.fixed_dictionaries(
    {"wx1": RESULTS},
    optional={"wx2": RESULTS | st.just("not reached"), "wx3": RESULTS | st.just("not reached")},
)
IS_PLANNED, IS_FINISHED = st.booleans(), st.sampled_from([True, True, True, False])
RUNS = st.lists(st.tuples(ACCOUNTS, IS_PLANNED, IS_FINISHED), max_size=len(DAYS))
LATEST_ROW = {
    "functions": "DELETE FROM functions WHERE (last_seen_run, appid, env, name) = "
    "(SELECT last_seen_run, appid, env, name FROM functions ORDER BY 1 DESC, 2, 3, 4 LIMIT 1)",
    "accounts": "DELETE FROM accounts WHERE (run, appid) = "
    "(SELECT run, appid FROM accounts ORDER BY 1 DESC, 2 LIMIT 1)",
    "runs": "DELETE FROM runs WHERE run = (SELECT max(run) FROM runs)",
}


def fill_in(accounts, expected):
    """Replace "as expected" by the expected list."""
    return {
        appid: {env: expected if rows == "as expected" else rows for env, rows in result.items()}
        if isinstance(result, dict)
        else result
        for appid, result in accounts.items()
    }


def store_run(path, day, accounts, is_planned, is_finished):
    """Store one run, which may be killed."""

    def noon():
        return datetime.fromisoformat(f"{day}T12:00:00+08:00")

    with InventoryStore(path, clock=noon) as store:
        begun = store.begin()
        if is_planned and accounts:
            begun._plan(dict.fromkeys(accounts))
        for appid, result in accounts.items():
            account = Account(appid, "a-token")
            if result == "fails":
                begun.save(AccountListing(account, error=TransportError("it failed")))
            elif result != "not reached":
                listed = {env: tuple(functions(rows)) for env, rows in result.items()}
                begun.save(AccountListing(account, listed))
        if is_finished:
            begun.finish()


@FEW_EXAMPLES
@given(
    expected=LISTS,
    runs=RUNS,
    damaged=st.none() | st.none() | st.sampled_from(list(LATEST_ROW)),
    options=OPTIONS,
)
def test_0_means_that_an_inventory_is_equal(tmp_path_factory, expected, runs, damaged, options):
    folder = tmp_path_factory.mktemp("store")
    path, template = folder / "i.sqlite", folder / "template.json"
    template.write_text(export(expected), encoding="utf-8")
    InventoryStore(path).close()
    runs = [(fill_in(accounts, expected), *rest) for accounts, *rest in runs]
    for day, one in zip(DAYS, runs, strict=False):
        store_run(path, day, *one)
    is_damaged = damaged is not None and delete_latest_row(path, damaged)
    code = exit_code(str(template), str(path), *options)
    event(f"exit code {code}")
    accounts, is_planned, is_finished = runs[-1] if runs else ({}, False, False)
    known = [result for result in accounts.values() if is_planned or result != "not reached"]
    if not is_finished or any(not isinstance(result, dict) for result in known):
        assert code in {3, 6}
        return
    lists = [rows for result in known for rows in (result.values() or [{}])]
    right = right_code(expected, lists, options)
    assert code in {right, 3} if is_damaged else code == right  # an older row may be deleted


def delete_latest_row(path, table):
    """Delete the latest row of a table: SQLite does not notice such damage."""
    with closing(sqlite3.connect(path)) as database:
        count = database.execute(LATEST_ROW[table]).rowcount
        database.commit()
    return count > 0
