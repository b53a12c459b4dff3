"""Unusual paths and names, other kernels and home folders that cannot be written."""

import json
import os
import re
import shutil
import subprocess
import sys
from unittest import mock

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_workflow import write_notebook

from cosmolib.cuts.apply import register_cut
from cosmolib.cuts.grammar import Cut, CutError, cut_of, folder_name
from cosmolib.data.lite import expand
from cosmolib.study.io import is_folder_name
from cosmolib.study.registry import CUTS

ODD = """it's a "täst" {x} #1 & 100% ?"""  # pip cannot install below a folder with $name
TEXTS = ["2025", "010", "true", "my study.yaml", """it's "x" #1 $y {z} ä.yaml"""]
NOWHERE = "/dev/null/home"  # cannot be created, not even by root


# ------------------------------------------------------------------------------- folders of cuts
NAMES = ("smooth", "aux", "com1", "a_b", "a__b", "a_", "a__", "delta", "x1", "kmax_4")


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Register cuts with awkward names that take 0, 1 or 2 numbers."""
    with mock.patch.dict(CUTS):
        for index, name in enumerate(NAMES):
            arguments = ["maps", "a", "b"][: index % 3 + 1]
            register_cut(name)(eval(f"lambda {', '.join(arguments)}: maps"))
        yield


def test_folders_of_cuts():
    for cut, name in {
        "none": "none",
        "kmax:4@log": "kmax_4-log",
        "band:0.5,8@delta": "band_0.5--8-delta",
        "above:delta=-0.5:mean": "above_delta=-0.5_mean",
        "nomean:white=0.3:shuffle:below:1e11": "nomean_white=0.3_shuffle_below_1e11_clamp",
        "com1:-1,-2.5": "com1_-1---2.5",
        "a__b:2": "a____b_2",
    }.items():
        assert folder_name(cut) == name
        assert cut_of(name) == str(Cut.parse(cut))
    register_cut("nul")(lambda maps: maps)  # reserved by Windows
    assert (folder_name("nul"), cut_of("nul-")) == ("nul-", "nul")
    register_cut("l" * 201)(lambda maps: maps)
    with pytest.raises(CutError, match="characters"):
        folder_name("l" * 201)
    for name in ("kmax:10", "kmax_10.0", "none-", "above_1e12", "", "../x", "KMAX_10"):
        with pytest.raises(CutError):
            cut_of(name)


def values(name):
    """Draw a registered cut with its numbers."""
    count = NAMES.index(name) % 3
    numbers = st.lists(st.floats(-1e15, 1e15).map(repr), min_size=count, max_size=count)
    return numbers.map(lambda texts: ":".join(filter(None, (name, ",".join(texts)))))


cuts = st.tuples(
    st.sampled_from(["", "nomean:", "white=2.5:"]), st.sampled_from(NAMES).flatmap(values)
).map("".join)


@given(cuts, cuts)
def test_folders_of_registered_cuts_are_one_to_one_and_portable(one, other):
    name = folder_name(one)
    assert cut_of(name) == str(Cut.parse(one))
    assert re.fullmatch(r"[a-z][a-z0-9._=-]*[a-z0-9_-]", name)  # lower case only
    assert is_folder_name(name)
    assert (folder_name(other) == name) == (Cut.parse(other) == Cut.parse(one))


# -------------------------------------------------------------------------- a clone in an odd place
@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Copy the repository to a folder with an unusual name, with leftovers of editors."""
    root = tmp_path_factory.mktemp("odd") / ODD / "clone"
    for name in ("cosmolib", "workflow", "configs", "notebooks", "book", "results"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "_config.yml", "_toc.yml", "CHANGELOG.md"):
        shutil.copy2(ROOT / name, root / name)
    (root / "data").symlink_to(ROOT / "data")
    for left in ("cosmolib/.DS_Store", "cosmolib/.cuts.py.swp", "book/.DS_Store", "book/index.md~"):
        (root / left).write_text("")
    return root


