"""An export that was interrupted goes on where it stopped, or says why it cannot."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from exports import contents, fail_from, files, listing
from leaks import eventually
from terminal import ENV, asks, run, start

from tcb_async import ConfigurationError, Cursor, TcbClient
from tcb_async.cli import lock, output, resume
from tcb_async.cli.formats import Format
from tcb_async.cli.listing import Listing, Selection
from tcb_async.cli.lock import lock_path, locked
from tcb_async.cli.output import Position
from tcb_async.cli.resume import ResumableFile
from tcb_async.cli.screen import Screen
from tcb_async.emulator import DEMO_ENV, Emulator, Fault

if TYPE_CHECKING:
    from types import FrameType

    from tcb_async.emulator import RecordedRequest

DOCUMENTS = ["csv", "json", "ndjson"]
APPID, SECRET = "wx0123456789abcdef", "s3cr3t-" * 5


@pytest.fixture
def names(emulator):
    return [function.name for function in emulator.deploy(ENV, count=60)]


def words(folder, form="csv", *more):
    """A resumable export in small pages."""
    file, place = folder / f"all.{form}", folder / "cursor"
    return ["list", ENV, "-o", str(file), "--resume", str(place), "--page-size", "10", *more]


async def interrupt(emulator, export, row=30):
    """Let an export fail from a row on, and heal the server."""
    fail_from(emulator, row)
    assert (await run(*export, env=asks(emulator))).code == 4
    emulator.clear_faults()
    emulator.forget_requests()


@pytest.mark.parametrize("form", DOCUMENTS)
async def test_an_interrupted_export_continues_without_loss_or_repeat(
    emulator, names, tmp_path, form
):
    export = words(tmp_path, form)
    fail_from(emulator, 30)

    failed = await run(*export, env=asks(emulator))

    assert failed.code == 4
    assert "run the same command again to continue" in failed.err
    assert files(tmp_path) == {f"all.{form}.part", "cursor"}
    emulator.clear_faults()
    emulator.forget_requests()

    ended = await run(*export, env=asks(emulator))

    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert listing(tmp_path / f"all.{form}") == names
    assert files(tmp_path) == {f"all.{form}"}
    assert min(request.offset or 0 for request in emulator.requests) > 10


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_an_export_that_is_killed_continues_without_loss_or_repeat(
    emulator, names, tmp_path, number
):
    export = words(tmp_path, "json")
    emulator.latency = 0.02

    async with start(*export, "--concurrency", "1", env=asks(emulator)) as command:
        await eventually(lambda: len(emulator.requests) > 3, seconds=20)
        killed = await command.end(number)

    assert killed.code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert files(tmp_path) >= {"all.json.part", "cursor"}
    assert (await run(*export, env=asks(emulator))).code == 0
    assert listing(tmp_path / "all.json") == names
    assert files(tmp_path) == {"all.json"}


@pytest.mark.parametrize(("first", "last"), [(0, 5), (15, 35), (20, 60), (5, 45), (0, 60)])
async def test_what_was_written_once_is_not_written_again_however_the_list_has_changed(
    emulator, names, tmp_path, first, last
):
    export = words(tmp_path, "ndjson")
    await interrupt(emulator, export)
    for name in names[first:last]:
        emulator.delete(ENV, name)
    emulator.deploy(ENV, "one-more")

    ended = await run(*export, env=asks(emulator))

    assert ended.code == 0
    found = listing(tmp_path / "all.ndjson")
    assert len(found) == len(set(found))
    assert {*names, "one-more"} - set(names[first:last]) <= set(found)


async def test_what_was_redeployed_or_updated_in_between_is_there_once(tmp_path):
    async with Emulator(order="newest_first") as emulator:
        names = [function.name for function in emulator.deploy(ENV, count=60)]
        export = words(tmp_path, "ndjson")
        await interrupt(emulator, export)
        for name in names[20:60:7]:
            emulator.delete(ENV, name)
            emulator.deploy(ENV, name)
        for name in (*names[:20:7], *names[21:60:7]):
            emulator.update(ENV, name)

        ended = await run(*export, env=asks(emulator))

    assert ended.code == 0
    assert sorted(map(str, listing(tmp_path / "all.ndjson"))) == sorted(names)


async def test_what_this_run_wrote_is_not_written_again_after_the_list_changed(
    emulator, names, tmp_path
):
    export = words(tmp_path, "ndjson", "--page-size", "5")
    await interrupt(emulator, export, 20)
    gone = names[22:45]

    @emulator.on_request
    def delete(request: RecordedRequest) -> None:
        while gone and (request.offset or 0) > 40:
            emulator.delete(ENV, gone.pop())

    ended = await run(*export, "--concurrency", "1", env=asks(emulator))

    assert (ended.code, gone) == (0, [])
    found = listing(tmp_path / "all.ndjson")
    assert len(found) == len(set(found))
    assert set(names) - set(names[22:45]) <= set(found)


async def test_filters_and_max_items_hold_over_all_runs(emulator, tmp_path):
    wanted = []
    for number in range(60):
        status = "Active" if number % 2 else "Updating"
        (function,) = emulator.deploy(ENV, status=status)
        wanted += [function.name] if number % 2 else []
    export = words(tmp_path, "csv", "--status", "active", "--max-items", "20")
    await interrupt(emulator, export, 25)

    assert (await run(*export, env=asks(emulator))).code == 0
    assert listing(tmp_path / "all.csv") == wanted[:20]


async def test_max_items_alone_holds_over_all_runs(emulator, names, tmp_path):
    export = words(tmp_path, "csv", "-n", "45")
    await interrupt(emulator, export)

    assert (await run(*export, env=asks(emulator))).code == 0
    assert listing(tmp_path / "all.csv") == names[:45]


async def test_a_resumable_export_that_meets_no_trouble_leaves_only_its_file(
    emulator, names, tmp_path
):
    ended = await run(*words(tmp_path, "json"), env=asks(emulator))

    assert ended.code == 0
    assert listing(tmp_path / "all.json") == names
    assert files(tmp_path) == {"all.json"}


async def test_an_export_that_failed_before_its_first_page_leaves_nothing(emulator, tmp_path):
    ended = await run(*words(tmp_path), env=asks(emulator))

    assert ended.code == 4
    assert "continue" not in ended.err
    assert files(tmp_path) == set()


async def test_the_demonstration_can_be_continued_too(tmp_path):
    export = ["list", "--demo", "-o", str(tmp_path / "all.csv"), "--resume", str(tmp_path / "c")]
    async with start(*export, "--page-size", "2", "--concurrency", "1") as command:
        await eventually((tmp_path / "all.csv.part").exists, seconds=20)
        killed = await command.end(signal.SIGTERM)

    ended = await run(*export)

    assert (killed.code, ended.code) == (143, 0)
    rows = [row.name for row in Emulator.demo().functions(DEMO_ENV)]
    assert listing(tmp_path / "all.csv") == rows


async def test_a_list_that_keeps_changing_ends_with_5_and_the_next_run_continues(
    emulator, names, tmp_path
):
    export, is_quiet = words(tmp_path, "ndjson", "--page-size", "2"), False

    @emulator.on_request
    def replace_all(_request: RecordedRequest) -> None:
        if not is_quiet:
            for function in emulator.functions(ENV):
                emulator.delete(ENV, function.name)
            emulator.deploy(ENV, count=len(names))

    failed = await run(*export, "--concurrency", "1", env=asks(emulator))
    is_quiet = True
    ended = await run(*export, env=asks(emulator))

    assert (failed.code, ended.code) == (5, 0)
    found = listing(tmp_path / "all.ndjson")
    assert len(found) == len(set(found))
    assert {function.name for function in emulator.functions(ENV)} <= set(found)


# What kill -9 may leave behind


@pytest.mark.parametrize("at_most", [None, 6])
async def test_whatever_kill_9_leaves_on_the_disk_is_enough_to_continue_from(
    emulator, tmp_path, at_most, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if somebody looked
    monkeypatch.setattr(resume, "_SHARE", 1)  # a resume file per page
    names = [function.name for function in emulator.deploy(ENV, count=8)]
    (first := tmp_path / "first").mkdir()
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        left = await every_state(first, lambda: export(client, first, at_most))

        assert len(left) > 20
        for number, state in enumerate(left):
            (folder := tmp_path / str(number)).mkdir()
            for name, content in state.items():
                (folder / name).write_bytes(content.replace(b"/first/", b"/%d/" % number))

            await export(client, folder, at_most)

            assert listing(folder / "all.csv") == names[:at_most], state
            assert files(folder) == {"all.csv"}, state


async def export(client, folder, at_most):
    job = Listing(
        ENV,
        Format.CSV,
        Selection(at_most=at_most),
        page_size=3,
        output=folder / "all.csv",
        resume=folder / "cursor",
    )
    await job.write(client, Screen.open())


async def every_state(folder, work):
    """What the folder held at each line of the export, as a kill at that moment leaves it."""
    states: list[dict[str, bytes]] = []
    looked_at = {module.__file__ for module in (lock, output, resume)}

    def look(frame: FrameType, _event: str, _argument: object) -> object:
        if frame.f_code.co_filename not in looked_at:
            return None
        state = contents(folder)
        if state not in states:
            states.append(state)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        await work()
    finally:
        sys.settrace(before)
    return states


@contextlib.contextmanager
def interrupted_run(folder):
    """A run of an export that is interrupted at the end of the block."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        ResumableFile.at(folder / "all.csv", folder / "cursor", {}) as part,
    ):
        assert part is not None
        yield part
        raise KeyboardInterrupt


