"""The command as a whole: its help, its completion, and what it imports."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from terminal import ENV, Screen, env_for, is_one_sentence, plain, run, start

from tcb_async import __version__
from tcb_async.__main__ import main
from tcb_async.cli import app
from tcb_async.cli.formats import FORMATS

COMMANDS = tuple(app.COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
async def test_help_teaches_by_example_and_fits(command):
    words = [command, "--help"] if command else ["--help"]

    shown: set[str] = set()
    for columns in (60, 80, 200):
        ended = await run(*words, env={"COLUMNS": str(columns)}, is_terminal=True)
        out = plain(ended.out)

        assert ended.code == 0
        assert "Example" in out
        assert f"tcb-async {command}".strip() in out
        assert max(map(cell_len, out.splitlines())) <= columns
        assert not re.search("<(bool|str|int|float)>", out)
        assert "…│" not in out.replace(" ", ""), "something is cut"
        shown.add(re.sub(" +\n", "\n", out[out.index("Example") :]))

    assert len(shown) == 1, "an example wraps on a narrow terminal"


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"]])
async def test_the_exit_codes_are_in_the_help(words):
    _, _, listed = (await run(*words)).out.partition("Exit codes")
    for code in (*map(str, range(8)), "130", "143"):
        assert f" {code}  " in listed


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("list", ["ENV The environment, such as test-777bb9."]),
        ("diff", ["BEFORE The functions before: an env", "AFTER The functions after:"]),
    ],
)
async def test_the_help_says_what_a_positional_argument_is(command, arguments):
    wide = {"COLUMNS": "200"}
    shown = plain((await run(command, "--help", env=wide, is_terminal=True)).out)

    assert all(argument in " ".join(shown.split()) for argument in arguments)


async def test_without_arguments_it_shows_its_help():
    ended = await run()

    assert "Usage: tcb-async" in ended.out
    assert (ended.code, ended.err) == (2, "")


@pytest.mark.slow
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
    "tcb-async list --sort mod": {"mod_time"},
    "tcb-async list --columns na": {"name"},
    "tcb-async list --pag": {"--page-size"},
    "tcb-async list -o ni": {"night.sqlite"},
    "tcb-async count --token-file ni": {"night.sqlite"},
    "tcb-async merchants --ticket-file ni": {"night.sqlite"},
    "tcb-async inventory ni": {"night.sqlite"},
    "tcb-async inventory --accounts ni": {"night.sqlite"},
    "tcb-async changes ni": {"night.sqlite"},
    "tcb-async export ni": {"night.sqlite"},
    "tcb-async diff ni": {"night.sqlite"},
    "tcb-async diff test-777bb9 ni": {"night.sqlite"},
}


@pytest.mark.slow
async def test_bash_completes_commands_options_values_and_files(tmp_path):
    (tmp_path / "night.sqlite").touch()
    script = app.app.generate_completion(shell="bash")  # noqa: S604 - no shell runs
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    program = ("bash", "-c", COMPLETING, "bash", script, *OFFERED)
    async with start(program=program, env={"PATH": path}, cwd=tmp_path) as shell:
        ended = await shell.end()

    assert [{*line.split()} for line in ended.out.splitlines()] == [*OFFERED.values()]
    assert ended.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
async def test_completion_is_installed_for_each_shell(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ZSH", raising=False)
    ended = await run("--install-completion", "--shell", shell)

    path = ended.out.splitlines()[0].partition("installed to ")[2]
    with open(path) as file:  # noqa: ASYNC230, PTH123 - short
        installed = file.read()
    assert path.startswith(str(tmp_path))
    assert all(command in installed for command in COMMANDS)


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
}


@pytest.mark.slow
async def test_help_and_usage_errors_load_nothing_heavy():
    program = (sys.executable, "-c", LIGHT.format(commands=[*LIGHT_COMMANDS]))
    async with start(program=program) as command:
        ended = await command.end()

    said = [line for line in ended.err.splitlines() if line.startswith("(")]
    assert said == [f"{words} {code}" for words, code in LIGHT_COMMANDS.items()]


async def test_the_help_has_the_first_line_of_each_page():
    shown = await run("--help", env={"COLUMNS": "200"}, is_terminal=True)
    whole = " ".join(plain(shown.out).split())
    for name, (_, line) in app.COMMANDS.items():
        assert f"{name} {line}" in whole
        assert app.app[name].default_command.__doc__.split("\n")[0] == line


@pytest.mark.slow
async def test_the_help_shows_the_clients_defaults():
    code = """
import sys
import tcb_async._defaults
tcb_async._defaults.DEFAULT_CONCURRENCY = 4
from tcb_async import TcbClient
assert TcbClient.__init__.__kwdefaults__["concurrency"] == 4
from tcb_async.__main__ import main
main()
"""
    program = (sys.executable, "-c", code)
    async with (
        Screen.of(200) as screen,
        start("list", "--help", program=program, stdout=screen.tty) as command,
    ):
        await command.end()

    assert "Calls at a time, including those that wait to retry. [default: 4]" in screen.text


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_a_missing_extra_is_named(missing, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("tcb_async.cli", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 3
    err = capsys.readouterr().err
    assert is_one_sentence(err)
    assert f"needs {missing}" in err
    assert "pip install 'tcb-async[cli]'" in err


def test_no_other_missing_module_is_blamed_on_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tcb_async.cli.app", None)

    with pytest.raises(ModuleNotFoundError):
        main()


def test_ctrl_c_while_it_starts_exits_with_130(monkeypatch):
    class Interrupted:
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "tcb_async.cli.app", Interrupted())
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 130


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["help"], ["--help"]), (["help", "wait"], ["wait", "--help"]), (["version"], ["--version"])],
)
async def test_help_and_version_may_be_typed_as_commands(typed, meant):
    assert await run(*typed) == await run(*meant)


async def test_environment_may_be_named_by_a_variable(emulator):
    emulator.deploy("prod-1a2b3c", count=3)
    emulator.deploy(ENV, count=5)
    env = env_for(emulator, TCB_ENV="prod-1a2b3c")

    by_variable = await run("count", env=env)
    by_word = await run("count", ENV, env=env)

    assert (by_variable.out, by_word.out) == ("3\n", "5\n")