def run(root, *command, env=None, **options):
    """Run a script in the clone."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=root, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False,
        **options,
    )  # fmt: skip


def test_other_kernels_and_an_unwritable_home_have_no_effect(clone, tmp_path):
    spec = {"argv": ["false", "{connection_file}"], "display_name": "x", "language": "python"}
    kernel = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps(spec))
    source = write_notebook(
        tmp_path / f"{ODD}.ipynb",
        "name = ''  # a profile\nn = 1  # a number\nflag = False  # a flag",
        "import json, os, sys\nfrom cosmolib.study import io as files",
        "print(json.dumps([sys.executable, os.getcwd(), files.__file__, name, n, flag]))",
    )
    env = {"JUPYTER_PATH": str(tmp_path / "share"), "JUPYTER_DATA_DIR": str(tmp_path / "share")}
    target = tmp_path / ODD / "o.ipynb"
    options = ["-p", "name", TEXTS[-1], "-p", "n", 7, "-p", "flag", "true"]
    done = run(clone, "workflow/run_notebook.py", source, target, *options,
               env={**env, "HOME": NOWHERE})  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    cells = json.loads(target.read_text(encoding="utf-8"))["cells"]
    module = str(clone / "cosmolib" / "study" / "io.py")
    assert json.loads("".join(cells[-1]["outputs"][0]["text"])) == [
        sys.executable, str(clone), module, TEXTS[-1], 7, True,
    ]  # fmt: skip


def test_parameters_have_the_types_of_their_defaults(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "workflow")
    from run_notebook import read_parameters

    defaults = ("name = ''  # a profile", "x = 0.5  # a number", "n = 1  # n", "flag = False  # f")
    source = write_notebook(tmp_path / "in.ipynb", "\n".join(defaults))
    for text in (*TEXTS, "1e3", "null", ""):
        assert read_parameters(source, {"name": text, "x": "1e3"}) == {"name": text, "x": 1000.0}
    for name, text, kind in (("n", "many", "int"), ("n", "1.5", "int"), ("flag", "2", "bool")):
        with pytest.raises(ValueError, match=f"'{name}' must be of type {kind}, .*is '{text}'"):
            read_parameters(source, {name: text})


def test_files_that_are_not_inputs_start_no_job(clone):
    done = run(clone, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", "1",
               "--nolock", "--dry-run", "--forceall", "--config", "profile=tiny")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "data/lite/lite-0000.xz" in done.stdout
    for left in (".DS_Store", ".swp", "index.md~", "data/lite/README.md", "__pycache__"):
        assert left not in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_passes_its_variables_on(clone, tmp_path):
    """A script in place of Python prints its arguments."""
    python = tmp_path / ODD / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$COSMOLIB_STUDY"\n')
    python.chmod(0o755)
    (python.parents[1] / ".installed").touch()
    for name in ("pyproject.toml", "constraints.txt"):
        (clone / name).touch()
        os.utime(clone / name, (0, 0))
    variables = [f"VENV={python.parents[1]}", f"PROFILE={TEXTS[-1]}", "CORES=3", "GPUS=0"]
    command = ["make", "-s", *variables, "STUDY=postgresql://a:$b&c@d/e", "study"]
    assert subprocess.check_output(command, cwd=clone, text=True).splitlines() == [
        "workflow/study.py", TEXTS[-1], "--workers", "1", "--", "--cores", "3",
        "postgresql://a:$b&c@d/e",
    ]  # fmt: skip


# ------------------------------------------------------------------------------ progress, failures
def study(root, profile, snakefile, *options, env=None):
    """Run the workflow of a copy of the clone with another Snakefile."""
    snakefile += "rule validation:\n    output: touch('v')\n"  # it runs first
    (root / "workflow" / "Snakefile").write_text(snakefile, encoding="utf-8")
    return run(root, "workflow/study.py", profile, "--", "--cores", "2", *options, env=env)


@pytest.fixture
def toy(clone, tmp_path):
    """Return a folder with the package and without a workflow."""
    root = tmp_path / ODD
    shutil.copytree(clone / "cosmolib", root / "cosmolib")
    (root / "workflow").mkdir()
    shutil.copy2(clone / "workflow" / "study.py", root / "workflow")
    return root


def test_progress_and_every_failure_with_its_reason(toy):
    snakefile = """
workdir: workflow.basedir
PROFILE_ARGUMENT = config["profile"]
rule book:
    input: expand("Lite/{cut}/o3-s1", cut=["kmax_4", "none"]), "b", "c", "d"
rule training_run:
    output: "{suite}/{cut}/{architecture}-s{seed}"
    shell: "printf '%s\\n' {PROFILE_ARGUMENT:q}; touch {output:q}"
rule broken:
    output: "b"
    shell: "echo the reason >&2; exit 3"
rule killed_job:
    output: "c"
    shell: "sh -c 'kill -9 $$'"
rule forgetful:
    output: "d"
    shell: "true"
"""
    done = study(toy, TEXTS[-1], snakefile, "--keep-going", "--latency-wait", "0")
    assert done.returncode == 1
    assert TEXTS[-1] in done.stdout.splitlines()  # the profile in the command of a job
    progress = r"(?m)^\[\d/7\] Lite kmax:4 seed 1 \.\.\. less than a minute left$"
    assert re.search(progress, done.stdout)
    lines = done.stderr.splitlines()
    told = ("the reason", "error: broken: exit status 3", "error: killed job: killed by SIGKILL")
    assert {*told} <= {*lines}
    assert "MissingOutputException in rule forgetful" in done.stderr
    assert re.search(r"^error: failed: (broken, killed job|killed job, broken)$", lines[-1])
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("snakefile", "found"),
    [
        ("raise OSError('the disk is gone')\n", "the disk is gone"),
        ("import sys\nsys.exit(f'error: no {config}')\n", "'profile': '010'"),  # not the number
        ("rule book:\n    input: 'missing.txt'\n", "missing.txt"),
    ],
)
def test_the_error_of_a_broken_workflow_is_shown(toy, snakefile, found):
    done = study(toy, "010", snakefile)
    assert (done.returncode, found in done.stderr) == (1, True)


# --------------------------------------------------------------------------------- caches and homes
def test_a_cache_that_cannot_be_written_names_its_variable(toy, monkeypatch):
    monkeypatch.setenv("COSMOLIB_CACHE", NOWHERE)
    with pytest.raises(OSError, match=f"set COSMOLIB_CACHE to a folder .*{NOWHERE}"):
        expand("Lite")
    env = {"XDG_CACHE_HOME": NOWHERE, "HOME": NOWHERE}
    done = study(toy, "demo", "rule book:\n    input: []\n", env=env)
    assert done.returncode == 2
    assert re.fullmatch(rf"error: .*set XDG_CACHE_HOME to a folder .*{NOWHERE}.*\n", done.stderr)
