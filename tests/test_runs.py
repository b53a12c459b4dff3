"""Run folders, atomic writes, provenance."""

import json
import platform
import subprocess

import numpy as np
import pytest

import cosmolib
from cosmolib.study import provenance as provenance_module
from cosmolib.study.io import atomic_path, read_json, write_json
from cosmolib.study.profile import load_profile
from cosmolib.study.provenance import provenance
from cosmolib.study.run import Run


# ---------------------------------------------------------------------------------- atomic writes
def test_atomic_path_creates_parents_and_renames(tmp_path):
    target = tmp_path / "a" / "b" / "maps.npy"
    with atomic_path(target) as temporary:
        np.save(temporary, np.arange(3))  # would append .npy to another extension
        assert temporary.parent == target.parent
        assert not target.exists()
    np.testing.assert_array_equal(np.load(target), [0, 1, 2])
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_atomic_path_leaves_nothing_partial(tmp_path, error):
    target = tmp_path / "old.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(BaseException, match=r"^$|No space left on device: '.*old\.txt'"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_round_trip_of_numpy_and_nan(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    stored = {
        "r2": np.float32(0.5), "n": np.int64(3), "flag": np.bool_(True), "bad": float("inf"),
        "grid": np.array([[1.0, np.nan]]), 1: (1, 2), "where": tmp_path,
    }  # fmt: skip
    write_json(path, stored)
    assert read_json(path) == {
        "r2": 0.5, "n": 3, "flag": True, "bad": None, "grid": [[1.0, None]], "1": [1, 2],
        "where": str(tmp_path),
    }  # fmt: skip
    assert "NaN" not in path.read_text()


# -------------------------------------------------------------------------------------------- runs
def test_run_folder_and_completeness(tmp_path):
    run = Run("demo", "Lite", "above:delta=3:clamp", "o3", 2, root=tmp_path)
    assert run.folder == tmp_path / "demo" / "Lite" / "above_delta=3_clamp" / "o3-s2"
    assert Run("demo", "Lite", "above:delta=3", "o3", 2, tmp_path).folder == run.folder
    assert not run.folder.exists()  # the properties create nothing
    write_json(run.path("history.json"), [])
    assert not run.complete
    write_json(run.path("metrics.json"), {})
    assert run.complete


@pytest.mark.parametrize(
    ("part", "value"),
    [("suite", ".."), ("suite", "/tmp"), ("profile", None), ("architecture", "a b"), ("seed", -1),
     ("seed", "1"), ("seed", True)],
)  # fmt: skip
def test_invalid_parts_of_a_run_are_refused(part, value):
    good = {"profile": "p", "suite": "s", "cut": "none", "architecture": "o3", "seed": 1}
    with pytest.raises(ValueError, match=f"run: {part}: found .*expected"):
        Run(**(good | {part: value}))
    with pytest.raises(ValueError, match="cannot read cut"):
        Run(**(good | {"cut": "../../etc"}))


# -------------------------------------------------------------------------------------- provenance
def test_provenance_is_json_and_private(tmp_path):
    profile = load_profile("tiny", data_dir=str(tmp_path / "CMD"))
    record = provenance(profile, "abc", 1.234, device="cpu", note="x")
    write_json(tmp_path / "provenance.json", record)
    assert read_json(tmp_path / "provenance.json") == record
    assert record["versions"]["cosmolib"] == cosmolib.__version__
    assert record["versions"]["numpy"] == np.__version__
    assert record["config"]["data_dir"] == "CMD"
    assert record["config"]["epochs"] == profile.epochs
    assert (record["data_fingerprint"], record["seconds"], record["note"]) == ("abc", 1.23, "x")
    text = json.dumps(record)
    assert str(tmp_path) not in text
    assert platform.node() not in text


def test_git_state(tmp_path, monkeypatch):
    """Provenance ignores a repository that only surrounds the installed package."""

    def git(*arguments):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.check_output(command, text=True).strip()

    monkeypatch.setattr(provenance_module, "REPOSITORY", tmp_path)
    assert provenance()["git"] is None  # no repository yet
    git("init", "-q")
    assert provenance()["git"] is None  # no commit yet
    (tmp_path / "a.txt").write_text("1")
    git("add", "a.txt")
    git("-c", "commit.gpgsign=false", "commit", "-q", "--no-verify", "-m", "first")
    assert provenance()["git"] == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a.txt").write_text("2")
    assert provenance()["git"]["dirty"] is True
    inner = tmp_path / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(provenance_module, "REPOSITORY", inner)
    assert provenance()["git"] is None
