"""Every error message of the package, in one table for review: ``tests/samples/messages.md``.

Rule: a message names the problem in at most 20 words, then the next step. Run this file as a
program to write the table again.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests" / "samples" / "messages.md"
RAISED = re.compile(r"(Error|_error|^Refused)$")


def text_of(node):
    """The text of a message, with its values in braces; None for anything but a text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) for part in parts)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
        case ast.BinOp(left=left, right=right):
            return (text_of(left) or "") + (text_of(right) or "") or None
    return None


def messages():
    """Yield the module, the exception and the text of each message."""
    for path in sorted((ROOT / "tcb_async").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            for text in filter(None, map(text_of, node.args)):
                if RAISED.search(name) and " " in text:
                    yield path.relative_to(ROOT).as_posix(), name, " ".join(text.split())


def table():
    rows = [
        f"| {module} | {name} | {text.replace('|', '¦')} |" for module, name, text in messages()
    ]
    head = ["# Error messages", "", "| module | raised as | message |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, ""])


def test_table_is_up_to_date():
    assert TABLE.read_text(encoding="utf-8") == table(), f"run: python {Path(__file__).name}"


def is_hard_to_read(text):
    problem = re.split(r"[:;] ", re.sub(r"\{[^}]*\}", "x", text))[0]
    return len(problem.split()) > 20 or re.search(r"\b(is|are) none\b|\bnot un\w+", text)


def test_problem_takes_at_most_20_words():
    assert [text for _, _, text in messages() if is_hard_to_read(text)] == []
    assert is_hard_to_read("this is none of the environments")


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
