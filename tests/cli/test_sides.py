"""Lists of functions from JSON files and streams: complete, or an error."""

import json
import os
import threading
from datetime import datetime
from pathlib import Path

import pytest
from terminal import ENV, env_for, run

from tcb_async.cli.files import read_input
from tcb_async.cli.sides import choose_kind
from tcb_async.compare import parse_document
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
  ] ,
}"""
PLUGINS = {"plugins": {"func": {"inputs": {"functions": [{"name": "login"}]}}}}
REPLY = {"errcode": 0, "errmsg": "ok", "total_count": 300, "functions": [LOGIN, PAY]}
WATCHED = {"time": "2026-11-25T09:30:00+08:00", "change": "added", "name": "x", "after": LOGIN}
DIFFERENCE = {"kind": "missing", "name": "login", "expected": LOGIN, "found": None}
STORED = {"appid": "wx1", "env": "dev", **LOGIN, "stale": 0}


OLD_DEFAULT = json.dumps(
    {"functionDefaultConfig": {"runtime": "Php7.4"}, "functions": [{"name": "a"}]}
)


def read(text):
    return parse_document(text.encode(), "x.json")


def declaring(**function):
    return json.dumps({"functions": [function]})


@pytest.mark.parametrize("text", [JSON, json.dumps([LOGIN, PAY], indent=1), f"\ufeff{JSON}\n"])
def test_an_export_has_the_fields_of_its_rows(text):
    export = read(text)
    assert not export.is_declaration
    assert export.functions == {
        "login": {"status": "Active", "runtime": "Nodejs16.13"},
        "payNotify": {"status": "UpdateFailed", "runtime": None},
    }


def test_an_export_knows_only_its_own_columns():
    times = {"add_time": "2026-11-25T09:30:00", "mod_time": None}
    assert read(json.dumps([{"name": "login", **times}])).functions == {
        "login": {"add_time": datetime.fromisoformat("2026-11-25T09:30:00+08:00"), "mod_time": None}
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_declaration_may_have_comments_and_trailing_commas(newline):
    declaration = read(RC.replace("\n", newline))
    assert declaration.is_declaration
    assert declaration.functions == {"login": {"runtime": "Nodejs16.13"}, "a//b": {}}


@pytest.mark.parametrize("runtime", [None, ""])
def test_an_empty_declared_runtime_is_unknown(runtime):
    assert read(declaring(name="login", runtime=runtime)).functions == {"login": {}}


def test_a_runtime_of_its_own_overrides_the_default():
    document = json.loads(OLD_DEFAULT) | {"functions": [{"name": "a", "runtime": "Go1"}]}
    assert read(json.dumps(document)).functions == {"a": {"runtime": "Go1"}}


def test_an_empty_list_is_a_list():
    assert read("[]").functions == {}
    assert read('{"functions": []}').functions == {}


DAMAGED = "it is damaged, or is not JSON"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JSON[:-9], DAMAGED),
        (RC[:-1], DAMAGED),
        (NDJSON, DAMAGED),
        (CSV, DAMAGED),
        ("", DAMAGED),
        ('{"functions": [ // \u2028 {"name": "login"}\n]}', DAMAGED),
        ('{"functions": [,]}', DAMAGED),
        ('{"functions": [{"name": "a"},,]}', DAMAGED),
        (r'[{"name": "\ud800"}]', DAMAGED),
        ('{"functions": [], "timeout": NaN}', DAMAGED),
        ("[" * 100_000 + "]" * 100_000, DAMAGED),
        ('{"functions":' + "[" * 100_000 + "]" * 100_000 + "}", DAMAGED),
        (json.dumps([LOGIN, LOGIN]), "the function 'login' twice"),
        ('{"functions": [{"name": "a"}], "functions": []}', "the key 'functions' twice"),
        ('[{"name": "a", "name": "b"}]', "the key 'name' twice"),
        ('[{"name": 1}]', "item 1: its name must be text"),
        ('[{"name": ""}]', "item 1 has no name"),
        ('["login"]', 'item 1 has no name: an item is such as {"name": "login"}'),
        ('[{"name": "login", "status": 1}]', "item 1: its status must be text"),
        ('[{"name": "login", "add_time": "yesterday"}]', "item 1: it has an invalid time"),
        ('[{"name": "login", "add_time": 5}]', "item 1: its add_time must be text"),
        (json.dumps([WATCHED]), "item 1: it is not a row of tcb-async list"),
        (json.dumps([DIFFERENCE]), "status, runtime, add_time, mod_time, and no expected"),
        (json.dumps([STORED]), "name the inventory's .sqlite file"),
        (json.dumps({"functions": [STORED]}), "name the inventory's .sqlite file"),
        ('{"run": "2026-11-25", "current": []}', "name the inventory's .sqlite file"),
        (json.dumps(STORED), "name the inventory's .sqlite file"),
        (json.dumps(REPLY), "it is a reply of WeChat, perhaps one page of many"),
        ('{"total_count": 0, "functions": []}', "it is a reply of WeChat"),
        (declaring(name="{{env.NAME}}"), "item 1: only CloudBase resolves the name '{{"),
        (
            declaring(name="a", runtime="{{env.R}}"),
            "only CloudBase resolves the runtime '{{",
        ),
        (declaring(name="a", runtime="Go1", config={"runtime": "Php7.4"}), "is in config: write"),
        (OLD_DEFAULT, "item 1: its runtime is in functionDefaultConfig: write it beside its name"),
        (json.dumps({"functions": [], "framework": PLUGINS}), "the framework plugin 'func'"),
        (json.dumps({"version": "2.0", "framework": PLUGINS}), "the framework plugin 'func'"),
        ('{"functions": "{{env.FUNCTIONS}}"}', "it must be an export of tcb-async list"),
        ('{"name": "shop", "version": "1.0.0"}', "it must be an export of tcb-async list"),
        ('{"envId": "test-777bb9"}', "at its top level, as cloudbaserc.json has"),
        ("5", "it must be an export of tcb-async list"),
    ],
)
def test_a_damaged_or_different_document_is_refused(text, said):
    with pytest.raises(ConfigurationError, match=r"^x\.json: ") as caught:
        read(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("use", ["node", "next", "nuxt", "nuxt@1.2.3"])
@pytest.mark.parametrize("inputs", [{"name": "shop-ssr"}, {"platform": "function"}, {}, None])
def test_a_plugin_that_deploys_a_function_is_refused(use, inputs):
    plugin = {"use": f"@cloudbase/framework-plugin-{use}", "inputs": inputs}
    document = {"functions": [LOGIN], "framework": {"plugins": {"server": plugin}}}
    with pytest.raises(ConfigurationError, match="the framework plugin 'server'") as caught:
        read(json.dumps(document))
    name = (inputs or {}).get("name", "without a name")
    assert f"-{use.partition('@')[0]}) deploys a function, {name}, that" in str(caught.value)


@pytest.mark.parametrize(
    ("use", "inputs"),
    [("website", {"outputPath": "dist"}), ("container", {"serviceName": "a"}), ("database", {}),
     ("node", {"name": "shop", "platform": "container"})],
)  # fmt: skip
def test_a_plugin_that_deploys_no_function_is_ignored(use, inputs):
    plugin = {"use": f"@cloudbase/framework-plugin-{use}", "inputs": inputs}
    document = {"functions": [LOGIN], "framework": {"plugins": {"server": plugin}}}
    assert [*read(json.dumps(document)).functions] == ["login"]


def test_a_document_that_is_not_utf_8_is_refused():
    with pytest.raises(ConfigurationError, match="save it as UTF-8"):
        parse_document('[{"name": "登录"}]'.encode("gbk"), "x.json")


@pytest.mark.parametrize("framework", [{}, {"plugins": {"web": {"inputs": {}}}}, {"plugins": 1}])
def test_framework_plugins_without_functions_are_ignored(framework):
    document = {"functions": [LOGIN], "framework": framework}
    assert [*read(json.dumps(document)).functions] == ["login"]


def test_a_pipe_is_read_as_json(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(JSON,), daemon=True)
    writer.start()
    assert choose_kind(str(path)) == "document"
    functions = parse_document(read_input(str(path)), str(path)).functions
    assert [*functions] == ["login", "payNotify"]
    writer.join()


def test_the_spelling_of_a_side_decides_its_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("test-777bb9").mkdir()
    Path("prod-1a2b3c").write_text(JSON, encoding="utf-8")
    for name in ("test-777bb9", "prod-1a2b3c"):
        assert choose_kind(name) == "environment"
    for name in ("-", "all.JSON", "a/cloudbaserc.json"):
        assert choose_kind(name) == "document"
    for name in ("night.sqlite", "night.sqlite3", "a/night.DB"):
        assert choose_kind(name) == "night"


@pytest.mark.parametrize(
    "side", ["all.csv", "all.ndjson", "all.jsonl", "functions/", "./functions", "a.txt", "."]
)
@pytest.mark.parametrize("role", ["expected", "found"])
async def test_other_sides_are_refused_and_json_is_named(
    emulator, tmp_path, monkeypatch, side, role
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions").mkdir()
    (tmp_path / "all.csv").write_text("name\n", encoding="utf-8")
    words = (side, ENV) if role == "expected" else (ENV, side)
    ended = await run("diff", *words, env=env_for(emulator))
    assert (ended.code, ended.out) == (3, "")
    assert f"{side} cannot be compared: name" in ended.err
    assert "tcb-async list ENV -o all.json" in ended.err
    assert emulator.requests == ()
