"""The notebook runs from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"


@pytest.mark.filterwarnings("default")  # of the notebook's own libraries
def test_walkthrough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(FOLDER / "walkthrough.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "commit notebooks without outputs"
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(FOLDER)}}).execute()
    text = str([cell.get("outputs") for cell in notebook.cells])
    assert "held-out accuracy" in text and "image/png" in text and "rounds" in text