class Clock:
    """Seconds; making a cursor takes some."""

    def __init__(self, seconds_a_cursor):
        self.now = 0.0
        self.cursors = 0
        self._seconds = seconds_a_cursor

    def __call__(self):
        return self.now

    def cursor(self):
        self.now += self._seconds
        self.cursors += 1
        return Cursor(ENV)


@pytest.mark.parametrize("seconds_a_cursor", [0.001, 0.5])
def test_resume_files_take_a_twentieth_of_the_time_however_long_a_cursor_is(
    tmp_path, seconds_a_cursor
):
    with interrupted_run(tmp_path) as part:
        part._clock = clock = Clock(seconds_a_cursor)
        for page in range(2000):
            clock.now += 0.05
            part.write(b"row\n", Position(page, page, clock.cursor))
        share = clock.cursors * seconds_a_cursor / clock.now

    assert 0.04 < share <= 0.06 or clock.cursors == 2001


def test_what_was_written_last_is_kept_at_the_end_however_rarely_it_is_kept_before(
    tmp_path,
):
    with interrupted_run(tmp_path) as part:
        part._clock = clock = Clock(1000.0)
        for page in range(1, 4):
            part.write(b"row\n", Position(page, page, clock.cursor))

    assert clock.cursors == 2
    with interrupted_run(tmp_path) as part:
        assert (part.begun.written, part.begun.seen) == (3, 3)


