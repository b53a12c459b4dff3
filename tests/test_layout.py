"""Test the layout of the package, its size, imports and public names, and names in documents."""

import ast
import graphlib
import importlib
import io
import json
import pkgutil
import re
import subprocess
import sys
import tokenize

import pytest
from conftest import ROOT

import cosmolib

PACKAGE = ROOT / "cosmolib"
FILES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]
DOCUMENTS += [ROOT / "benchmarks" / "README.md", ROOT / "results" / "README.md"]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}

# Each sub-package may import from those before it.
SUB_PACKAGES = (
    "study", "data", "cuts", "training", "tuning", "interpretation", "results", "validation",
    "plots",
)  # fmt: skip
UPWARD = {"study.identity", "study.profile", "study.run"}  # these check names of suites and cuts
MOST_CODE = 6674  # lines of code of the whole package; lower it when the package shrinks
MOST_TEXT = 400  # lines of text per module
PUBLIC = [
    "Cut", "PARAMETERS", "apply_cut", "attribute", "build_network", "load_profile",
    "load_published_weights", "moment_loss", "open_suite", "split_simulations",
]  # fmt: skip


def lines_of_code(text):
    """Count the lines of a module that are not blank, comments or docstrings."""
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
             tokenize.ENDMARKER)  # fmt: skip
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def imports(path):
    """Return the modules of the package that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def test_one_sub_package_per_step():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(SUB_PACKAGES)
    top = {path.stem for path in PACKAGE.glob("*.py")}
    assert {"__init__", "cli"} <= top
    assert len(top) <= 3, top


def test_the_package_is_thin_and_no_module_is_too_long():
    assert lines_of_code('"""Doc."""\n\n# comment\nx = """a\nb"""\n') == 2
    texts = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
    code = sum(map(lines_of_code, texts.values()))
    assert code <= MOST_CODE, code
    long = [name for name, text in texts.items() if len(text.splitlines()) > MOST_TEXT]
    assert long == [], "split or shorten"


def test_no_import_circle():
    edges = {name: imports(path) for name, path in MODULES.items()}
    assert sum(map(len, edges.values())) > 100
    graphlib.TopologicalSorter(edges).prepare()  # raises an error that names the circle


def test_imports_follow_the_order_of_the_sub_packages():
    upward = set()
    for name, path in MODULES.items():
        parts = name.split(".")[1:]
        if parts[0] in SUB_PACKAGES:
            allowed = set(SUB_PACKAGES[: SUB_PACKAGES.index(parts[0]) + 1])
            if parts[0] in ("interpretation", "results"):  # at the same level as tuning
                allowed -= {"tuning", "interpretation"} - {parts[0]}
            if not {one.split(".")[1] for one in imports(path)} <= allowed:
                upward.add(".".join(parts))
    assert upward == UPWARD


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("cosmolib", "numpy torch"), ("cosmolib.cli", "torch"), ("cosmolib.training.run", ""),
        ("cosmolib.data.suites", "torch scipy matplotlib sklearn camb pysco"),
        ("cosmolib.study.run", "torch scipy matplotlib sklearn camb pysco"),
    ],
)  # fmt: skip
def test_imports_are_light(module, forbidden):
    """Pylians, captum and optuna are imported where they are used."""
    code = f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    forbidden = {"smoothing_library", "MAS_library", "captum", "optuna", *forbidden.split()}
    assert forbidden.isdisjoint(json.loads(done.stdout))


def test_public_names(tiny_suite_dir):
    assert sorted(cosmolib.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(cosmolib))
    for name in PUBLIC:
        getattr(cosmolib, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cosmolib.nothing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_what_exists(path):
    """Modules, scripts, targets of make and subcommands in the text exist."""
    text = path.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"\bcosmolib(?:\.\w+)+", text):
        try:
            found = name in MODULES or pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            found = False
        assert found, name
    for module, names in re.findall(r"from (cosmolib[\w.]*) import ([\w, ]*\w)", text):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), (module, name)
    scripts = r"(?<![\w/])(?:workflow|benchmarks|tests|configs|lite|data/lite)/[\w/.]*\w"
    for script in re.findall(scripts, text):
        assert (ROOT / script).exists() or "mine" in script, script
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, flags=re.M):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.M), target
    for command in re.findall(r"bin/cosmolib (\w+)|`cosmolib (\w+)", text):
        assert "".join(command) in ("check", "download", "tune"), command
