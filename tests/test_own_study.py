"""Test the chapters with a study that shows its own runs (`answer: null`), as for CMD."""

import subprocess
import sys

from conftest import ROOT

from cosmolib.study.io import read_json, read_yaml, write_yaml
from cosmolib.study.profile import load_profile
from cosmolib.training.run import train_run
from workflow.runs import study_runs

CHAPTERS = (
    "04_tuning", "05_interpretation", "05b_sanity_checks", "06_results", "06b_generalisation",
    "07_validation", "07b_calibration",
)  # fmt: skip


def test_chapters_show_the_runs_of_their_own_study(tmp_path):
    own = read_yaml(ROOT / "configs/tiny.yaml") | {
        "name": "own", "answer": None, "attribution_seeds": [1, 2], "hidden": 1,
        "known_answer_cuts": ["none"],
        "cuts": ["none"], "controls": ["mask:above:delta=0"], "tuning_trials": 2,
    }  # fmt: skip
    write_yaml(tmp_path / "own.yaml", own)
    profile, runs = load_profile(tmp_path / "own.yaml"), tmp_path / "runs"
    for run in study_runs(profile, runs):
        train_run(run, profile if run.profile == "own" else profile.shuffled)
    for name in CHAPTERS:
        command = [sys.executable, "workflow/run_notebook.py", f"notebooks/{name}.ipynb"]
        command += [tmp_path / f"{name}.ipynb", "-p", "profile", tmp_path / "own.yaml"]
        command += ["-p", "runs_dir", runs]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"
    tables = {name: read_json(runs / "own" / "results" / f"{name}.json") for name in CHAPTERS}
    assert tables["06_results"]["profile"] == "own"
    assert tables["06_results"]["attribution"]["suite"] == "Lite"
    assert len(tables["04_tuning"]["trials"]) == 2
    assert {"rows", "lognormal", "injected"} <= tables["07_validation"].keys()
    assert set(tables["07b_calibration"]["shuffled_r2"]) == {"Omega_m", "sigma_8"}
