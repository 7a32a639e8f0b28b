"""Where a listing goes: stdout, a pipe, or a file that has its name when it is complete."""

import asyncio
import errno
import json
import os
import re
import signal

import pytest
from leaks import eventually
from terminal import ENV, env_for, is_one_sentence, names_in, run, start

from tcb_async.cli import files as output_files
from tcb_async.emulator import Fault


def fail_from(emulator, row, fault=None):
    """Give a fault to every page from a row on."""
    fault = fault or Fault.errcode(48001)
    emulator.script([fault] * 99, when=lambda request: (request.offset or 0) >= row)


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
    assert names_in(tmp_path / "today" / "all.csv") == names


@pytest.mark.slow
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
    modes = set()
    open_file = os.open

    def note_mode(path, flags, mode=0o777, **options):
        descriptor = open_file(path, flags, mode, **options)
        if str(path).endswith(".tmp"):
            modes.add(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    monkeypatch.setattr(os, "open", note_mode)
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


@pytest.mark.slow
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


@pytest.mark.slow
async def test_concurrent_exports_are_complete(emulator, names, tmp_path):
    file = tmp_path / "all.csv"

    words = ("list", ENV, "-o", str(file))
    async with (
        start(*words, env=env_for(emulator)) as one,
        start(*words, env=env_for(emulator)) as other,
    ):
        ended = await asyncio.gather(one.end(), other.end())

    assert [command.code for command in ended] == [0, 0]
    assert names_in(file) == names
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
    assert names_in(file) == names
    assert synced == [(file.stat().st_size, False)]


UNUSABLE = {
    "nowhere/x.csv": "there is no folder",
    "folder.csv": "is a folder",
    "locked.csv": "is read-only",
    "closed/x.csv": "you may not write to the folder",
}


@pytest.mark.parametrize("file", UNUSABLE)
async def test_a_file_that_cannot_be_written_exits_with_3(emulator, tmp_path, monkeypatch, file):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "locked.csv").touch()
    forbidden = {str(tmp_path / "closed"), str(tmp_path / "locked.csv")}
    monkeypatch.setattr(
        output_files.os, "access", lambda path, _: str(path) not in forbidden
    )  # for root

    ended = await run("list", ENV, "--output", str(tmp_path / file), env=env_for(emulator))

    assert (ended.code, ended.out) == (3, "")
    assert is_one_sentence(ended.err)
    assert f"--output {tmp_path / file}" in ended.err
    assert UNUSABLE[file] in ended.err
    assert emulator.requests == ()


async def test_loop_of_symbolic_links_is_replaced_or_refused(tmp_path):
    csv, night = tmp_path / "a.csv", tmp_path / "a.sqlite"
    for loop in (csv, night):
        loop.symlink_to(loop)

    listed = await run("list", "--demo", "-o", str(csv))
    refused = await run("inventory", "--demo", str(night))

    assert (listed.code, csv.read_text().count("login")) == (0, 1)
    assert (refused.code, is_one_sentence(refused.err)) == (3, True)
