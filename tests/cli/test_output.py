"""Where a listing goes: stdout, a pipe, or a file that has its name when it is complete."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from terminal import ENV, Screen, env_for, rows_in, run, start

from tcb_async import CloudFunction
from tcb_async.cli import files as output_files
from tcb_async.cli import formats
from tcb_async.cli.formats import FIELDS, FORMATS
from tcb_async.emulator import Fault

DOCUMENTS = ["csv", "json", "ndjson"]
HOSTILE = "a\x1b]0;owned\x07b\x9b2J\u0085\u202ec\u2066\x7f"


def fail_from(emulator, row, fault=None):
    """Give a fault to every page from a row on."""
    fault = fault or Fault.errcode(48001)
    emulator.script([fault] * 99, when=lambda request: (request.offset or 0) >= row)


def listing(path):
    """The names in a finished export."""
    text = path.read_bytes().decode()
    return [row["name"] for row in rows_in(text, path.suffix[1:])]


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def names(emulator):
    return [function.name for function in emulator.deploy(ENV, count=60)]


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "ndjson", "txt", "CSV"])
async def test_the_suffix_says_the_format(emulator, names, tmp_path, suffix):
    file = tmp_path / f"all.{suffix}"

    ended = await run("list", ENV, "--output", str(file), env=env_for(emulator))

    assert (ended.code, ended.out) == (0, "")
    text = file.read_text()
    assert all(name in text for name in names)
    assert text.startswith({"json": "[", "jsonl": "{", "ndjson": "{"}.get(suffix, "name"))
    assert files(tmp_path) == {file.name}


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "table"])
async def test_an_incomplete_list_is_neither_printed_nor_exported(emulator, names, tmp_path, form):
    file = tmp_path / "all"
    file.write_text("of yesterday")
    fail_from(emulator, 30)

    words = ("list", ENV, "-f", form, "--page-size", "10")
    exported = await run(*words, "-o", str(file), env=env_for(emulator))
    printed = await run(*words, env=env_for(emulator))

    assert (exported.code, printed.code, printed.out) == (4, 4, "")
    assert file.read_text() == "of yesterday"
    assert files(tmp_path) == {"all"}


async def test_a_full_disk_leaves_the_file_as_it_was(emulator, names, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "all.csv"
    file.write_text("of yesterday")
    monkeypatch.setattr(os, "fsync", fail)

    ended = await run("list", ENV, "-o", str(file), env=env_for(emulator))

    assert (ended.code, ended.err) == (3, f"tcb-async: {file}: No space left on device\n")
    assert file.read_text() == "of yesterday"
    assert files(tmp_path) == {"all.csv"}


async def test_an_export_to_a_symbolic_link_writes_its_target(emulator, names, tmp_path):
    (tmp_path / "today").mkdir()
    (tmp_path / "all.csv").symlink_to(tmp_path / "today" / "all.csv")

    await run("list", ENV, "-o", str(tmp_path / "all.csv"), env=env_for(emulator))

    assert (tmp_path / "all.csv").is_symlink()
    assert listing(tmp_path / "today" / "all.csv") == names


async def test_ctrl_c_leaves_no_half_of_a_file(emulator, names, tmp_path):
    fail_from(emulator, 30, Fault.hang())
    file = tmp_path / "all.csv"

    words = ("list", ENV, "-o", str(file), "--page-size", "10")
    async with start(*words, env=env_for(emulator)) as command:
        await eventually(lambda: emulator.in_flight > 0 and len(emulator.requests) > 3, seconds=20)
        ended = await command.end(signal.SIGINT)

    assert ended.code == 130
    assert ended.err == "tcb-async: interrupted\n"
    assert files(tmp_path) == set()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, None])
async def test_an_export_keeps_the_mode_of_the_old_file(emulator, tmp_path, mode, monkeypatch):
    emulator.deploy(ENV, count=60)
    file, usual = tmp_path / "all.csv", 0o666 & ~_umask()
    if mode is not None:
        file.touch()
        file.chmod(mode)
    modes, keep_mode = set(), output_files._keep_mode

    def note_mode(temporary, path):
        modes.add(temporary.stat().st_mode & 0o777)
        keep_mode(temporary, path)

    monkeypatch.setattr(output_files, "_keep_mode", note_mode)
    await run("list", ENV, "-o", str(file), env=env_for(emulator))

    assert file.stat().st_mode & 0o777 == (usual if mode is None else mode)
    assert modes == {usual if mode is None else mode & ~_umask()}


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
async def test_stdout_may_be_named_as_a_file(emulator, names, output):
    named = await run("list", ENV, "-o", output, "-f", "csv", env=env_for(emulator))
    unnamed = await run("list", ENV, "-f", "csv", env=env_for(emulator))

    assert named == unnamed
    assert named.code == 0
    assert (await run("list", ENV, "-o", output, env=env_for(emulator))).out.startswith("name  ")


LONG = f"tcb-async list {ENV} --page-size 1000"
SUMMARY = "tcb-async inventory --demo --summary -"
LEFT = ">&2; echo ${PIPESTATUS[0]}"
FULL = "tcb-async: No space left on device"
CLOSED = "tcb-async: stdout is closed: leave it open, or redirect it to a file"


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        (f"tcb-async --help | head -c 16 {LEFT}", 0, "0\n", "Usage: tcb-async"),
        (f"tcb-async list --help | head -c 21 {LEFT}", 0, "0\n", "Usage: tcb-async list"),
        (f"tcb-async --version | true {LEFT}", 0, "0\n", ""),
        (f"{LONG} -o /dev/stdout -f csv | head -1 {LEFT}", 0, "0\n", ",".join(FIELDS)),
        (f"{LONG} -f ndjson | head -c 8 {LEFT}", 0, "0\n", '{"name":'),
        (f"{LONG} | head -c 4 {LEFT}", 0, "0\n", "name"),
        ("tcb-async --help > /dev/full", 3, "", FULL),
        ("tcb-async list --help > /dev/full", 3, "", FULL),
        ("tcb-async --version > /dev/full", 3, "", FULL),
        (f"tcb-async list {ENV} > /dev/full", 3, "", FULL),
        (f"tcb-async count {ENV} > /dev/full", 3, "", FULL),
        (f"{SUMMARY} 2>&1 > /dev/full | tail -1 {LEFT}", 0, "3\n", FULL),
        (f"tcb-async count {ENV} 2> /dev/full", 0, "1500\n", ""),
        ("tcb-async count 2> /dev/full", 2, "", ""),
        ("tcb-async count ' ' 2> /dev/full", 3, "", ""),
        ("tcb-async inventory --demo > /dev/null 2> /dev/full", 6, "", ""),
        (f"tcb-async list {ENV} >&-", 3, "", CLOSED),
        (f"tcb-async count {ENV} 2>&-", 0, "1500\n", ""),
        (f"tcb-async list {ENV} >&- 2>&-", 3, "", ""),
    ],
)
async def test_only_a_stdout_that_cannot_be_written_is_an_error(emulator, line, code, out, err):
    """A closed pipe is fine, and so is a cron job whose log is on a full disk."""
    emulator.deploy(ENV, count=1500)
    program = ("bash", "-c", f'tcb-async() {{ "$0" -m tcb_async "$@"; }}; {line}', sys.executable)

    async with start(program=program, env=env_for(emulator, PYTHONUNBUFFERED="")) as command:
        ended = await command.end()

    assert (ended.code, ended.out, ended.err.strip()) == (code, out, err)


async def test_a_pipe_is_written_directly(emulator, names, tmp_path):
    pipe = tmp_path / "pipe.ndjson"
    os.mkfifo(pipe)

    async with start("list", ENV, "-o", str(pipe), env=env_for(emulator)) as command:
        text = await asyncio.to_thread(pipe.read_text)
        ended = await command.end()

    assert [json.loads(line)["name"] for line in text.splitlines()] == names
    assert ended.code == 0
    assert pipe.is_fifo()


async def test_an_export_to_a_device_does_not_replace_it(emulator, tmp_path):
    """By links: otherwise a failure as root would replace the machine's own devices."""
    emulator.deploy(ENV, count=3)
    null, full = tmp_path / "null", tmp_path / "full"
    null.symlink_to("/dev/null")
    full.symlink_to("/dev/full")

    done, failed = [
        await run("list", ENV, "-o", str(device), "-f", "json", env=env_for(emulator))
        for device in (null, full)
    ]

    assert (done.code, done.out) == (0, "")
    assert (failed.code, failed.err) == (3, f"tcb-async: {full}: No space left on device\n")
    assert null.is_char_device()


