"""No function of ours keeps a credential that it was given as a str: its frame would show it.

The emulator is exempt: it is the server's side. What is secret there was made up for a test, by
itself or by its caller, opens nothing but the emulator, and has to be compared and told as a str.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import tcb_async

PACKAGE = Path(tcb_async.__file__).parent
CREDENTIALS = {
    *("token", "access_token", "refresh_token", "secret", "appsecret", "ticket"),
    *("redis", "redis_url"),  # with a password
}
WRAPPERS = {"Secret", "Hidden", "wrap"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def nodes():
    """All code that runs on the client's side, with the name of its module."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "emulator":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield str(path.relative_to(PACKAGE)), node


def functions():
    for module, node in nodes():
        if isinstance(node, Function):
            yield f"{module}: {node.name}", node


@functools.cache
def aliases():
    """What is written as ``Name = Generic[...]``, such as an alias of a type."""
    return {
        ast.unparse(node.targets[0]): node.value.slice
        for _, node in nodes()
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript)
    }


def may_be_str(annotation):
    names = {name.id for name in ast.walk(annotation) if isinstance(name, ast.Name)}
    return "str" in names or any(may_be_str(aliases()[name]) for name in names & aliases().keys())


def given_as_str(function):
    """Its arguments that are credentials and may be a str."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {
        argument.arg
        for argument in arguments
        if argument.arg in CREDENTIALS
        and argument.annotation is not None
        and may_be_str(argument.annotation)
        and not ast.unparse(argument.annotation).startswith("Callable")
    }


def kept(function):
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


def test_no_function_keeps_a_credential_that_it_was_given_as_a_str():
    keeping = {name: kept(function) for name, function in functions() if kept(function)}

    assert keeping == {}


def test_no_object_holds_one_as_a_str():
    holding = [
        f"{module}: {node.name}.{ast.unparse(field.target)}"
        for module, node in nodes()
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and ast.unparse(field.target).removeprefix("_") in CREDENTIALS
        and may_be_str(field.annotation)
    ]

    assert holding == []


def test_there_are_functions_that_are_given_one():
    assert sum(bool(given_as_str(function)) for _, function in functions()) > 10
