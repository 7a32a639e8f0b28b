"""At a real terminal, in a pipe, under Ctrl-C: the command as a process of its own."""

import contextlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from leaks import eventually
from rich.cells import cell_len
from terminal import ENV, Screen, env_for, plain, run, start
from tls_emulator import CERTIFICATES, over_tls

from tcb_async import __version__
from tcb_async.__main__ import main
from tcb_async.cli import app
from tcb_async.cli.formats import FORMATS
from tcb_async.emulator import Emulator, Fault

PLAIN = {"NO_COLOR": "1"}
LOCAL = {"TERM": "xterm", "FORCE_COLOR": "1"}
CSI = "\x1b["


async def test_a_typed_token_is_not_shown(emulator):
    emulator.deploy(ENV, count=3)

    async with Screen.of(80) as screen:
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), screen.tty)
        async with start("count", ENV, env={"TCB_BASE_URL": emulator.url}, **streams) as command:
            await screen.shows("Access token")
            await eventually(lambda: not screen.is_echoing, seconds=20)
            screen.type(f"{emulator.token}\n")
            ended = await command.end()
            await screen.shows("3\r\n")

    assert ended.code == 0
    assert emulator.token[:8] not in screen.shown


async def test_a_bar_shows_progress_speed_and_retries(emulator):
    emulator.deploy(ENV, count=60)
    emulator.script([Fault.ok(), Fault.disconnect(), Fault.ok(), Fault.delay(0.6), Fault.ok()])

    async with (
        Screen.of(100) as screen,
        start(
            *("list", ENV, "--format", "json", "--page-size", "20", "--concurrency", "1"),
            env=env_for(emulator),
            stderr=screen.tty,
        ) as command,
    ):
        ended = await command.end()
        await screen.shows("60 functions in")

    assert [row["name"] for row in json.loads(ended.out)]
    assert re.search(r" 39/60 1 retry ", screen.text)
    assert "\x1b[1A\x1b[2K60 functions in" in screen.shown, "the summary takes the bar's line"


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
async def test_a_table_fits_the_terminal_and_shows_full_names(emulator, columns):
    long = "a-name-of-60-characters-is-the-longest-that-wechat-accepts-0"
    for name in ("login", "获取用户信息", "日報-emoji-😀", long[: columns - 54]):
        emulator.deploy(ENV, name, status="PublishFailed", runtime="Nodejs16.13")

    ended = await run("list", ENV, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN))

    lines = plain(ended.out).splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= columns
    rows = [line for line in lines if "PublishFailed" in line]
    assert len(rows) == 4
    for row, function in zip(rows, emulator.functions(ENV), strict=True):
        assert row.strip().startswith(function.name)
        assert "20" in row.split()[-1] or ":" in row.split()[-1]
    starts = {cell_len(row[: row.index("PublishFailed")]) for row in rows}
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("columns", "time"), [(80, "2024-01-02 03:04:05"), (75, "2024-01-02 03:04"), (65, "2024-01-02")]
)
async def test_times_are_shorter_on_a_narrow_terminal(emulator, columns, time):
    emulator.deploy(ENV, "a-name-of-18-chars", runtime="Go1", add_time="2024-01-02 03:04:05")
    ended = await run("list", ENV, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN))

    rows = [line for line in plain(ended.out).splitlines() if "a-name-of-18-chars" in line]
    assert [re.findall(r"2024-01-02(?: 03:04(?::05)?)?", row)[0] for row in rows] == [time]


@pytest.mark.parametrize(("columns", "number"), [(80, 5), (54, 4), (44, 3), (32, 2), (20, 1)])
async def test_default_columns_are_left_out_before_a_name_breaks(emulator, columns, number):
    emulator.deploy(ENV, "a-name-of-18-chars", runtime="Go1", add_time="2024-01-02 03:04:05")

    ended = await run("list", ENV, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN))

    row = plain(ended.out).splitlines()[3].split()
    assert row[0] == "a-name-of-18-chars"
    assert len([word for word in row if ":" not in word]) == number


