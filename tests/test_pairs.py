"""The notebooks: each .ipynb and its .py say the same, and nothing that ran is committed."""

import ast
import json
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parent.parent
# What each chapter shows: the lines that carry its argument. The rest of the code is folded.
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
    "07_validation": ("known_answer(", "against_exact(", "exact_answer(", "planted_test("),
    "07b_calibration": ("read_predictions(", "recalibration(", "fit_posterior(", "shown.shuffled"),
}  # fmt: skip
NAMES = list(SHOWN)
FOLDED = {"hide-input", "remove-input", "remove-cell", "parameters"}
KEPT = ("tags", "mystnb")  # the cell metadata that workflow and book read


def cells(notebook):
    """What must agree in both files: kind, source and kept metadata of each cell."""
    kept = [{k: cell.metadata[k] for k in KEPT if k in cell.metadata} for cell in notebook.cells]
    kinds = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return list(zip(kinds, kept, strict=True))


def read(name):
    """The two files of a pair, as notebooks."""
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
    assert len(ours) == len(twin), f"{name}: .ipynb and .py have another number of cells"


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_is_short_and_shows_the_lines_of_its_argument(name):
    _, notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    visible = [x.source for x in code if not FOLDED & set(x.metadata.get("tags", []))]
    assert [line for line in SHOWN[name] if not any(line in source for source in visible)] == []
    assert not any("plots_" in source or "glue(" in source for source in visible)
    assert max(len(source.splitlines()) for source in visible) <= 15
    lines = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_or_table_that_is_left_out_has_a_sentence(name):
    """Where a figure or a shown table depends on a condition, the other branch says why."""
    tree = ast.parse((ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.If) and "fig, axes =" in ast.unparse(node):
            branches = [ast.unparse(part) for part in (node.body, node.orelse)]
            assert all("fig, axes =" in x or "print(" in x for x in branches), ast.unparse(node)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.IfExp):
            assert ast.unparse(node.value.orelse) != "None", ast.unparse(node)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_ran_is_committed(name):
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"]):
        assert not cell.get("attachments"), f"{name}: cell {number} has attachments"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], f"{name}: cell {number} has outputs; strip them"
            assert cell["execution_count"] is None, f"{name}: cell {number} has a count"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("name", NAMES)
def test_one_cell_of_flat_commented_parameters(name):
    notebook, _ = read(name)
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, f"{name}: {len(tagged)} cells are tagged 'parameters'"
    lines = [line for line in tagged[0].source.splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.match(r"^[a-z_]+ = [^#\[{(]+ +# \S", line), (
            f"{name}: {line!r}: want X = SCALAR  # why"
        )
    names = [line.split(" = ")[0] for line in lines]
    assert {"profile", "runs_dir"} <= set(names)


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_starts_with_its_title(name):
    notebook, _ = read(name)
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")


def test_drift_is_seen():
    """The comparison itself: a word changed and a tag lost must each show."""
    text = '# %% [markdown]\n# # T\n\n# %% tags=["parameters"]\na = 1\n'
    for old, new in (("# # T", "# # U"), ("a = 1", "a = 2"), (' tags=["parameters"]', "")):
        ours, other = (jupytext.reads(x, "py:percent") for x in (text, text.replace(old, new)))
        assert cells(ours) != cells(other)


@pytest.mark.parametrize("name", NAMES)
def test_papermill_reads_every_parameter(name):
    """Papermill overlooks a parameter whose comment holds "=", and then cannot set it."""
    import papermill

    path = ROOT / "notebooks" / f"{name}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (cell,) = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    written = re.findall(r"^(\w+) *=", "".join(cell["source"]), re.MULTILINE)
    assert list(papermill.inspect_notebook(str(path))) == written
