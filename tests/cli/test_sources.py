"""Lists of functions from files and folders: complete, or an error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tcb_async import CloudFunction
from tcb_async.cli.sources import Environment, Store, parse, read_source
from tcb_async.exceptions import ConfigurationError

LOGIN = {"name": "login", "status": "Active", "runtime": "Nodejs16.13"}
PAY = {"name": "payNotify", "status": "UpdateFailed", "runtime": None}
CSV = (
    "name,status,runtime,add_time,mod_time\r\n"
    "login,Active,Nodejs16.13,,\r\n"
    "payNotify,UpdateFailed,,,\r\n"
)
RC = """{
  // what CloudBase's own tool takes
  "envId": "test-777bb9", "functionRoot": "./functions",
  "functions": [
    {"name": "login", "runtime": "Nodejs16.13", "timeout": 5}, /* and so on */
    {"name": "a//b",},
  ],
}"""


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([LOGIN, PAY]),
        json.dumps([LOGIN, PAY], indent=1),
        f"{json.dumps(LOGIN)}\n{json.dumps(PAY)}\n",
        CSV,
        "\ufeff" + CSV,
    ],
    ids=["json", "indented", "ndjson", "csv", "byte order mark"],
)
def test_an_export_is_read_in_every_format(text):
    listed = parse(text.encode(), "export")
    assert listed == (
        CloudFunction("login", "Active", "Nodejs16.13"),
        CloudFunction("payNotify", "UpdateFailed"),
    )


@pytest.mark.parametrize(
    "text", [RC, '{"functions": [{"name": "login", "runtime": "Nodejs16.13"}, {"name": "a//b"}]}']
)
def test_a_configuration_says_what_is_wanted_with_comments_and_last_commas(text):
    listed = parse(text.encode(), "cloudbaserc.json")
    assert listed == (
        CloudFunction("login", "", "Nodejs16.13"),
        CloudFunction("a//b", ""),
    )


def test_nothing_is_a_list_too():
    assert parse(b"[]", "x") == ()
    assert parse(b'{"functions": []}', "x") == ()
    assert parse(b"name,status\r\n", "x") == ()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (json.dumps([LOGIN, PAY]).encode()[:-9], "cut off"),
        (f"{json.dumps(LOGIN)}\n{json.dumps(PAY)}".encode()[:-9], "cut off"),
        (CSV.encode()[:-5], "cut off"),
        (CSV.replace(",,\r\n", "\r\n", 1).encode(), "not as many fields"),
        (b"[" * 100_000, "cut off"),
        ('[{"name": "登录"}]'.encode("gbk"), "not UTF-8"),
        (json.dumps([LOGIN, LOGIN]).encode(), "'login' twice"),
        (b'[{"name": 1}]', "item 1"),
        (b"[1]", "item 1"),
        (b'[{"name": "login", "status": 1}]', "item 1"),
        (b'[{"name": "login", "add_time": "yesterday"}]', "a time of 'login'"),
        (b'[{"name": "login", "add_time": 5}]', "item 1"),
        (b'{"envId": "test-777bb9"}\n', "item 1"),
        (b'{\n"envId": "test-777bb9"}', "no list of functions"),
        (b"", "cannot tell what it is"),
        (b"hello", "cannot tell what it is"),
    ],
)
def test_what_is_damaged_or_no_list_is_refused(data, said):
    with pytest.raises(ConfigurationError, match=said):
        parse(data, "export.json")


def test_a_folder_holds_a_function_in_each_sub_folder_with_code(tmp_path):
    for name in ("login", "payNotify", ".git", "node_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.js").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "readme.md").touch()
    listed = read_source(f"{tmp_path}/")
    assert [it.name for it in listed] == ["login", "payNotify"]


def test_a_folder_without_functions_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no sub-folder that holds a function"):
        read_source(f"{tmp_path}/")


def test_what_a_source_is_follows_from_how_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("test-777bb9", "login").mkdir(parents=True)
    Path("test-777bb9", "login", "index.js").touch()
    Path("all.json").write_text("[]", encoding="utf-8")
    Path("night.db").write_bytes(b"SQLite format 3\0 and so on")
    assert read_source("all.json") == ()
    assert read_source("night.db") == Store("night.db")
    assert read_source("./test-777bb9") == (CloudFunction("login", ""),)
    assert read_source("test-777bb9") == Environment("test-777bb9")


@pytest.mark.parametrize("text", ["nowhere/", "./nowhere", "nowhere.json"])
def test_a_file_or_folder_that_is_not_there_is_no_environment(text):
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_source(text)
