"""Test that each .ipynb agrees with its .py, contains no output, and follows the rules."""

import ast
import json
import re

import jupytext
import papermill
import pytest
from conftest import ROOT

# Code that must be visible in each chapter, because it carries the argument.
SHOWN = {
    "01_data": ("open_suite(", "split_simulations(", "check_maps(", "fit_scaling("),
    "02_cuts": ("open_suite(", "apply_cut(maps[example]", "fraction_cut("),
    "03_training": ("study_suite(", "build_network(", "augment(", "train_run(", "read_predictions(",
                    "stored_baseline("),
    "04_tuning": ("prepare_search(", "run_study(", "importances(", "boundary_flags("),
    "05_interpretation": ("load_subjects(", "explain_all(", "by_value(", "region_shares"),
    "05b_sanity_checks": ("randomisation(", "under_moves(", "faithfulness("),
    "06_results": ("results_table(", "noise_curves(", "claims.judge(", "controls.judge("),
    "06b_generalisation": ("read_table(",),
    "07_validation": ("draw_mocks(", "against_exact(", "analytic_posterior(", "injection_test("),
    "07b_calibration": ("read_predictions(", "recalibration(", "fit_posterior(", "shown.shuffled"),
}  # fmt: skip
NAMES = list(SHOWN)
FOLDED = {"hide-input", "remove-input", "remove-cell", "parameters"}
KEPT = ("tags", "mystnb")  # cell metadata used by the workflow and the book


def cells(notebook):
    """Return kind, source and metadata of each cell, which must agree in both files."""
    kept = [{k: cell.metadata[k] for k in KEPT if k in cell.metadata} for cell in notebook.cells]
    kinds = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return list(zip(kinds, kept, strict=True))


def read(name):
    """Return the two files of a pair as notebooks."""
    folder = ROOT / "notebooks"
    return jupytext.read(folder / f"{name}.ipynb"), jupytext.read(folder / f"{name}.py")


def test_every_notebook_is_a_pair():
    found = sorted(path.name for path in (ROOT / "notebooks").glob("*.*"))
    assert found == sorted(f"{name}.{kind}" for name in NAMES for kind in ("ipynb", "py"))


@pytest.mark.parametrize("name", NAMES)
def test_pair_agrees(name):
    ours, twin = map(cells, read(name))
    for number, (left, right) in enumerate(zip(ours, twin, strict=False)):
        assert left == right, f"{name}: cell {number} differs between .ipynb and .py"
    assert len(ours) == len(twin), f"{name}: .ipynb and .py have different numbers of cells"


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_is_short_and_shows_its_argument(name):
    _, notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    visible = [x.source for x in code if not FOLDED & set(x.metadata.get("tags", []))]
    assert [line for line in SHOWN[name] if not any(line in source for source in visible)] == []
    assert not any("plots_" in source or "glue(" in source for source in visible)
    assert max(len(source.splitlines()) for source in visible) <= 15
    lines = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_figure_or_table_is_explained(name):
    """If a figure or table depends on a condition, the other branch prints the reason."""
    tree = ast.parse((ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.If) and "fig, axes =" in ast.unparse(node):
            branches = [ast.unparse(part) for part in (node.body, node.orelse)]
            assert all("fig, axes =" in x or "print(" in x for x in branches), ast.unparse(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.IfExp):
            assert ast.unparse(node.value.orelse) != "None", ast.unparse(node)


@pytest.mark.parametrize("name", NAMES)
def test_no_output_is_committed(name):
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"]):
        assert not cell.get("attachments"), f"{name}: cell {number} has attachments"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], f"{name}: cell {number} has outputs; strip them"
            assert cell["execution_count"] is None, f"{name}: cell {number} has a count"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_title_and_parameters(name):
    """One cell has flat parameters with comments; papermill ignores a comment with "="."""
    notebook, _ = read(name)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    lines = [line for line in cell.source.splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.match(r"^[a-z_]+ = [^#\[{(]+ +# \S", line), (
            f"{name}: {line!r} is not: name = scalar  # meaning"
        )
    names = [line.split(" = ")[0] for line in lines]
    assert {"profile", "runs_dir"} <= set(names)
    assert list(papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))) == names
