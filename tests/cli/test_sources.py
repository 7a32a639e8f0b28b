"""Lists of functions from files, folders and streams: complete, or an error."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from pathlib import Path

import pytest

from tcb_async.cli.sides import LiveEnvironment, Store, find_source
from tcb_async.compare import parse_functions
from tcb_async.exceptions import ConfigurationError

LOGIN = {"name": "login", "status": "Active", "runtime": "Nodejs16.13"}
PAY = {"name": "payNotify", "status": "UpdateFailed", "runtime": None}
JSON = json.dumps([LOGIN, PAY])
NDJSON = f"{json.dumps(LOGIN)}\n{json.dumps(PAY)}\n"
CSV = "name,status,runtime\r\nlogin,Active,Nodejs16.13\r\npayNotify,UpdateFailed,\r\n"
RC = """// for CloudBase's own tool {
/* [ */ {
  "envId": "test-777bb9", "functionRoot": "./functions",
  "functions": [
    {"name": "login", "runtime": "Nodejs16.13", "timeout": 5}, /* and so on */
    {"name": "a//b",},
  ],
}"""
FRAMEWORK = {
    "version": "2.0",
    "framework": {"plugins": {"func": {"inputs": {"functions": [{"name": "login"}]}}}},
}
WATCHED = {"time": "2026-11-25T09:30:00+08:00", "change": "added", "name": "x", "after": LOGIN}
DIFFERENCE = {"kind": "missing", "name": "login", "expected": LOGIN, "found": None}
STORED = {"appid": "wx1", "env": "dev", **LOGIN, "stale": 0}


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        (JSON, ".json"),
        (json.dumps([LOGIN, PAY], indent=1), ".json"),
        (JSON, ""),
        (NDJSON, ".ndjson"),
        (NDJSON, ".jsonl"),
        (CSV, ".csv"),
        ("\ufeff" + CSV, ".csv"),
    ],
)
def test_an_export_is_read_in_every_format(text, suffix):
    assert parse_functions(text.encode(), "export", suffix) == {
        "login": {"status": "Active", "runtime": "Nodejs16.13"},
        "payNotify": {"status": "UpdateFailed", "runtime": None},
    }


def test_an_export_knows_the_columns_that_it_has_and_no_others():
    times = {"add_time": "2026-11-25T09:30:00", "mod_time": None}
    assert parse_functions(json.dumps([{"name": "login", **times}]).encode(), "x", ".json") == {
        "login": {"add_time": datetime.fromisoformat("2026-11-25T09:30:00+08:00"), "mod_time": None}
    }
    assert parse_functions(b"runtime,name,status\n,login,\n", "x", ".csv") == {
        "login": {"runtime": None}
    }


@pytest.mark.parametrize(
    "text",
    [
        RC,
        '{"functions": [{"name": "login", "runtime": "Nodejs16.13"}, {"name": "a//b"}]}',
        (
            '{"functions": [{"name": "login", "runtime": "Nodejs16.13"}, '
            '{"name": "a//b", "runtime": null}]}'
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ""])
def test_a_configuration_may_have_comments_and_trailing_commas(text, suffix):
    listed = parse_functions(text.encode(), "cloudbaserc.json", suffix)
    assert listed == {"login": {"runtime": "Nodejs16.13"}, "a//b": {}}


def test_an_empty_list_is_a_list_too():
    assert parse_functions(b"[]", "x") == {}
    assert parse_functions(b'{"functions": []}', "x", ".json") == {}
    assert parse_functions(b"name,status\r\n", "x", ".csv") == {}


@pytest.mark.parametrize(
    ("data", "suffix", "said"),
    [
        (JSON[:-9], ".json", "its JSON is incomplete"),
        (NDJSON[:-9], ".ndjson", "its JSON is incomplete"),
        (CSV[:-5], ".csv", "cut off"),
        (CSV.replace(",\r\n", "\r\n", 1), ".csv", "do not match its header"),
        ("name,name\nlogin,login\n", ".csv", "do not match its header"),
        ('name\n"lo"gin\n', ".csv", "is damaged"),
        (f"name\n{'x' * 140_000}\n", ".csv", "field larger than field limit"),
        ("name\n'=login\n", ".csv", "export JSON instead"),
        ('name\n"login;\'=pay"\n', ".csv", "export JSON instead"),
        ("[" * 100_000, ".json", "its JSON is incomplete"),
        ("[" * 100_000 + "]" * 100_000, ".json", "its JSON is incomplete"),
        ('{"functions":' + "[" * 100_000 + "]" * 100_000 + "}", ".json", "its JSON is incomplete"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, ".ndjson", "its JSON is incomplete"),
        ('[{"name": "登录"}]'.encode("gbk"), ".json", "not UTF-8"),
        (json.dumps([LOGIN, LOGIN]), ".json", "'login' twice"),
        ('[{"name": 1}]', ".json", "item 1 is not a row of tcb-async list"),
        ('[{"name": ""}]', ".json", "item 1 is not a row"),
        ("[1]", ".json", "item 1 has no name"),
        ('[{"name": "login", "status": 1}]', ".json", "item 1 is not a row"),
        ('[{"name": "login", "add_time": "yesterday"}]', ".json", "item 1 has a bad time"),
        ('[{"name": "login", "add_time": 5}]', ".json", "item 1 is not a row"),
        (json.dumps([STORED]), ".json", "name the inventory's .sqlite file"),
        (json.dumps(STORED), ".ndjson", "name the inventory's .sqlite file"),
        ("appid,env,name\nwx1,dev,login\n", ".csv", "name the inventory's .sqlite file"),
        (json.dumps(WATCHED), ".ndjson", "item 1 is not a row of tcb-async list"),
        (json.dumps([DIFFERENCE]), ".json", "item 1 is not a row of tcb-async list"),
        (json.dumps(DIFFERENCE), ".ndjson", "item 1 is not a row of tcb-async list"),
        ("kind,name,what\nmissing,login,\n", ".csv", "its header is not a row of tcb-async list"),
        ("appid,env,name\n", ".csv", "name the inventory's .sqlite file"),
        ("hello\n", ".csv", "its header has no name"),
        ('{"name": "shop", "version": "1.0.0"}', ".json", "must be an export of tcb-async list"),
        ('{"envId": "test-777bb9"}', ".json", "at its top level, as cloudbaserc.json has"),
        (json.dumps(FRAMEWORK), ".json", "functions of framework plugins are not read"),
        ("", ".json", "is empty"),
        (" \n", ".ndjson", "is empty"),
        ("hello", ".json", "its JSON is incomplete"),
    ],
)
def test_a_damaged_file_or_another_document_is_refused(data, suffix, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_functions(data if isinstance(data, bytes) else data.encode(), "x", suffix)


@pytest.mark.parametrize(
    "text",
    [NDJSON, json.dumps(LOGIN), CSV, "name\n", '{"name": "shop"}', JSON[:-9], RC[:-1], "[" * 5000],
)
def test_a_stream_whose_end_does_not_show_is_refused_with_the_reason(text):
    with pytest.raises(ConfigurationError, match="would look complete"):
        parse_functions(text.encode(), "stdin")


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_stream_is_not_an_empty_list(text):
    with pytest.raises(ConfigurationError, match="stdin is empty"):
        parse_functions(text.encode(), "stdin")


@pytest.mark.parametrize(
    ("text", "said"), [(JSON, None), (NDJSON, "would look complete"), (CSV, "would look complete")]
)
@pytest.mark.parametrize("name", ["pipe", "pipe.csv"])
def test_a_pipe_is_a_stream_whatever_its_name(tmp_path, text, said, name):
    path = tmp_path / name
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    try:
        if said is None:
            assert list(find_source(str(path)).read()) == ["login", "payNotify"]
        else:
            with pytest.raises(ConfigurationError, match=said):
                find_source(str(path)).read()
    finally:
        writer.join()


def test_a_folder_holds_a_function_in_each_sub_folder_with_code(tmp_path):
    for name in ("login", "payNotify", ".git", "node_modules"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.js").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".gitkeep").touch()
    (tmp_path / "readme.md").touch()
    assert find_source(f"{tmp_path}/").read() == {"login": {}, "payNotify": {}}


def test_a_folder_without_functions_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no sub-folder that contains a function"):
        find_source(f"{tmp_path}/").read()


def test_the_type_of_a_source_follows_from_how_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("test-777bb9", "login").mkdir(parents=True)
    Path("test-777bb9", "login", "index.js").touch()
    Path("prod-1a2b3c").write_text(JSON, encoding="utf-8")
    Path("all.JSON").write_text("[]", encoding="utf-8")
    assert find_source("all.JSON").read() == {}
    assert find_source("./test-777bb9").read() == {"login": {}}
    assert find_source("test-777bb9") == LiveEnvironment("test-777bb9")
    assert find_source("prod-1a2b3c") == LiveEnvironment("prod-1a2b3c")
    for name in ("night.sqlite", "night.sqlite3", "a/night.DB"):
        assert find_source(name) == Store(name)


@pytest.mark.parametrize("text", ["nowhere/", "./nowhere", "nowhere.json"])
def test_a_missing_file_or_folder_is_not_an_environment(text):
    with pytest.raises(ConfigurationError, match="there is no such file"):
        find_source(text).read()


@pytest.mark.parametrize("text", ["./functions", "functions.md", "functions.txt", "."])
def test_a_file_of_an_unknown_type_is_refused_and_the_types_are_listed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("functions").write_text(JSON, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"its type is unknown; name .*\.sqlite3"):
        find_source(text)
