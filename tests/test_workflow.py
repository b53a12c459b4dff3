"""Test the plan of the workflow and its notebook runner."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from conftest import ROOT

from cosmolib.study.profile import load_profile
from workflow.runs import study_runs

PROFILES = ["tiny", "demo", "reference", "camels"]


def dry_run(*arguments):
    """Return the jobs that Snakemake would start if nothing existed."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile"]
    command += ["--cores", "1", "--nolock", "--dry-run", "--forceall", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", PROFILES)
def test_one_training_per_run(name):
    profile = load_profile(name)
    done = dry_run("--config", f"profile={name}", "--", "book")
    assert done.returncode == 0, done.stderr[-2000:]
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, flags=re.M))
    assert int(counts["training_run"]) == len(study_runs(profile))
    once = "data cuts training tuning interpretation sanity_checks results validation"
    for rule in f"{once} stage html".split():
        assert counts[rule] == "1"


@pytest.mark.parametrize("name", PROFILES)
def test_every_key_has_a_comment(name):
    for line in (ROOT / "configs" / f"{name}.yaml").read_text().splitlines():
        if re.match(r"\w+:", line):
            assert re.search(r" # \S.{5,}", line), f"{name}.yaml: {line!r} has no comment"


def write_notebook(path, *sources):
    """Write a notebook whose first cell contains the parameters."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    nbformat.write(notebook, path)
    return path


def run_notebook(*arguments):
    command = [sys.executable, "workflow/run_notebook.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_runner_refuses_unknown_parameters_and_its_source_as_target(tmp_path):
    """For parameters and the folder of the kernel see tests/test_paths.py."""
    source = write_notebook(tmp_path / "in.ipynb", 'cut = "none"  # a cut')
    before, target = source.read_bytes(), tmp_path / "new" / "out.ipynb"
    done = run_notebook(source, target, "-p", "cutt", "kmax:4")
    assert done.returncode == 2
    assert re.fullmatch(r"error: .* has no parameter 'cutt'; .* cut.*\n", done.stderr)
    assert not target.exists()
    assert run_notebook(source, source).returncode == 2
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 / 0", "(?s).* failed in cell 2 .*\n-+\nZeroDivisionError .*Traceback.*"),
        ("import cosmolib\ncosmolib.Cut.parse('abvoe:1')", "error: .* in cell 2 .*'abvoe:1'.*"),
        ("raise ValueError('at x://me:pw@h')", "error: .* failed in cell 2 .*: at x://me:[*]{3}@h"),
        ("import os\nos.kill(os.getpid(), 9)", "(?s)(?!.*Traceback).*error: .*kernel was killed.*"),
    ],
)
def test_runner_keeps_no_partial_output(tmp_path, code, expected):
    """A bug prints its traceback, bad input and a killed kernel print one line."""
    source = write_notebook(tmp_path / "in.ipynb", "cut = 'none'  # a cut", code)
    done = run_notebook(source, tmp_path / "out.ipynb")
    assert done.returncode == 1
    assert re.fullmatch(expected, done.stderr.strip())
    left = {path.name for path in tmp_path.iterdir()} - {"in.ipynb"}
    assert left == (set() if "kill" in code else {"out.failed.ipynb"})


def test_the_next_run_tidies_up_after_a_killed_runner(tmp_path):
    source = write_notebook(tmp_path / "in.ipynb", "t = 60  # s", "import time\ntime.sleep(t)")
    command = [sys.executable, "workflow/run_notebook.py", str(source), str(tmp_path / "out.ipynb")]
    process = subprocess.Popen([*command], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob(".out-*.ipynb")):
        time.sleep(0.1)
    process.kill()
    process.wait()
    done = run_notebook(source, tmp_path / "out.ipynb", "-p", "t", 0)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb"]


def test_simultaneous_runs_use_different_devices(tmp_path):
    """Three notebooks share two devices, which run one notebook at a time."""
    spans = (
        "import os, time\nstart = time.time()\ntime.sleep(1.5)\n"
        "print('SPAN', os.environ['CUDA_VISIBLE_DEVICES'], start, time.time())"
    )
    source = write_notebook(tmp_path / "in.ipynb", "a = 1  # a", spans)
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "0,GPU-b", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "workflow/run_notebook.py", str(source)]
    processes = [
        subprocess.Popen([*command, str(tmp_path / f"{i}.ipynb")], cwd=ROOT, env=env)
        for i in range(3)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    found = []
    for i in range(3):
        words = re.search(r"SPAN (\S+) ([\d.]+) ([\d.]+)", (tmp_path / f"{i}.ipynb").read_text())
        found.append((words[1], float(words[2]), float(words[3])))
    assert {device for device, _, _ in found} == {"0", "GPU-b"}
    for a, b in itertools.combinations(found, 2):
        assert a[0] != b[0] or a[2] <= b[1] or b[2] <= a[1]


def test_workers_of_the_tuning_study_are_jobs(monkeypatch):
    """The address of their storage is an environment variable; no log shows its password."""
    config = ("--printshellcmds", "--config", "profile=tiny")
    monkeypatch.setenv("COSMOLIB_STUDY", "postgresql://me:hunter2@db/x")
    done = dry_run(*config, "workers=3", "--", "book")
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^tuning_worker +3$", done.stdout, flags=re.M)
    assert "cosmolib.cli tune tiny" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert "tuning_worker" not in dry_run(*config, "--", "book").stdout
    refused = dry_run(*config, "study=postgresql://me:hunter2@db/x", "--", "book")
    assert refused.returncode != 0
    assert refused.stderr.startswith("error: set the address of the study in $COSMOLIB_STUDY")
    assert "hunter2" not in refused.stdout + refused.stderr


def test_the_cluster_profile():
    """Snakemake accepts every key, and every run requests one GPU."""
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="the extra 'slurm' is missing")
    done = dry_run(
        "--workflow-profile", "workflow/profiles/slurm", "--config", "profile=tiny", "--", "runs"
    )
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = [line for line in done.stdout.splitlines() if "resources:" in line and "gpu=" in line]
    assert len(jobs) == 6
    assert all("gpu=1" in job and "mem_mb=24000" in job for job in jobs)


def test_a_missing_profile_is_one_error():
    done = dry_run("--config", "profile=no_such_profile", "--", "book")
    assert done.returncode != 0
    assert "no_such_profile" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_helps_by_default():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("book", "test", "study", "clean"):
        assert re.search(rf"^ +{target} ", done.stdout, flags=re.M)