@pytest.mark.parametrize("is_half_written", [False, True])
def test_a_full_disk_leaves_what_was_kept_before(tmp_path, monkeypatch, *, is_half_written):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill(part: ResumableFile) -> None:
        part.write(b"row\n", Position(1, 1, lambda: Cursor(ENV)))
        part._next = math.inf
        part.write(b"row\n", Position(2, 2, lambda: Cursor(ENV)))
        if is_half_written:
            monkeypatch.setattr(part, "_file", Half(part._file, full))
            part.write(b"row\n", Position(3, 3, lambda: Cursor(ENV)))
        monkeypatch.setattr(resume, "sync", full)
        full()

    with pytest.raises(OSError, match="No space"), interrupted_run(tmp_path) as part:
        fill(part)
    monkeypatch.undo()

    with interrupted_run(tmp_path) as part:
        assert part.begun.written == 1
        assert (tmp_path / "all.csv.part").read_bytes() == b"row\n"


class Half:
    """A file that takes half of what is written to it."""

    def __init__(self, file, full):
        self._file = file
        self._full = full

    def write(self, data):
        self._file.write(data[: len(data) // 2])  # type: ignore[attr-defined]
        self._full()

    def __getattr__(self, name):
        return getattr(self._file, name)


# Another export's


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--status", "Active"], "--status unset;"),
        (["--name", "fn-*", "--runtime", "*"], "--runtime unset, --name unset;"),
        (["-n", "50"], "--max-items unset;"),
        (["-f", "ndjson"], "--format csv;"),
        (["--columns", "name"], "--columns unset;"),
    ],
)
async def test_an_export_with_other_options_is_not_continued(emulator, names, tmp_path, more, said):
    export = words(tmp_path)
    await interrupt(emulator, export)
    before = contents(tmp_path)

    ended = await run(*export, *more, env=asks(emulator))

    assert ended.code == 3
    assert f"it belongs to an export with {said}" in ended.err
    assert contents(tmp_path) == before
    assert emulator.requests == ()


async def test_an_export_from_another_service_is_not_continued(emulator, names, tmp_path):
    await interrupt(emulator, words(tmp_path))
    before = contents(tmp_path)
    async with Emulator() as other:
        other.deploy(ENV, count=60)
        ended = await run(*words(tmp_path), env=asks(other))
        assert other.requests == ()

    assert ended.code == 3
    assert f"service {emulator.url};" in ended.err
    assert contents(tmp_path) == before


