"""Every error message of the package: the problem in at most 20 words, then the next step."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    """Yield the text of each message."""
    for path in sorted((ROOT / "tcb_async").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            for text in filter(None, map(text_of, node.args)):
                if RAISED.search(name) and " " in text:
                    yield " ".join(text.split())


def is_hard_to_read(text):
    problem = re.split(r"[:;] ", re.sub(r"\{[^}]*\}", "x", text))[0]
    return len(problem.split()) > 20 or re.search(r"\b(is|are) none\b|\bnot un\w+", text)


def test_problem_takes_at_most_20_words():
    assert [text for text in messages() if is_hard_to_read(text)] == []
    assert is_hard_to_read("this is none of the environments")
