"""No function of ours keeps a credential that it was given as a str: its frame would show it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import tcb_async

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(tcb_async.__file__).parent
CREDENTIALS = {"token", "secret", "appsecret", "refresh_token", "ticket", "redis_url"}
WRAPPERS = {"Secret", "Hidden", "_wrapped"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """Every function that runs on the client's side, the commands apart."""
    for path in PACKAGE.rglob("*.py"):
        folder = path.relative_to(PACKAGE).parts[0]
        if folder not in {"emulator", "cli"}:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, Function):
                    yield f"{path.relative_to(PACKAGE)}: {node.name}", node


def given_as_str(function: Function) -> set[str]:
    """Its arguments that are credentials and may be a str."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {
        argument.arg
        for argument in arguments
        if argument.arg in CREDENTIALS
        and argument.annotation is not None
        and "str"
        in {name.id for name in ast.walk(argument.annotation) if isinstance(name, ast.Name)}
        and not ast.unparse(argument.annotation).startswith("Callable")
    }


def kept(function: Function) -> set[str]:
    """Those that neither a wrapper replaces nor ``del`` removes before anything else is done."""
    left = given_as_str(function)
    statements = [
        statement
        for statement in function.body
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
    ]
    for statement in statements:
        wrapped = {
            name.id
            for call in ast.walk(statement)
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[0] in WRAPPERS
            for name in call.args
            if isinstance(name, ast.Name)
        }
        replaced = {
            name.id
            for name in ast.walk(statement)
            if isinstance(name, ast.Name) and not isinstance(name.ctx, ast.Load)
        }
        if not wrapped and not isinstance(statement, ast.Delete):
            break
        left -= replaced
    return left if statements else set()


def test_no_function_keeps_a_credential_that_it_was_given_as_a_str() -> None:
    keeping = {name: kept(function) for name, function in functions() if kept(function)}

    assert keeping == {}


def test_there_are_functions_that_are_given_one() -> None:
    assert sum(bool(given_as_str(function)) for _, function in functions()) > 10
