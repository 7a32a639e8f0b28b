"""The terminal: text that cannot control it, and streams that cannot be written."""

import contextlib
import io
import sys

import pytest
from nights import failed, listed, stored
from terminal import ENV, env_for, run, start
from terminal import Screen as Terminal

from tcb_async.__main__ import main
from tcb_async.cli.formats import FIELDS
from tcb_async.cli.screen import Screen, fill


async def test_text_from_a_server_cannot_control_the_terminal(emulator):
    said, shown = "[red]\x1b[2J\x9b2J\u202e\x07", r"[red]\x1b[2J\x9b2J\u202e\x07"
    emulator.deploy(ENV, said)

    listed = await run("list", ENV, env=env_for(emulator))
    emulator.fail_next(123456, errmsg=said)
    refused = await run("count", ENV, env=env_for(emulator))

    assert (listed.code, refused.code) == (0, 4)
    assert shown in listed.out
    assert shown in refused.err


def test_text_and_bytes_stay_in_order(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    screen = Screen.open()

    sys.stdout.write("head\n")
    screen.write(b"row\n")
    screen.out.print("end")

    assert stdout.buffer.getvalue() == b"head\nrow\nend\n"


@pytest.mark.parametrize(("is_terminal", "columns"), [(True, 60), (True, 200), (False, 60)])
def test_remedy_of_a_long_error_has_its_own_line(monkeypatch, is_terminal, columns):
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", str(columns))
    problem = "tcb-async: /tcb/listfunctions returned errcode 40164:"
    clauses = (
        "this machine's IP address is not whitelisted:",
        "add the address that WeChat names to the account's IP",
        "whitelist (env 'test-777bb9', rid: abc)",
    )
    Screen.open().say_error(" ".join((problem, *clauses)))

    separator = "\n  " if is_terminal and columns == 60 else " "
    assert stderr.getvalue() == separator.join((problem, *clauses)) + "\n"


@pytest.mark.parametrize(("count", "last"), [(20, "19"), (21, "and 1 more")])
def test_twenty_sentences_are_said_and_the_others_counted(capsys, count, last):
    number = Screen.open().say_each(map(str, range(count)), "and {} more")

    assert number == count
    assert capsys.readouterr().err.splitlines()[-1].endswith(last)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--help"], "Exit codes"),
        (["list", "--help"], "Exit codes"),
        (["list", ENV], "\\u83b7\\u53d6"),
    ],
)
async def test_ascii_stdout_escapes_chinese(emulator, words, shown):
    """As on Windows, where `tcb-async --help | more` writes cp1252."""
    emulator.deploy(ENV, "获取")
    env = env_for(emulator, PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    async with start(*words, env=env) as command:
        ended = await command.end()

    assert (ended.code, ended.err) == (0, "")
    assert shown in ended.out


def test_a_stdout_without_a_descriptor_may_break_too(monkeypatch):
    """As in a program that calls `main` with its own stream."""
    stdout = io.TextIOWrapper(_BrokenPipe(), write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["tcb-async", "count", "--demo"])

    with pytest.raises(SystemExit, match="0"):
        main()
    with contextlib.suppress(BrokenPipeError):
        stdout.close()  # otherwise its finalizer would complain later


class _BrokenPipe(io.BytesIO):
    def flush(self):
        if self.tell():
            raise BrokenPipeError


LONG = f"tcb-async list {ENV} --page-size 1000"
LEFT = ">&2; echo ${PIPESTATUS[0]}"
FULL = "tcb-async: No space left on device"
CLOSED = "tcb-async: stdout is closed: leave it open, or redirect it to a file"


LINES = [
    ("tcb-async --version > /dev/full", 3, "", FULL),
]
SLOW_LINES = [
    (f"tcb-async --help | head -c 16 {LEFT}", 0, "0\n", "Usage: tcb-async"),
    (f"tcb-async count {ENV} 2> /dev/full", 0, "1500\n", ""),
    (f"tcb-async list {ENV} >&-", 3, "", CLOSED),
    (f"tcb-async count {ENV} 2>&-", 0, "1500\n", ""),
    (f"tcb-async list --help | head -c 21 {LEFT}", 0, "0\n", "Usage: tcb-async list"),
    (f"tcb-async --version | true {LEFT}", 0, "0\n", ""),
    (f"{LONG} -o /dev/stdout -f csv | head -1 {LEFT}", 0, "0\n", ",".join(FIELDS)),
    (f"{LONG} -f ndjson | head -c 8 {LEFT}", 0, "0\n", '{"name":'),
    (f"{LONG} | head -c 4 {LEFT}", 0, "0\n", "name"),
    ("tcb-async --help > /dev/full", 3, "", FULL),
    ("tcb-async list --help > /dev/full", 3, "", FULL),
    (f"tcb-async count {ENV} > /dev/full", 3, "", FULL),
    (f"tcb-async list {ENV} > /dev/full", 3, "", FULL),
    ("tcb-async count ' ' 2> /dev/full", 3, "", ""),
    ("tcb-async count 2> /dev/full", 2, "", ""),
    ("tcb-async inventory --demo > /dev/null 2> /dev/full", 6, "", ""),
    (f"tcb-async list {ENV} >&- 2>&-", 3, "", ""),
]


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [*LINES, *(pytest.param(*line, marks=pytest.mark.slow) for line in SLOW_LINES)],
)
async def test_only_a_stdout_that_cannot_be_written_is_an_error(emulator, line, code, out, err):
    """A closed pipe is fine, and so is a cron job whose log is on a full disk."""
    emulator.deploy(ENV, count=1500)
    program = ("bash", "-c", f'tcb-async() {{ "$0" -m tcb_async "$@"; }}; {line}', sys.executable)

    async with start(program=program, env=env_for(emulator, PYTHONUNBUFFERED="")) as command:
        ended = await command.end()

    assert (ended.code, ended.out, ended.err.strip()) == (code, out, err)