@pytest.mark.parametrize("columns", [24, 33])  # the second lacks one column
async def test_requested_columns_are_all_shown_in_any_width(emulator, columns):
    emulator.deploy(ENV, "a-name-of-20-letters", add_time="2024-01-01 00:00:00")
    env = env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN)

    ended = await run("list", ENV, "--columns", "name,add_time", env=env)

    rows = [line.split() for line in plain(ended.out).splitlines()[3:-1]]
    assert [word for row in rows for word in row[1:]] == ["2024-01-01"]
    assert "".join(row[0] for row in rows) == "a-name-of-20-letters"


async def test_colours_are_for_terminals_and_on_request(emulator):
    emulator.deploy(ENV, count=1)

    piped = await run("list", ENV, env=env_for(emulator))
    shown = await run("list", ENV, env=env_for(emulator, **LOCAL))
    plain = await run("list", ENV, env=env_for(emulator, **LOCAL, **PLAIN))

    assert CSI not in piped.out
    assert f"{CSI}32mActive" in shown.out
    assert f"{CSI}32m" not in plain.out


async def test_text_from_a_server_cannot_control_the_terminal(emulator):
    said, shown = "[red]\x1b[2J\x9b2J\u202e\x07", r"[red]\x1b[2J\x9b2J\u202e\x07"
    emulator.deploy(ENV, said)

    listed = await run("list", ENV, env=env_for(emulator))
    emulator.fail_next(123456, errmsg=said)
    refused = await run("count", ENV, env=env_for(emulator))

    assert (listed.code, refused.code) == (0, 4)
    assert shown in listed.out
    assert shown in refused.err


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


COMMANDS = tuple(app.COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
async def test_help_teaches_by_example_and_fits(command):
    words = [command, "--help"] if command else ["--help"]

    shown: set[str] = set()
    for columns in (60, 80, 200):
        ended = await run(*words, env={"COLUMNS": str(columns)})

        assert ended.code == 0
        assert "Example" in ended.out
        assert f"tcb-async {command}".strip() in ended.out
        assert max(map(cell_len, ended.out.splitlines())) <= columns
        assert not re.search("<(bool|str|int|float)>", ended.out)
        assert "…│" not in ended.out.replace(" ", ""), "something is cut"
        shown.add(re.sub(" +\n", "\n", ended.out[ended.out.index("Example") :]))

    assert len(shown) == 1, "an example wraps on a narrow terminal"


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"]])
async def test_the_exit_codes_are_in_the_help(words):
    _, _, listed = (await run(*words, env={"COLUMNS": "120"})).out.partition("Exit codes")
    for code in (*map(str, range(8)), "130", "143"):
        assert f" {code}  " in listed


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("list", ["ENV The environment, such as test-777bb9."]),
        ("diff", ["EXPECTED The expected functions: an env", "FOUND The functions found:"]),
    ],
)
async def test_the_help_says_what_a_positional_argument_is(command, arguments):
    shown = (await run(command, "--help", env={"COLUMNS": "200"})).out

    assert all(argument in " ".join(shown.split()) for argument in arguments)


async def test_without_arguments_it_shows_its_help():
    ended = await run()

    assert "Usage: tcb-async" in ended.out
    assert (ended.code, ended.err) == (2, "")


async def test_python_m_is_the_same_command():
    installed = shutil.which("tcb-async", path=str(Path(sys.executable).parent))
    assert installed
    async with start("--version") as command:
        by_module = await command.end()
    async with start("--version", program=(installed,)) as command:
        by_script = await command.end()

    assert by_module == by_script
    assert by_module.out == f"tcb-async {__version__}\n"


COMPLETING = """
eval "$1"
shift
for typed in "$@"; do
    mapfile -t COMP_WORDS <<< "${typed// /$'\\n'}"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _tcb_async
    echo "${COMPREPLY[@]}"
done
"""

OFFERED = {
    "tcb-async ": {*COMMANDS},
    "tcb-async li": {"list"},
    "tcb-async list --format ": {"table", *FORMATS},
    "tcb-async list --status Cr": {"Creating", "CreateFailed"},
    "tcb-async list --sort mod": {"mod_time"},
    "tcb-async list --columns na": {"name"},
    "tcb-async list --pag": {"--page-size"},
}


