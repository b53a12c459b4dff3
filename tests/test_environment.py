"""Test that pyproject.toml, environment.yml and constraints.txt agree."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cosmolib.study.io import read_yaml

CONDA_NAMES = {"pytorch": "torch", "snakemake-minimal": "snakemake",
               "playwright-python": "playwright"}  # fmt: skip


def from_pyproject():
    """Return {package: Requirement} of all dependencies and extras in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + sum(extras.values(), [])
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


def from_environment():
    """Return {package: Requirement} and the requirement of Python in environment.yml."""
    entries = read_yaml(ROOT / "environment.yml")["dependencies"]
    conda = [entry for entry in entries if isinstance(entry, str) and entry != "pip"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    lines = [line for line in conda + pip if not line.startswith("-e")]
    assert "-e ." in pip, "environment.yml does not install cosmolib itself"
    found = {}
    for item in map(Requirement, lines):
        found[canonicalize_name(CONDA_NAMES.get(item.name, item.name))] = item
    return found, found.pop("python")


def pins():
    """Return {package: version} in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_conda_and_pip_require_the_same():
    ours, (theirs, python) = from_pyproject(), from_environment()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert str(python.specifier) == project["requires-python"]
    assert set(ours) == set(theirs)
    for name, requirement in ours.items():
        assert requirement.specifier == theirs[name].specifier, name
        assert str(requirement.marker) == str(theirs[name].marker), name


def test_pins_lie_in_the_ranges():
    """Pins are plain versions, without local paths, indices or build tags."""
    pinned = pins()
    for version in pinned.values():
        assert re.fullmatch(r"[A-Za-z0-9.]+", version), version
    for name, requirement in from_pyproject().items():
        assert name in pinned, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(pinned[name]), f"{name}=={pinned[name]}"


def test_one_version(monkeypatch):
    """The version comes from git tags; a clone that is not installed has none."""
    import cosmolib

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    assert "version" not in read_yaml(ROOT / "CITATION.cff")
    fallback = pyproject["tool"]["setuptools_scm"]["fallback_version"]
    assert f"## {fallback}" in (ROOT / "CHANGELOG.md").read_text()
    names = {pyproject["project"]["name"]: "1.2.3"}
    monkeypatch.setattr(importlib.metadata, "version", names.get)
    assert cosmolib.__version__ == "1.2.3"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert cosmolib.__version__ == "0+unknown"


PROGRAM = """
import numpy as np
import torch

from cosmolib import PARAMETERS, Cut, apply_cut, attribute, build_network, load_profile
from cosmolib import moment_loss, open_suite, split_simulations

suite = open_suite("Lite", data_dir=None)
maps: np.ndarray = apply_cut(suite.maps[:15], Cut.parse("kmax:4"), box_size=suite.box_size)
train: np.ndarray = split_simulations(suite.n_simulations, seed=1).train
network = build_network("lite", 64, load_profile("tiny").hidden)
mean, std = network(torch.zeros(1, 1, 64, 64))
loss: torch.Tensor = moment_loss(mean, std, torch.zeros(1, len(PARAMETERS)))
values: np.ndarray = attribute(network, torch.zeros(1, 1, 64, 64), "saliency", 0).values
"""
FAULTS = (
    ("open_suite(25)", 'has incompatible type "int"'),
    ("open_suite('Lite').map", 'has no attribute "map"'),
    ("apply_cut(maps, 'kmax:4', box='25')", 'Unexpected keyword argument "box"'),
)


def test_programs_that_use_the_public_names_are_type_checked(tmp_path):
    program = tmp_path / "program.py"
    lines = [line for line, _ in FAULTS]
    program.write_text(PROGRAM + "\n".join(lines) + "\n")
    options = ["--ignore-missing-imports", "--follow-imports=silent", "--cache-dir", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, program],
        capture_output=True, text=True, check=False, env=os.environ | {"MYPYPATH": str(ROOT)},
    )  # fmt: skip
    faults = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(faults) == len(FAULTS), done.stdout + done.stderr
    for found, (_, expected) in zip(faults, FAULTS, strict=True):
        assert expected in found
