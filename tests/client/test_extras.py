"""Imports, and the error of an import without its extra."""

import ast
import importlib
import importlib.metadata
import inspect
import json
import pickle
import pydoc
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import tcb_async
from tcb_async import _MODULES, _PUBLIC_MODULES, TcbClient

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("tcb_async.fastapi", "fastapi", "fastapi"), ("tcb_async.otel", "opentelemetry", "otel")],
)
def test_missing_extra_is_named(monkeypatch, module, package, extra):
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed

    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(module)

    assert str(caught.value) == f"{module} needs {package}: pip install 'tcb-async[{extra}]'"
    assert caught.value.name == package


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import tcb_async.pytest_plugin", {"tcb_async.client", "aiohttp"}),
        ("from tcb_async import Cursor, TcbError", {"tcb_async.client", "aiohttp"}),
        (
            "import tcb_async.emulator, tcb_async.tokens; tcb_async.TcbClient('t')",
            {"opentelemetry", "fastapi"},
        ),
    ],
)
def test_unused_modules_are_not_imported(pytester, code, unwanted):
    run = pytester.runpython_c(f"{code}; import sys; print(*sys.modules)")
    modules = run.stdout.str().split()
    assert "tcb_async" in modules
    assert not unwanted.intersection(modules)


@pytest.mark.slow
def test_public_names_need_no_sqlite(pytester):
    code = (
        "import sys; sys.modules['_sqlite3'] = None\n"
        "from tcb_async import Emulator, TcbClient\nimport tcb_async.fastapi\n"
        "TcbClient('t'), Emulator()"
    )
    assert pytester.runpython_c(code).ret == 0


def test_public_names_are_importable_listed_and_pickle():
    names: dict[str, object] = {}
    exec("from tcb_async import *", names)  # noqa: S102 - a star is allowed in a module only

    assert names.keys() - {"__builtins__"} == {*tcb_async.__all__} < {*dir(tcb_async)}
    assert {*tcb_async.__all__} <= {*vars(tcb_async)}  # a later access imports nothing
    for name in tcb_async.__all__:
        assert pickle.loads(pickle.dumps(names[name])) is names[name]  # noqa: S301
    assert {*dir(tcb_async)} == {*tcb_async.__all__, *_PUBLIC_MODULES, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'TcbClent'"):
        tcb_async.TcbClent  # noqa: B018


@pytest.mark.slow
def test_what_dir_lists_needs_no_extra(pytester):
    code = """
import inspect, pydoc, rlcompleter, sys
from unittest import mock

sys.modules.update(dict.fromkeys(["cyclopts", "fastapi", "opentelemetry", "redis", "rich"]))
import tcb_async

assert rlcompleter.Completer({"tcb_async": tcb_async}).complete("tcb_async.Tcb", 0)
assert "TcbClient" in pydoc.plain(pydoc.render_doc(tcb_async))
mock.create_autospec(tcb_async)
for _, subject in inspect.getmembers(tcb_async, inspect.ismodule):
    inspect.getmembers(subject)
"""
    assert pytester.runpython_c(code).ret == 0


@pytest.mark.slow
def test_each_subject_is_an_attribute(pytester):
    """Also of a package that has imported nothing else."""
    code = f"""
import importlib, sys

for subject in {sorted(_PUBLIC_MODULES)}:
    for name in [name for name in sys.modules if name.startswith("tcb_async")]:
        del sys.modules[name]
    package = importlib.import_module("tcb_async")
    getattr(package, subject)
    assert subject in vars(package)
"""
    assert pytester.runpython_c(code).ret == 0


def test_help_shows_a_signature_for_people():
    assert str(inspect.signature(TcbClient)).startswith("(token: 'Token', *, base_url: 'str' = ")
    shown = pydoc.plain(pydoc.render_doc(TcbClient))
    assert "Never" not in shown
    assert "[hidden]" not in shown


def test_type_checkers_see_the_same_names():
    package = ast.parse(Path(tcb_async.__file__).read_text(encoding="utf-8"))
    (unrun,) = [node for node in package.body if isinstance(node, ast.If)]
    imports = [node for node in unrun.body if isinstance(node, ast.ImportFrom)]
    exported = {alias.asname: f"{node.module}" for node in imports for alias in node.names}

    names = {name: f"tcb_async.{module}" for name, module in _MODULES.items()}
    assert exported == names | dict.fromkeys(_PUBLIC_MODULES, "tcb_async")


def test_types_of_public_names_can_be_read():
    """FastAPI, for example, reads the types of a dependency."""
    unreadable = set()
    names = ("fastapi", "otel", "inventory", "tokens", "emulator", "pagination")
    modules = [tcb_async, *(importlib.import_module(f"tcb_async.{name}") for name in names)]
    for public in (getattr(module, name) for module in modules for name in module.__all__):
        members = vars(public).values() if inspect.isclass(public) else ()
        for member in (public, *members):
            function = getattr(member, "fget", None) or getattr(member, "__func__", member)
            code = getattr(function, "__code__", None)
            if code is None or code.co_filename.startswith("<attrs"):
                continue
            try:
                get_type_hints(function)
            except NameError:
                unreadable.add(function.__qualname__)
    assert unreadable == set()


def test_installed_package_is_tested():
    installed = importlib.metadata.distribution("tcb-async")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    is_editable = origin.get("dir_info", {}).get("editable", False)
    folder = ROOT / "tcb_async" if is_editable else installed.locate_file("tcb_async")

    assert Path(tcb_async.__file__).parent == folder
