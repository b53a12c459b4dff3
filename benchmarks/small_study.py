"""A study of 21 small runs, used by chaos.py (kills) and cluster.py (SLURM)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also where cosmolib is not installed

from cosmolib.study.io import read_json, read_yaml, write_yaml  # noqa: E402
from cosmolib.study.profile import load_profile  # noqa: E402
from workflow.runs import study_runs  # noqa: E402

# Two suites, two cuts, five seeds, and a control with shuffled labels: 21 runs of a few seconds
CHANGES = {
    "controls": [],
    "seeds": [1, 2, 3, 4, 5],
    "attribution_seeds": [1],
    "n_simulations": 60,
    "epochs": 12,
    "hidden": 4,
}


def make_profile(name, **changes):
    """Write the profile of a small study to ``build/<name>/`` and return its path."""
    values = read_yaml(ROOT / "configs" / "tiny.yaml") | CHANGES | changes | {"name": name}
    path = ROOT / "build" / name / f"{name}.yaml"
    write_yaml(path, values)
    load_profile(path)
    return path


def clear(name):
    """Remove the files of an earlier study of this name."""
    for folder in (f"runs/{name}", f"runs/{name}-shuffled", f"build/{name}"):
        shutil.rmtree(ROOT / folder, ignore_errors=True)


def runs_of(path):
    """Return all runs of a profile."""
    return study_runs(load_profile(path), ROOT / "runs")


def snakemake(path, *arguments, target="runs", **options):
    """Start the workflow on a profile; return the process."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--nolock"]
    command += ["--rerun-incomplete", "--quiet", "all", *arguments]
    command += ["--config", f"profile={path.relative_to(ROOT)}", "--", target]
    return subprocess.Popen(command, cwd=ROOT, **options)


def results_of(path):
    """Return the metrics of all runs of a profile by suite, cut and seed; None if incomplete."""

    found = {}
    for run in runs_of(path):
        shuffled = ", shuffled" if run.profile.endswith("-shuffled") else ""
        key = f"{run.suite}, {run.cut}, seed {run.seed}{shuffled}"
        found[key] = read_json(run.path("metrics.json")) if run.complete else None
    return found