def test_a_terminal_of_one_column_shows_a_word_a_line():
    assert fill("a b", 1, subsequent_indent="") == "a\nb"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2, 5])
async def test_help_ends_on_any_terminal(columns):
    async with Terminal.of(columns) as screen:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), screen.tty)
        async with start("list", "--help", **streams) as command:
            assert (await command.end()).code == 0
    assert "--status" in screen.text


class TestQuiet:
    """Standard error has errors and warnings only."""

    async def test_list_says_nothing_also_on_a_terminal(self, emulator):
        emulator.deploy(ENV, count=48)
        env = env_for(emulator)

        matched = await run("list", ENV, "-q", env=env, is_terminal=True)
        none = await run("list", ENV, "-q", "--name", "absent", env=env, is_terminal=True)

        assert (matched.code, matched.err) == (0, "")
        assert (none.code, none.err) == (0, "")

    async def test_changes_and_export_name_only_what_is_missing(self, tmp_path):
        nights = [
            stored(tmp_path / "1.sqlite", listed("wx1", dev=["a"]), failed("wx3")),
            stored(tmp_path / "2.sqlite", listed("wx1", dev=["a"]), failed("wx2"), failed("wx3")),
        ]
        csv = tmp_path / "all.csv"

        changed = await run("changes", *nights, "-q")
        exported = await run("export", nights[1], "-q", "-o", str(csv))

        assert [line.split()[0] for line in changed.err.splitlines()] == ["wx2"]
        assert [line.split()[0] for line in exported.err.splitlines()] == ["wx2", "wx3"]
        assert (exported.out, csv.read_text().count("wx1,dev,a,Active")) == ("", 1)

    async def test_failed_output_leaves_no_file(self, tmp_path, monkeypatch):
        night = stored(tmp_path / "1.sqlite", listed("wx1", dev=["a"]))
        names = [f"fn-{number}" for number in range(1000)]
        other = stored(tmp_path / "2.sqlite", listed("wx1", dev=names))
        monkeypatch.setattr("os.fsync", _fail)

        ended = await run("changes", night, other, "-o", str(tmp_path / "changes.md"))
        full = await run("changes", night, other, "-o", "/dev/full", "-f", "csv")
        wrong = await run("export", night, "-o", str(tmp_path / "all.json"))

        assert (ended.code, full.code, wrong.code) == (3, 3, 2)
        assert "ends with .csv or .ndjson" in wrong.err
        assert {path.suffix for path in tmp_path.iterdir()} == {".sqlite"}


def _fail(_file):
    raise OSError(28, "No space left on device")
