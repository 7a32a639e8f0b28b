"""A notebook, run by a real Jupyter kernel, as the documentation shows it."""

import re
from pathlib import Path

import pytest
from programs import needs_package

from tcb_async.emulator import Emulator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sync.md"


@pytest.mark.slow
def test_documented_cell_runs_in_a_notebook(monkeypatch):
    nbformat, nbclient = needs_package("nbformat"), needs_package("nbclient")
    text = PAGE.read_text(encoding="utf-8")
    cell = re.search(r"## Notebooks.*?```python\n(.*?)```", text, flags=re.DOTALL)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell[1])])

    with Emulator() as wechat:
        wechat.deploy("test-777bb9", count=48)
        monkeypatch.setenv("TCB_BASE_URL", wechat.url)
        monkeypatch.setenv("TCB_ACCESS_TOKEN", wechat.token)
        nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()

    assert notebook.cells[0].outputs[-1].data["text/plain"] == "48"