@pytest.mark.parametrize("form", DOCUMENTS)
async def test_columns_are_printed_as_requested_and_in_that_order(emulator, form):
    emulator.deploy(ENV, "login", mod_time="2024-01-01 00:00:00")

    words = ("--columns", "mod_time, NAME,name", "-f", form.upper())
    ended = await run("list", ENV, *words, env=env_for(emulator))

    assert ended.code == 0
    (row,) = rows_in(ended.out, form)
    assert list(row.items()) == [("mod_time", "2024-01-01T00:00:00+08:00"), ("name", "login")]


@pytest.mark.parametrize("form", DOCUMENTS)
async def test_no_control_character_reaches_a_terminal(emulator, form):
    emulator.deploy(ENV, HOSTILE, status="Act\u200bive\n")

    async with (
        Screen.of(200) as screen,
        start("list", ENV, "-f", form, env=env_for(emulator), stdout=screen.tty) as command,
    ):
        ended = await command.end()
        await screen.shows("Nodejs16.13")

    assert ended.code == 0
    shown = screen.shown.replace("\r\n", "\n")
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"a\u001b]0;owned\u0007b\u009b2J\u0085\u202ec\u2066\u007f" in shown
    if form != "csv":
        assert rows_in(shown, form)[0]["name"] == HOSTILE


