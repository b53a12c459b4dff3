"""Test the status of runs, and the tables of the book."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tables
from conftest import ROOT

from cosmolib.study.io import read_yaml, write_json, write_yaml
from cosmolib.study.locks import LOCK, held
from cosmolib.study.profile import load_profile
from cosmolib.study.provenance import provenance
from cosmolib.training.dataset import prepare_data, study_suite
from cosmolib.training.fit import fit
from cosmolib.training.networks import build_network
from workflow.runs import study_runs
from workflow.status import run_status


@pytest.fixture(scope="module")
def profile(tiny_suite_dir):
    return load_profile("tiny", data_dir=str(tiny_suite_dir), epochs=2)


def look(run, profile):
    return run_status(run, profile, study_suite("Lite", profile))


def test_the_runs_of_a_study(profile):
    changed = profile.replace(seeds=[3, 5], attribution_seeds=[3, 4], answer=None)
    runs = study_runs(changed)
    assert len(runs) == len(set(runs)) == 2 * (4 + 2) + 1 + 2  # cases, controls, seed 4, shuffled
    assert [run.seed for run in runs] == [3, 5] * 6 + [4, 3, 4]
    assert runs[-1].profile == "tiny-shuffled"
    assert study_runs(changed.replace(answer="reference")) == runs[:12]  # others explain theirs


def test_done_and_stale_runs(run, profile, tiny_suite_dir, tmp_path):
    one = look(run, profile)
    assert (one.state, one.detail) == ("done", "")
    assert one.made["seconds"] > 0
    one = look(run, profile.replace(max_lr=1e-4))
    assert (one.state, one.detail) == ("stale", "max_lr: found 0.003, expected 0.0001")
    other = tmp_path / "cmd"
    shutil.copytree(tiny_suite_dir, other)
    assert look(run, profile.replace(data_dir=str(other))).state == "done"
    maps = np.load(other / "Maps_Mtot_Lite_LH_z=0.00.npy")
    maps[7, 0, 0] *= 1.01
    np.save(other / "Maps_Mtot_Lite_LH_z=0.00.npy", maps)
    assert look(run, profile.replace(data_dir=str(other))).detail.startswith("fingerprint: found")


def test_running_interrupted_and_damaged_runs(run, profile):
    run.path("metrics.json").unlink()
    run.path("weights.pt").unlink()
    assert look(run, profile).state == "not started"
    with held(run.path(LOCK)):
        one = look(run, profile)
    assert one.state == "running"
    assert "process" in one.detail
    data = prepare_data(study_suite("Lite", profile), profile)
    network = build_network("lite", 32, profile.hidden, 0.0, 2)
    short = profile.replace(epochs=1)
    fit(network, data, short, seed=1, checkpoint=run.path("checkpoint.pt"))
    assert look(run, profile).detail == "after epoch 1 of 2"
    run.path("checkpoint.pt").write_bytes(b"half")
    one = look(run, profile)
    assert one.state == "damaged"
    assert "checkpoint.pt: found no checkpoint" in one.detail


def test_the_page_lists_every_run(run, profile, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "load_profile", lambda name: profile)
    chapter = {"provenance": provenance(seconds=3)}
    write_json(tmp_path / "tiny" / "results" / "04_tuning.json", chapter)
    tables.write_provenance("tiny", tmp_path, tmp_path)
    text = (tmp_path / "provenance.md").read_text()
    made = json.loads(run.path("provenance.json").read_text())
    row = next(line for line in text.splitlines() if line.startswith("| Lite `none` lite seed 1 |"))
    for part in (made["data_fingerprint"], made["code"], made["utc"][:10], "cpu", "| done |"):
        assert part in row
    assert len([line for line in text.splitlines() if "not started" in line]) == 5
    assert "**5 of 6 runs are not current**" in text
    assert "| 04 tuning |" in text
    assert f"torch {made['versions']['torch']}" in text

    config = read_yaml(run.path("config.yaml"))
    config["identity"]["code"]["training.networks"] = "0"
    write_yaml(run.path("config.yaml"), config)
    tables.write_provenance("tiny", tmp_path, tmp_path)
    assert "**stale**: other code in training.networks" in (tmp_path / "provenance.md").read_text()


def test_the_plan_counts(tiny_suite_dir, tmp_path):
    text = (ROOT / "configs" / "tiny.yaml").read_text()
    text = text.replace("name: tiny", "name: no-such-study")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("data_dir: null", f"data_dir: {tiny_suite_dir}"))

    def plan(profile):
        command = [sys.executable, "workflow/status.py", str(profile)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = plan(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "6 runs: 6 not started"
    assert not (ROOT / "runs" / "no-such-study").exists()
    done = plan("no_such")
    assert done.returncode == 2
    assert done.stderr.startswith("error: configs/no_such.yaml")


def test_tables_of_stored_benchmarks(tmp_path):
    """The stored results appear in the tables."""
    stored = ROOT / "results" / "benchmarks"
    tables.write_benchmarks(tmp_path, tmp_path, stored)
    for name, row in (
        ("chaos", "| runs lost | {runs_lost} of {runs} |"),
        ("chaos", "| {steps[0][what]} | {steps[0][kills]} | {steps[0][files]} |"),
        ("cluster", "| runs done | {done} of {runs} |"),
        ("fuzz", "| {rows[0][reader]} | {rows[0][inputs]} | {rows[0][refused]} |"),
    ):
        values = json.loads((stored / f"{name}.json").read_text())
        assert row.format(**values) in (tmp_path / f"{name}.md").read_text()
