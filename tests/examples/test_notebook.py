"""The notebook trains in processes from beginning to end, and says what it says."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

pytestmark = pytest.mark.extras


@pytest.mark.filterwarnings("default")  # Those of Jupyter's packages.
def test_the_notebook_trains_plots_evaluates_and_refuses(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is stored without outputs"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=250, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "mean return of the averaged parameters: " in printed
    score = float(printed.partition("mean return of Guess: ")[2].split()[0])
    assert score > 8.0, "it learns what a cell defines"
    assert "refused: env make_guess is defined in the main program: " in printed
    assert any("image/png" in output.get("data", {}) for output in outputs)
