"""Lists of functions from JSON files and streams: complete, or an error."""

import json
import os
import threading
from pathlib import Path

import pytest
from terminal import ENV, env_for, run

from tcb_async import CloudFunction
from tcb_async.cli.files import read_input
from tcb_async.cli.sides import choose_kind
from tcb_async.compare import DeclaredFunction, changes
from tcb_async.documents import parse_functions
from tcb_async.exceptions import ConfigurationError

LOGIN = CloudFunction("login", "Active", "Nodejs16.13", "2026-11-25 09:30:00").to_dict()
PAY = LOGIN | {"name": "payNotify", "status": "UpdateFailed", "runtime": None}
JSON = json.dumps([LOGIN, PAY])
NDJSON = f"{json.dumps(LOGIN)}\n{json.dumps(PAY)}\n"
CSV = "name,status,runtime\r\nlogin,Active,Nodejs16.13\r\npayNotify,UpdateFailed,\r\n"
RC = {"envId": "test-777bb9", "functionRoot": "./functions", "functions": [
    {"name": "login", "runtime": "Nodejs16.13", "timeout": 5}, {"name": "payNotify"},
]}  # fmt: skip
REPLY = {"errcode": 0, "errmsg": "ok", "total_count": 300, "functions": [LOGIN, PAY]}
STORED = {"appid": "wx1", "env": "dev", **LOGIN}


def read(text):
    return parse_functions(text.encode(), "x.json")


@pytest.mark.parametrize("text", [JSON, json.dumps([LOGIN, PAY], indent=1), f"\ufeff{JSON}\n"])
def test_an_export_is_the_functions_of_a_list(text):
    assert read(text) == [CloudFunction(**LOGIN), CloudFunction(**PAY)]


@pytest.mark.parametrize(
    "text", [json.dumps(RC), json.dumps(RC, indent=2), f"\ufeff{json.dumps(RC)}"]
)
def test_a_declaration_names_functions_and_perhaps_runtimes(text):
    assert read(text) == [
        DeclaredFunction("login", runtime="Nodejs16.13"),
        DeclaredFunction("payNotify"),
    ]


def test_an_old_declaration_has_the_runtime_in_config():
    old = (
        '{"functions": [{"name": "a", "config": {"runtime": "Go1"}}, {"name": "b", "config": {}}]}'
    )
    assert read(old) == [DeclaredFunction("a", runtime="Go1"), DeclaredFunction("b")]


def test_an_empty_declared_runtime_is_not_compared():
    declared = read('{"functions": [{"name": "a", "runtime": ""}]}')
    assert changes(declared, [CloudFunction("a", "Active", "Go1")], times=False) == []


def test_an_empty_list_is_a_list():
    assert read("[]") == []
    assert read('{"functions": []}') == []


DAMAGED = "it is damaged, or is not JSON in UTF-8"
OTHER = "it must be cloudbaserc.json, or an export of tcb-async list -f json"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (JSON[:-9], DAMAGED),
        (json.dumps(RC)[:-1], DAMAGED),
        ('{"functions": []} // a comment', DAMAGED),
        (NDJSON, "missing required field `functions`"),
        (CSV, DAMAGED),
        ("", DAMAGED),
        ('{"functions": [], "a":' + "[" * 100_000 + "]" * 100_000 + "}", DAMAGED),
        (json.dumps([LOGIN, LOGIN]), "the function 'login' twice"),
        ('{"functions": [{"name": "a"}, {"name": "a"}]}', "the function 'a' twice"),
        (json.dumps([LOGIN | {"name": 1}]), "Expected `str`, got `int` - at `$[0].name`"),
        (json.dumps([LOGIN | {"add_time": "yesterday"}]), "'yesterday': it must be an export of"),
        ('[{"name": "login", "status": "Active"}]', "missing required field `runtime`"),
        (json.dumps([STORED]), "unknown field `appid`"),
        (json.dumps(REPLY), "it is a reply of WeChat, perhaps one page: export"),
        ('{"functions": "{{env.FUNCTIONS}}"}', OTHER),
        (
            '{"envId": "{{env.ID}}", "functions": [\n{"name": "a"},\n{"name": "{{env.NAME}}-b"}]}',
            "line 3 has the template '{{env.NAME}}-b', which has no value here: write its value",
        ),
        (
            '{"functions": [{"name": "a", "runtime": "{{ R }}"}]}',
            "line 1 has the template '{{ R }}', which has no value here",
        ),
        ('{"name": "shop", "version": "1.0.0"}', OTHER),
        ("5", OTHER),
    ],
)
def test_a_damaged_or_different_document_is_refused(text, said):
    with pytest.raises(ConfigurationError, match=r"^x\.json: ") as caught:
        read(text)
    assert said in str(caught.value)


def test_template_in_a_field_that_is_not_read_is_harmless():
    row = '{"name": "a", "x": "{{env.X}}", "config": null}'
    functions = read(f'{{"envId": "{{{{env.ID}}}}", "functions": [{row}]}}')
    assert [function.name for function in functions] == ["a"]


def test_a_document_that_is_not_utf_8_is_refused():
    with pytest.raises(ConfigurationError, match="not JSON in UTF-8"):
        parse_functions(json.dumps([LOGIN]).encode("utf-16"), "x.json")


def test_a_pipe_is_read_as_json(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(JSON,), daemon=True)
    writer.start()
    assert choose_kind(str(path)) == "document"
    functions = parse_functions(read_input(str(path)), str(path))
    assert [function.name for function in functions] == ["login", "payNotify"]
    writer.join()


def test_the_spelling_of_a_side_decides_its_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("test-777bb9").mkdir()
    Path("prod-1a2b3c").write_text(JSON, encoding="utf-8")
    for name in ("test-777bb9", "prod-1a2b3c"):
        assert choose_kind(name) == "environment"
    for name in ("-", "all.JSON", "a/cloudbaserc.json"):
        assert choose_kind(name) == "document"
    for name in ("night.sqlite", "a/night.SQLITE"):
        assert choose_kind(name) == "night"


@pytest.mark.parametrize(
    "side", ["all.csv", "all.ndjson", "all.jsonl", "functions/", "./functions", "a.txt", "."]
)
@pytest.mark.parametrize("role", ["before", "after"])
async def test_other_sides_are_refused_and_json_is_named(
    emulator, tmp_path, monkeypatch, side, role
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "functions").mkdir()
    (tmp_path / "all.csv").write_text("name\n", encoding="utf-8")
    words = (side, ENV) if role == "before" else (ENV, side)
    ended = await run("diff", *words, env=env_for(emulator))
    assert (ended.code, ended.out) == (3, "")
    assert f"{side} cannot be compared: name" in ended.err
    assert "tcb-async list ENV -o all.json" in ended.err
    assert emulator.requests == ()