async def test_bash_completes_commands_options_and_values():
    script = app.app.generate_completion(shell="bash")  # noqa: S604 - no shell runs
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    program = ("bash", "-c", COMPLETING, "bash", script, *OFFERED)
    async with start(program=program, env={"PATH": path}) as shell:
        ended = await shell.end()

    assert [{*line.split()} for line in ended.out.splitlines()] == [*OFFERED.values()]
    assert ended.err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
async def test_completion_is_installed_for_each_shell(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZSH", raising=False)
    ended = await run("--install-completion", "--shell", shell)

    path = ended.out.removeprefix("completion is installed in ").partition(": start")[0]
    with open(path) as file:  # noqa: ASYNC230, PTH123 - short
        installed = file.read()
    assert path.startswith(str(tmp_path))
    assert all(command in installed for command in COMMANDS)


async def test_an_unknown_shell_exits_with_2(monkeypatch):
    monkeypatch.setenv("PATH", "")
    shells = {"BASH_VERSION": "", "ZSH_VERSION": "", "FISH_VERSION": "", "SHELL": "/bin/tcsh"}
    ended = await run("--install-completion", env=shells)

    assert (ended.code, ended.out) == (2, "")
    assert "pass --shell" in ended.err


LIGHT = """
import sys
from tcb_async.__main__ import main
for words in {commands}:
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as ended:
        heavy = {{"aiohttp", "asyncio", "ssl", "msgspec"}} & sys.modules.keys()
        print(words, ended.code, *heavy, file=sys.stderr)
"""

LIGHT_COMMANDS = {
    ("--version",): 0,
    ("--help",): 0,
    ("list", "--help"): 0,
    ("explain", "-1"): 0,
    ("inventory", "--help"): 0,
    ("lsit",): 2,
    ("list", ENV, "--limit", "5"): 2,
    ("inventory", "-o", "x.xlsx"): 2,
    ("diff", "a.json"): 2,
    ("wait",): 2,
    ("call",): 2,
    ("doctor", "--help"): 0,
    ("environments", "-o", "x.csv"): 2,
    ("emulator", "--port", "99999"): 2,
    ("__complete", "list", "--status", "Cr"): 0,
}


async def test_help_and_usage_errors_load_nothing_heavy():
    program = (sys.executable, "-c", LIGHT.format(commands=[*LIGHT_COMMANDS]))
    async with start(program=program) as command:
        ended = await command.end()

    said = [line for line in ended.err.splitlines() if line.startswith("(")]
    assert said == [f"{words} {code}" for words, code in LIGHT_COMMANDS.items()]


async def test_the_help_has_the_first_line_of_each_page():
    whole = " ".join((await run("--help", env={"COLUMNS": "200"})).out.split())
    for name, (_, line) in app.COMMANDS.items():
        assert f"{name} {line}" in whole
        assert app.app[name].default_command.__doc__.split("\n")[0] == line


async def test_the_help_shows_the_clients_defaults():
    code = """
import sys
import tcb_async._arguments
tcb_async._arguments.DEFAULT_CONCURRENCY = 4
from tcb_async import TcbClient
assert TcbClient.__init__.__kwdefaults__["concurrency"] == 4
from tcb_async.__main__ import main
main()
"""
    program = (sys.executable, "-c", code)
    async with start("list", "--help", program=program, env={"COLUMNS": "200"}) as command:
        ended = await command.end()

    assert "Maximum number of concurrent requests. [default: 4]" in ended.out


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


async def test_ssl_cert_file_names_the_trusted_certificates():
    emulator = Emulator()
    emulator.deploy(ENV, count=3)
    async with over_tls(emulator) as port:
        env = {"TCB_BASE_URL": f"https://127.0.0.1:{port}", "TCB_ACCESS_TOKEN": emulator.token}
        for trusted, out in ((CERTIFICATES / "ca.pem", "3\n"), (CERTIFICATES / "expired.pem", "")):
            async with start("count", ENV, env=env | {"SSL_CERT_FILE": str(trusted)}) as command:
                assert (await command.end()).out == out