async def test_an_export_of_another_account_is_not_continued(emulator, names, tmp_path):
    for appid in (APPID, "wx9876543210fedcba"):
        emulator.add_app(appid, SECRET)
    env = {"TCB_BASE_URL": emulator.url, "TCB_SECRET": SECRET, "TCB_APPID": APPID}
    fail_from(emulator, 30)
    assert (await run(*words(tmp_path), env=env)).code == 4
    emulator.clear_faults()
    before = contents(tmp_path)

    other = await run(*words(tmp_path), env=env | {"TCB_APPID": "wx9876543210fedcba"})
    unknown = await run(*words(tmp_path), env=asks(emulator))

    for ended in (other, unknown):
        assert ended.code == 3
        assert f"account {APPID};" in ended.err
    assert contents(tmp_path) == before
    assert (await run(*words(tmp_path), env=env)).code == 0
    assert listing(tmp_path / "all.csv") == names


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff", b"[1]", b'{"version":1}', b'{"asked":{},"version":3}', b"x" * 99_999],
)
async def test_a_file_that_is_not_a_resume_file_exits_with_3_and_is_left_alone(
    emulator, names, tmp_path, content
):
    (tmp_path / "cursor").write_bytes(content)

    ended = await run(*words(tmp_path), env=asks(emulator))

    assert ended.code == 3
    assert "not the resume file of an export" in ended.err
    assert contents(tmp_path) == {"cursor": content}
    assert emulator.requests == ()


async def test_a_part_file_of_something_else_exits_with_3_and_is_left_alone(
    emulator, names, tmp_path
):
    (tmp_path / "all.csv.part").write_bytes(b"somebody else's")

    ended = await run(*words(tmp_path), env=asks(emulator))

    assert ended.code == 3
    assert "all.csv.part is there" in ended.err
    assert contents(tmp_path) == {"all.csv.part": b"somebody else's"}


@pytest.mark.parametrize("place", ["all.csv", "all.csv.part", ".all.csv.lock"])
@pytest.mark.parametrize("is_there", [False, True])
async def test_a_resume_file_with_a_name_that_an_export_needs_exits_with_3_and_is_left_alone(
    emulator, names, tmp_path, *, place, is_there
):
    if is_there:
        (tmp_path / place).write_bytes(b"of yesterday")
    before = contents(tmp_path)
    export = ["list", ENV, "-o", str(tmp_path / "all.csv"), "--resume", str(tmp_path / place)]

    ended = await run(*export, env=asks(emulator))

    assert ended.code == 3
    assert "the export itself uses this name; name another file, such as all.cursor" in ended.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("form", DOCUMENTS)
@pytest.mark.parametrize("damage", ["gone", "short", "other", "cursor", "counts"])
async def test_a_part_that_is_not_what_its_resume_file_counts_exits_with_3(
    emulator, names, tmp_path, form, damage
):
    await interrupt(emulator, words(tmp_path, form))
    part, place = tmp_path / f"all.{form}.part", tmp_path / "cursor"
    content, saved = part.read_bytes(), json.loads(place.read_bytes())
    match damage:
        case "gone":
            part.unlink()
        case "short":
            part.write_bytes(content[:-1])
        case "other":
            part.write_bytes(content.replace(b"fn-0001", b"fn-0002"))
        case "counts":
            place.write_text(json.dumps(saved | {"length": saved["length"] - 1}))
        case _:
            place.write_text(json.dumps(saved | {"cursor": saved["cursor"][:-3]}))
    before = contents(tmp_path)

    ended = await run(*words(tmp_path, form), env=asks(emulator))

    assert ended.code == 3
    assert "to start again" in ended.err
    assert contents(tmp_path) == before


async def test_bytes_after_the_last_saved_position_are_cut_off(emulator, names, tmp_path):
    await interrupt(emulator, words(tmp_path))
    with (tmp_path / "all.csv.part").open("ab") as part:
        part.write(b"fn-9999,half a ro")

    assert (await run(*words(tmp_path), env=asks(emulator))).code == 0
    assert listing(tmp_path / "all.csv") == names


