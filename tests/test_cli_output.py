"""A file has its name when it is complete, and an export goes on where it stopped."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaks import eventually
from terminal import ENV, asks, run, start

from tcb_async import CloudFunction, TcbClient, cli
from tcb_async.cli.formats import FORMATS, Format
from tcb_async.cli.job import Listing
from tcb_async.cli.screen import Screen
from tcb_async.cli.selection import Selection
from tcb_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from types import FrameType

    from tcb_async.emulator import RecordedRequest


REFUSED = Fault.errcode(48001)


def fail_from(emulator: Emulator, row: int, fault: Fault = REFUSED) -> None:
    """Let every page from a row on meet a fault."""
    emulator.script([fault] * 99, when=lambda request: (request.offset or 0) >= row)


def listing(path: Path) -> list[str]:
    """The names in a finished export."""
    form = Format(path.suffix[1:])
    text = path.read_text()
    if form is Format.JSON:
        return [row["name"] for row in json.loads(text)]
    if form is Format.NDJSON:
        return [json.loads(line)["name"] for line in text.splitlines()]
    return [line.split(",")[0] for line in text.splitlines()[1:]]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def names(emulator: Emulator) -> list[str]:
    return [function.name for function in emulator.deploy(ENV, count=60)]


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "ndjson", "txt", "CSV"])
async def test_the_suffix_says_the_format(
    emulator: Emulator, names: list[str], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"all.{suffix}"

    ended = await run("list", ENV, "--output", str(file), env=asks(emulator))

    assert (ended.code, ended.out, ended.err) == (0, "", "")
    text = file.read_text()
    assert all(name in text for name in names)
    assert text.startswith({"json": "[", "jsonl": "{", "ndjson": "{"}.get(suffix, "name"))
    assert files(tmp_path) == {file.name}


@pytest.mark.parametrize("form", ["csv", "json", "ndjson", "table"])
async def test_a_failed_export_leaves_the_file_as_it_was(
    emulator: Emulator, names: list[str], tmp_path: Path, form: str
) -> None:
    file = tmp_path / "all"
    file.write_text("of yesterday")
    fail_from(emulator, 30)

    ended = await run(
        "list", ENV, "-o", str(file), "-f", form, "--page-size", "10", env=asks(emulator)
    )

    assert ended.code == 4
    assert file.read_text() == "of yesterday"
    assert files(tmp_path) == {"all"}


async def test_a_finished_export_takes_the_place_of_the_old_file(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "all.csv"
    file.write_text("of yesterday" * 9_999)

    await run("list", ENV, "-o", str(file), env=asks(emulator))

    assert listing(file) == names


async def test_an_export_by_way_of_a_link_writes_what_it_points_to(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    (tmp_path / "today").mkdir()
    (tmp_path / "all.csv").symlink_to(tmp_path / "today" / "all.csv")

    await run("list", ENV, "-o", str(tmp_path / "all.csv"), env=asks(emulator))

    assert (tmp_path / "all.csv").is_symlink()
    assert listing(tmp_path / "today" / "all.csv") == names


async def test_ctrl_c_leaves_no_half_of_a_file(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    fail_from(emulator, 30, Fault.hang())
    file = tmp_path / "all.csv"

    async with start(
        "list", ENV, "-o", str(file), "--page-size", "10", env=asks(emulator)
    ) as command:
        await eventually(lambda: emulator.in_flight > 0 and len(emulator.requests) > 3, seconds=20)
        ended = await command.end(signal.SIGTERM)

    assert ended.code == 130
    assert ended.err == "tcb-async: interrupted\n"
    assert files(tmp_path) == set()


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
async def test_an_interrupted_export_goes_on_without_loss_or_repeat(
    emulator: Emulator, names: list[str], tmp_path: Path, form: str
) -> None:
    file, cursor = tmp_path / f"all.{form}", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "10")
    fail_from(emulator, 30)

    failed = await run(*words, env=asks(emulator))

    assert failed.code == 4
    assert "goes on from there" in failed.err
    assert files(tmp_path) == {f"all.{form}.part", "cursor"}
    emulator.clear_faults()
    emulator.forget_requests()

    ended = await run(*words, env=asks(emulator))

    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert listing(file) == names
    assert files(tmp_path) == {file.name}
    assert min(request.offset or 0 for request in emulator.requests) > 10


async def test_an_export_killed_at_any_moment_goes_on_without_loss_or_repeat(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file, cursor = tmp_path / "all.json", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "3")
    emulator.latency = 0.02

    async with start(*words, "--concurrency", "1", env=asks(emulator)) as command:
        await eventually(lambda: len(emulator.requests) > 8, seconds=20)
        killed = await command.end(signal.SIGKILL)

    assert killed.code == -signal.SIGKILL
    assert not file.exists()
    assert (await run(*words, env=asks(emulator))).code == 0
    assert listing(file) == names
    assert not cursor.exists()


@pytest.mark.parametrize(("first", "last"), [(0, 5), (15, 35), (20, 60), (5, 45), (0, 60)])
async def test_what_was_written_once_is_not_written_again_however_the_list_has_changed(
    emulator: Emulator, names: list[str], tmp_path: Path, first: int, last: int
) -> None:
    file, cursor = tmp_path / "all.ndjson", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "10")
    fail_from(emulator, 30)
    await run(*words, env=asks(emulator))
    emulator.clear_faults()
    for name in names[first:last]:
        emulator.delete(ENV, name)
    emulator.deploy(ENV, "one-more")

    ended = await run(*words, env=asks(emulator))

    assert ended.code == 0
    found = listing(file)
    assert len(found) == len(set(found))
    assert {*names, "one-more"} - set(names[first:last]) <= set(found)


async def test_max_items_counts_what_is_new_when_the_walk_has_to_begin_anew(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file, cursor = tmp_path / "all.ndjson", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "-n", "45", "--page-size", "10")
    fail_from(emulator, 30)
    await run(*words, env=asks(emulator))
    emulator.clear_faults()
    for name in names[20:]:
        emulator.delete(ENV, name)
    emulator.deploy(ENV, "one-more")

    await run(*words, env=asks(emulator))

    assert listing(file)[-1] == "one-more"


async def test_nor_is_what_this_sitting_wrote_before_the_list_changed_under_it(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file, cursor = tmp_path / "all.ndjson", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "5")
    fail_from(emulator, 20)
    await run(*words, env=asks(emulator))
    emulator.clear_faults()
    gone = names[22:45]

    @emulator.on_request
    def delete(request: RecordedRequest) -> None:
        while gone and (request.offset or 0) > 40:
            emulator.delete(ENV, gone.pop())

    ended = await run(*words, "--concurrency", "1", env=asks(emulator))

    assert (ended.code, gone) == (0, [])
    found = listing(file)
    assert len(found) == len(set(found))
    assert set(names) - set(names[22:45]) <= set(found)


async def test_a_list_that_keeps_changing_under_a_first_sitting_is_5(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file, cursor = tmp_path / "all.csv", tmp_path / "cursor"

    @emulator.on_request
    def replace_all(_request: RecordedRequest) -> None:
        for function in emulator.functions(ENV):
            emulator.delete(ENV, function.name)
        emulator.deploy(ENV, count=len(names))

    ended = await run(
        *("list", ENV, "-o", str(file), "--resume", str(cursor)),
        *("--page-size", "2", "--concurrency", "1"),
        env=asks(emulator),
    )

    assert (ended.code, file.exists()) == (5, False)


async def test_filters_and_max_items_hold_over_both_sittings(
    emulator: Emulator, tmp_path: Path
) -> None:
    wanted = []
    for number in range(60):
        status = "Active" if number % 2 else "Updating"
        (function,) = emulator.deploy(ENV, status=status)
        wanted += [function.name] if number % 2 else []
    file, cursor = tmp_path / "all.csv", tmp_path / "cursor"
    words = (
        *("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "10"),
        *("--status", "active", "--max-items", "20"),
    )
    fail_from(emulator, 25)
    assert (await run(*words, env=asks(emulator))).code == 4
    emulator.clear_faults()

    assert (await run(*words, env=asks(emulator))).code == 0
    assert listing(file) == wanted[:20]


async def test_an_export_with_a_cursor_that_meets_no_trouble_leaves_only_its_file(
    emulator: Emulator, names: list[str], tmp_path: Path
) -> None:
    file, cursor = tmp_path / "all.json", tmp_path / "cursor"

    ended = await run("list", ENV, "-o", str(file), "--resume", str(cursor), env=asks(emulator))

    assert ended.code == 0
    assert listing(file) == names
    assert files(tmp_path) == {"all.json"}


async def test_an_export_that_failed_before_its_first_page_leaves_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    words = ("list", "test-nobody", "-o", str(tmp_path / "x.csv"), "--resume")

    ended = await run(*words, str(tmp_path / "cursor"), env=asks(emulator))

    assert ended.code == 4
    assert "goes on" not in ended.err
    assert files(tmp_path) == set()


@pytest.mark.parametrize("at_most", [None, 6])
async def test_whatever_kill_9_leaves_on_the_disk_is_enough_to_go_on_from(
    emulator: Emulator, tmp_path: Path, at_most: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if somebody looked
    names = [function.name for function in emulator.deploy(ENV, count=8)]
    (first := tmp_path / "first").mkdir()
    async with TcbClient(emulator.token, base_url=emulator.url) as client:
        left = await every_state(first, lambda: export(client, first, at_most))

        assert len(left) > 10
        for number, state in enumerate(left):
            (folder := tmp_path / str(number)).mkdir()
            for name, content in state.items():
                (folder / name).write_bytes(content.replace(b"/first/", b"/%d/" % number))

            await export(client, folder, at_most)

            assert listing(folder / "all.csv") == names[:at_most], state
            assert files(folder) == {"all.csv"}, state


async def export(client: TcbClient, folder: Path, at_most: int | None) -> None:
    selection = Selection(at_most=at_most)
    job = Listing(ENV, Format.CSV, selection, 3, folder / "all.csv", folder / "cursor")
    await job.write(client, Screen.open())


async def every_state(
    folder: Path, work: Callable[[], Coroutine[object, object, None]]
) -> list[dict[str, bytes]]:
    """What the folder held at each line of the export, as a kill at that moment leaves it."""
    states: list[dict[str, bytes]] = []

    def look(frame: FrameType, _event: str, _argument: object) -> object:
        if frame.f_code.co_filename not in {cli.export.__file__, cli.resume.__file__}:
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


@pytest.mark.parametrize(
    ("more", "other"),
    [
        (["--status", "Active"], "status"),
        (["--name", "fn-*", "--runtime", "*"], "runtime and name"),
        (["-n", "50"], "max-items"),
        (["-f", "ndjson"], "format"),
    ],
)
async def test_another_question_is_not_gone_on_with(
    emulator: Emulator, names: list[str], tmp_path: Path, more: list[str], other: str
) -> None:
    file, cursor = tmp_path / "all.csv", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "10")
    fail_from(emulator, 30)
    await run(*words, env=asks(emulator))
    before = contents(tmp_path)

    ended = await run(*words, *more, env=asks(emulator))

    assert ended.code == 3
    assert f"another {other};" in ended.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]", b'{"version":2}'])
async def test_a_cursor_file_that_is_none_is_3_and_left_alone(
    emulator: Emulator, names: list[str], tmp_path: Path, content: bytes
) -> None:
    file, cursor = tmp_path / "all.csv", tmp_path / "cursor"
    cursor.write_bytes(content)

    ended = await run("list", ENV, "-o", str(file), "--resume", str(cursor), env=asks(emulator))

    assert ended.code == 3
    assert "delete it to begin anew" in ended.err
    assert cursor.read_bytes() == content


@pytest.mark.parametrize("form", ["csv", "json", "ndjson"])
@pytest.mark.parametrize("damage", ["gone", "short", "other", "cursor"])
async def test_a_part_that_is_not_what_its_cursor_counts_is_3(
    emulator: Emulator, names: list[str], tmp_path: Path, form: str, damage: str
) -> None:
    file, cursor = tmp_path / f"all.{form}", tmp_path / "cursor"
    words = ("list", ENV, "-o", str(file), "--resume", str(cursor), "--page-size", "10")
    fail_from(emulator, 30)
    await run(*words, env=asks(emulator))
    part = tmp_path / f"all.{form}.part"
    content = part.read_bytes()
    match damage:
        case "gone":
            part.unlink()
        case "short":
            part.write_bytes(content[:-1])
        case "other":
            part.write_bytes(b'"' * len(content))
        case _:
            cursor.write_bytes(cursor.read_bytes().replace(b'"cursor":"2', b'"cursor":"3'))

    ended = await run(*words, env=asks(emulator))

    assert ended.code == 3
    assert "delete the --resume file" in ended.err


texts = st.text(st.sampled_from("a ,;\"'\\[]{}\r\n\t\x1b\u2028=é登😀"), min_size=1, max_size=6)
functions = st.lists(
    st.builds(CloudFunction, texts, texts, st.none() | texts),
    max_size=5,
    unique_by=lambda one: one.name,
)


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.NDJSON])
@given(pages=st.lists(functions, max_size=2))
def test_the_names_in_a_document_can_be_read_back_whatever_they_are(
    form: Format, pages: list[list[CloudFunction]]
) -> None:
    document, written = FORMATS[form].head, 0
    for page in pages:
        document += FORMATS[form].rows(page, written)
        written += len(page)
    names = {function.name for page in pages for function in page}

    assert FORMATS[form].names(document) == names
    assert FORMATS[form].names(document + FORMATS[form].tail) == names