@pytest.mark.parametrize("form", DOCUMENTS)
async def test_in_a_file_and_in_a_pipe_every_character_is_kept(emulator, tmp_path, form):
    emulator.deploy(ENV, HOSTILE)
    file = tmp_path / f"all.{form}"

    await run("list", ENV, "-o", str(file), env=env_for(emulator))
    piped = await run("list", ENV, "-f", form, env=env_for(emulator))

    assert listing(file) == [HOSTILE]
    assert file.read_bytes().decode() == piped.out


characters = "a ,;\"'\\[]{}\r\n\t\x1b\x85\u2028=+-@\uff1dé登😀"
texts = st.text(st.sampled_from(characters), min_size=1, max_size=6)
functions = st.lists(st.builds(CloudFunction, texts, texts, st.none() | texts), max_size=5)


@pytest.mark.parametrize("form", DOCUMENTS)
@given(functions=functions)
def test_all_that_a_server_says_can_be_read_back(form, functions):
    found = rows_in(b"".join(FORMATS[form]().parts(functions)).decode(), form)

    said = [(one.name, one.status, one.runtime) for one in functions]
    if form == "csv":
        said = [tuple(quoted(text or "") for text in texts) for texts in said]
    assert [(row["name"], row["status"], row["runtime"]) for row in found] == said


def quoted(text):
    """A text with a disarmed formula after every separator."""
    shown = ""
    for before, character in zip(f",{text}", text, strict=False):
        is_formula = character in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
        shown += "'" * (before in ",;\t\r\n" and is_formula) + character
    return shown


async def test_a_new_format_works_in_every_command(tmp_path, monkeypatch):
    class Tsv(formats.Document):
        suffixes = (".tsv",)

        def row(self, row):
            # As the formats beside it do.
            values = formats._get_values(row, self.columns).values()
            return ("\t".join(map(str, values)) + "\n").encode()

    monkeypatch.setitem(FORMATS, "tsv", Tsv)
    for command, code, rows in (("list", 0, 48), ("inventory", 6, 5650)):
        file = tmp_path / f"{command}.tsv"
        ended = await run(command, "--demo", "-o", str(file))

        assert (ended.code, len(file.read_text().splitlines())) == (code, rows)


async def test_an_export_keeps_the_owner_of_the_old_file(emulator, names, tmp_path, monkeypatch):
    """As root does: its new files belong to root."""
    file, owners = tmp_path / "all.csv", []
    file.write_text("of yesterday" * 9_999)
    old = file.stat()
    monkeypatch.setattr(os, "chown", lambda path, *ids: owners.append((path.name, *ids)))

    await run("list", ENV, "-o", str(file), env=env_for(emulator))

    ((temporary, *ids),) = owners
    assert temporary.startswith(".all.csv.")
    assert ids == [old.st_uid, old.st_gid]
    assert listing(file) == names


async def test_concurrent_exports_are_complete(emulator, names, tmp_path):
    file = tmp_path / "all.csv"

    words = ("list", ENV, "-o", str(file))
    async with (
        start(*words, env=env_for(emulator)) as one,
        start(*words, env=env_for(emulator)) as other,
    ):
        ended = await asyncio.gather(one.end(), other.end())

    assert [command.code for command in ended] == [0, 0]
    assert listing(file) == names
    assert files(tmp_path) == {"all.csv"}


async def test_an_export_has_a_summary_unless_quiet(emulator, names, tmp_path):
    words = ("list", ENV, "-o", str(tmp_path / "all.csv"))

    said = await run(*words, env=env_for(emulator))
    quiet = await run(*words, "--quiet", env=env_for(emulator))

    assert re.fullmatch(rf"60 functions in {ENV} \(\d+ requests?, \d\.\d s\)\n", said.err)
    assert quiet.err == ""


async def test_a_file_is_on_the_disk_before_it_has_its_name(emulator, names, tmp_path, monkeypatch):
    file, synced = tmp_path / "all.csv", []

    def note(descriptor):
        synced.append((os.fstat(descriptor).st_size, file.exists()))

    monkeypatch.setattr(os, "fsync", note)
    ended = await run("list", ENV, "-o", str(file), env=env_for(emulator))

    assert ended.code == 0
    assert listing(file) == names
    assert synced == [(file.stat().st_size, False)]


def test_every_format_can_be_chosen():
    assert {*FORMATS, formats.TABLE} == {*get_args(formats.Format)}


def test_table_shows_numbers():
    rows = [{"name": "a", "rows": 0}, {"name": "b", "rows": None}]
    shown = formats.format_rows(rows, ["name", "rows"], formats.TABLE, is_escaped=False)

    assert shown.decode().split() == ["name", "rows", "a", "0", "b", "–"]
