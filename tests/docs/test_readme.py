"""The program of README, alone in an empty folder, and the example of CONTRIBUTING."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_examples import ran

from tcb_async.emulator import Fault

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_program_works_alone(name, tcb_emulator, tmp_path, monkeypatch):
    tcb_emulator.deploy("test-777bb9", count=48)
    tcb_emulator.add_app("wx0123456789abcdef", "a-secret")
    monkeypatch.setenv("TCB_BASE_URL", tcb_emulator.url)
    monkeypatch.setenv("TCB_APPID", "wx0123456789abcdef")
    monkeypatch.setenv("TCB_SECRET", "a-secret")
    readme = (ROOT / name).read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    Path("functions.py").write_text(program, encoding="utf-8")

    assert ran(sys.executable, "functions.py").count("\n") == 48


async def test_example_of_contributing_passes(emulator, client):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"Fault": Fault}
    exec(example, names)  # noqa: S102 - our own page

    await names["test_page_that_times_out_is_requested_again"](emulator, client)