@pytest.mark.parametrize("where", ["all.csv.part", "all.csv", None])
@pytest.mark.parametrize("more", [b"", b"more"])
async def test_an_export_killed_after_its_last_byte_is_finished_without_a_request(
    emulator, names, tmp_path, where, more
):
    """Killed between the last byte and the end, with the document here or there, or nowhere."""
    await interrupt(emulator, words(tmp_path))
    part, place = tmp_path / "all.csv.part", tmp_path / "cursor"
    saved = msgspec.json.decode(place.read_bytes())
    place.write_bytes(msgspec.json.encode(saved | {"complete": True}))
    document = part.read_bytes()
    part.unlink()
    if where:
        (tmp_path / where).write_bytes(document + more)
    before = contents(tmp_path)

    ended = await run(*words(tmp_path), env=asks(emulator))

    assert emulator.requests == ()
    if where and not more:
        assert (ended.code, contents(tmp_path)) == (0, {"all.csv": document})
    else:
        assert ended.code == 3
        assert "was changed or removed since" in ended.err
        assert contents(tmp_path) == before


# Two at once


async def test_a_second_export_says_who_writes_the_file_and_ends(emulator, names, tmp_path):
    fail_from(emulator, 30, Fault.hang())
    async with start(*words(tmp_path), env=asks(emulator)) as first:
        await eventually((tmp_path / "cursor").exists, seconds=20)
        same = await run(*words(tmp_path), env=asks(emulator))
        same_file = words(tmp_path)
        same_file[5] += "2"
        other_place = await run(*same_file, env=asks(emulator))
        other_file = [*words(tmp_path), "-o", str(tmp_path / "other.csv")]
        same_place = await run(*other_file, env=asks(emulator))
        await first.end(signal.SIGKILL)
        emulator.clear_faults()
        again = await run(*words(tmp_path), env=asks(emulator))

    for refused, held in ((same, "all.csv"), (other_place, "all.csv"), (same_place, "cursor")):
        assert refused.code == 3
        holder = f"{tmp_path / held} is being written by process {first.process.pid} on "
        assert refused.err.startswith(f"tcb-async: {holder}")
        assert re.search(r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", refused.err)
    assert (again.code, listing(tmp_path / "all.csv")) == (0, names)
    assert files(tmp_path) == {"all.csv"}


def test_a_lock_ends_with_its_block_and_leaves_nothing(tmp_path):
    path = tmp_path / "all.csv"
    for _ in range(2):
        with locked(path):
            assert lock_path(path).exists()
            with (
                pytest.raises(ConfigurationError, match=f"process {os.getpid()} on "),
                locked(path),
            ):
                pytest.fail("two hold it")
        assert files(tmp_path) == set()


def test_a_lock_that_its_holder_has_just_removed_is_taken(tmp_path, monkeypatch):
    path, removed = tmp_path / "all.csv", []
    try_lock = lock._try_lock

    def remove_it_once(descriptor: int) -> None:
        if len(removed) < 2:
            lock_path(path).unlink()
            removed.append(descriptor)
        if len(removed) == 2:
            lock_path(path).touch()
        try_lock(descriptor)

    monkeypatch.setattr(lock, "_try_lock", remove_it_once)

    with locked(path):
        assert len(removed) == 2
        assert lock_path(path).read_text().startswith("process ")


def test_a_lock_holds_before_its_holder_has_written_who_it_is(tmp_path):
    path = tmp_path / "all.csv"
    with locked(path):
        os.truncate(lock_path(path), 0)
        with pytest.raises(ConfigurationError, match="by another process: wait"), locked(path):
            pytest.fail("two hold it")


async def test_a_file_system_without_locks_exits_with_3(emulator, names, tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    on_this_disk = await run(*words(tmp_path), env=asks(emulator))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    on_this_system = await run(*words(tmp_path), env=asks(emulator))

    assert (on_this_disk.code, on_this_system.code) == (3, 3)
    assert ".all.csv.lock: No locks available" in on_this_disk.err
    assert "needs file locks, which this system does not have" in on_this_system.err
    assert emulator.requests == ()


async def test_the_lock_of_a_dead_process_is_no_obstacle(emulator, names, tmp_path):
    for name in (".all.csv.lock", ".cursor.lock", ".cursor.tmp"):
        (tmp_path / name).write_text("process 1 on nowhere since long ago")

    assert (await run(*words(tmp_path), env=asks(emulator))).code == 0
    assert files(tmp_path) == {"all.csv"}


async def test_a_lock_does_not_follow_a_link(emulator, names, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("dear")
    (tmp_path / ".all.csv.lock").symlink_to(victim)

    ended = await run(*words(tmp_path), env=asks(emulator))

    assert ended.code == 3
    assert ".all.csv.lock: " in ended.err
    assert victim.read_text() == "dear"
    shutil.rmtree(tmp_path)
