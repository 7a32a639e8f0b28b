"""The formats: documents that can be read back, and tables that fit a terminal."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from terminal import DOCUMENTS, ENV, Screen, env_for, names_in, plain, rows_in, run, start

from tcb_async import CloudFunction
from tcb_async.cli import formats
from tcb_async.cli.formats import FIELDS, format_rows

HOSTILE = "a\x1b]0;owned\x07b\x9b2J\u0085\u202ec\u2066\x7f"
PLAIN = {"NO_COLOR": "1"}
LOCAL = {"TERM": "xterm"}

CSI = "\x1b["
COMMAND = ("list", ENV, "--columns", "name,status,runtime,add_time,mod_time")


@pytest.mark.parametrize("form", DOCUMENTS)
async def test_columns_are_printed_as_requested_and_in_that_order(emulator, form):
    emulator.deploy(ENV, "login", mod_time="2024-01-01 00:00:00")

    words = ("--columns", "mod_time, name, name", "-f", form)
    ended = await run("list", ENV, *words, env=env_for(emulator))

    assert ended.code == 0
    (row,) = rows_in(ended.out, form)
    assert list(row.items()) == [("mod_time", "2024-01-01T00:00:00+08:00"), ("name", "login")]


@pytest.mark.slow
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

    assert names_in(file) == [HOSTILE]
    assert file.read_bytes().decode() == piped.out


characters = "a ,;\"'\\[]{}\r\n\t\x1b\x85\u2028=+-@\uff1dé登😀"
texts = st.text(st.sampled_from(characters), min_size=1, max_size=6)
functions = st.lists(st.builds(CloudFunction, texts, texts, st.none() | texts), max_size=5)


@pytest.mark.parametrize("form", DOCUMENTS)
@given(functions=functions)
def test_all_that_a_server_says_can_be_read_back(form, functions):
    found = rows_in(format_rows(functions, FIELDS, form, is_terminal=False).decode(), form)

    said = [(one.name, one.status, one.runtime) for one in functions]
    if form == "csv":
        said = [tuple(quoted(text or "") for text in texts) for texts in said]
    assert [(row["name"], row["status"], row["runtime"]) for row in found] == said


def test_a_function_of_a_difference_is_written_as_in_a_list():
    function = CloudFunction("login", "Active", runtime="")
    (row,) = json.loads(format_rows([function], FIELDS, "json", is_terminal=False))
    columns = ("before", "after")
    difference = {"before": function, "after": None}
    written = format_rows([difference], columns, "json", is_terminal=False)

    assert json.loads(written) == [{"before": row, "after": None}]


def quoted(text):
    """A text with a disarmed formula after every separator."""
    shown = ""
    for before, character in zip(f",{text}", text, strict=False):
        is_formula = character in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
        shown += "'" * (before in ",;\t\r\n" and is_formula) + character
    return shown


def test_table_shows_numbers():
    rows = [{"name": "a", "rows": 0}, {"name": "b", "rows": None}]
    shown = formats.format_rows(rows, ["name", "rows"], formats.TABLE, is_terminal=False)

    assert shown.decode().split() == ["name", "rows", "a", "0", "b", "–"]


def test_markdown_of_a_name_is_escaped():
    name = r"\a|b`c*d_e<f>[g](h)"
    rows = format_rows([CloudFunction(name, "Active")], ["name"], "markdown", is_terminal=False)

    assert rows.decode().splitlines()[-1] == r"| \\a\|b\`c\*d\_e\<f>\[g](h) |"


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
async def test_a_table_fits_the_terminal_and_shows_full_names(emulator, columns):
    long = "a-name-of-60-characters-is-the-longest-that-wechat-accepts-0"
    for name in ("login", "获取用户信息", "日報-emoji-😀", long[: columns - 54]):
        emulator.deploy(ENV, name, status="PublishFailed", runtime="Nodejs16.13")

    ended = await run(
        *COMMAND, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN), is_terminal=True
    )

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
    ended = await run(
        *COMMAND, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN), is_terminal=True
    )

    rows = [line for line in plain(ended.out).splitlines() if "a-name-of-18-chars" in line]
    assert [re.findall(r"2024-01-02(?: 03:04(?::05)?)?", row)[0] for row in rows] == [time]


@pytest.mark.parametrize(("columns", "number"), [(80, 5), (54, 4), (44, 3), (32, 2), (20, 1)])
async def test_default_columns_are_left_out_before_a_name_breaks(emulator, columns, number):
    emulator.deploy(ENV, "a-name-of-18-chars", runtime="Go1", add_time="2024-01-02 03:04:05")

    ended = await run(
        "list", ENV, env=env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN), is_terminal=True
    )

    row = plain(ended.out).splitlines()[3].split()
    assert row[0] == "a-name-of-18-chars"
    assert len([word for word in row if ":" not in word]) == number


@pytest.mark.parametrize("columns", [24, 33])  # the second lacks one column
async def test_requested_columns_are_all_shown_in_any_width(emulator, columns):
    emulator.deploy(ENV, "a-name-of-20-letters", add_time="2024-01-01 00:00:00")
    env = env_for(emulator, COLUMNS=str(columns), **LOCAL, **PLAIN)

    ended = await run("list", ENV, "--columns", "name,add_time", env=env, is_terminal=True)

    rows = [line.split() for line in plain(ended.out).splitlines()[3:-1]]
    assert [word for row in rows for word in row[1:]] == ["2024-01-01"]
    assert "".join(row[0] for row in rows) == "a-name-of-20-letters"


@pytest.mark.parametrize("columns", ["", "0", "1", "2", "x", "-5", "999999", "9" * 5000, "60"])
async def test_only_a_terminal_decides_about_a_pipe(emulator, columns):
    emulator.deploy(ENV, "a-name-of-20-letters", add_time="2024-01-01 00:00:00")
    plain = await run("list", ENV, env=env_for(emulator))
    variables = {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "CI": "1"}

    ended = await run("list", ENV, env=env_for(emulator, COLUMNS=columns, **variables))
    shown = await run("list", ENV, env=env_for(emulator, COLUMNS=columns), is_terminal=True)

    assert ended == plain
    assert "a-name-of-20-letters" in shown.out


async def test_colours_are_for_terminals(emulator):
    emulator.deploy(ENV, count=1)

    piped = await run("list", ENV, env=env_for(emulator))
    shown = await run("list", ENV, env=env_for(emulator, **LOCAL), is_terminal=True)
    plain = await run("list", ENV, env=env_for(emulator, **LOCAL, **PLAIN), is_terminal=True)

    assert CSI not in piped.out
    assert f"{CSI}32mActive" in shown.out
    assert f"{CSI}32m" not in plain.out
