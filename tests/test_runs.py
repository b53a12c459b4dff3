"""Profiles, run folders, atomic writes, provenance."""

import dataclasses
import json
import platform
import shutil
import subprocess

import numpy as np
import pytest
import yaml

from cosmolib import runs
from cosmolib.runs import Run, atomic_path, load_profile, provenance, read_json, write_json


# ---------------------------------------------------------------------------------- atomic writes
def test_atomic_path_makes_parents_and_moves(tmp_path):
    target = tmp_path / "a" / "b" / "maps.npy"
    with atomic_path(target) as temporary:
        np.save(temporary, np.arange(3))  # appends .npy to a name that lacks it
        assert temporary.parent == target.parent
        assert not target.exists()
    np.testing.assert_array_equal(np.load(target), [0, 1, 2])
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_nothing_partial(tmp_path, error):
    target = tmp_path / "old.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_json_round_trip_of_numpy_and_nan(tmp_path):
    path = tmp_path / "deep" / "metrics.json"
    write_json(
        path,
        {
            "r2": np.float32(0.5),
            "n": np.int64(3),
            "flag": np.bool_(True),
            "grid": np.array([[1.0, np.nan]]),
            "bad": float("inf"),
            1: (1, 2),
            "where": tmp_path,
        },
    )
    assert read_json(path) == {
        "r2": 0.5,
        "n": 3,
        "flag": True,
        "grid": [[1.0, None]],
        "bad": None,
        "1": [1, 2],
        "where": str(tmp_path),
    }
    assert "NaN" not in path.read_text()


def test_json_that_is_none_names_the_file(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"r2": 0.')
    with pytest.raises(ValueError, match=r"metrics\.json: found no valid JSON.*expected"):
        read_json(path)


def test_unwritable_object_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}


def test_sha256(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert runs.sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223")


# ---------------------------------------------------------------------------------------- profiles
@pytest.fixture
def profile_file(tmp_path):
    """Write a valid profile, changed as told, and return its path."""
    base = dataclasses.asdict(load_profile("tiny"))

    def write(drop=(), **changes):
        values = {key: value for key, value in (base | changes).items() if key not in drop}
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


@pytest.mark.parametrize("name", ["tiny", "demo", "uncut", "standard", "camels"])
def test_shipped_profiles_load(name):
    profile = load_profile(name)
    assert profile.name == name
    assert "none" in profile.cuts


def test_profile_round_trip_by_path(profile_file):
    path = profile_file(name="mine", epochs=7)
    expected = load_profile("tiny", name="mine", epochs=7)
    assert load_profile(path) == load_profile(str(path)) == expected


def test_name_is_found_in_the_current_folder(profile_file, tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    shutil.move(profile_file(name="here"), tmp_path / "configs" / "here.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_profile("here").name == "here"


def test_number_without_a_point_is_a_number(tmp_path, profile_file):
    """YAML 1.1 reads 3e-3 as text."""
    path = profile_file()
    text = path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("max_lr"))
    path.write_text(text.replace(line, "max_lr: 3e-3"))
    assert load_profile(path).max_lr == 3e-3


def test_overrides_are_checked_and_none_is_a_value():
    assert load_profile("tiny", n_simulations=None).n_simulations is None
    with pytest.raises(ValueError, match=r"override of .*tiny.yaml.*'epochs'.*None.*int"):
        load_profile("tiny", epochs=None)
    with pytest.raises(ValueError, match="override: found unknown key 'epoch'"):
        load_profile("tiny", epoch=1)


def test_missing_key(profile_file):
    with pytest.raises(ValueError, match=r"mine\.yaml: found no key seeds, epochs, expected"):
        load_profile(profile_file(drop=("seeds", "epochs")))


def test_unknown_key(profile_file):
    with pytest.raises(ValueError, match=r"mine\.yaml: found unknown key 'epochz'.*epochs"):
        load_profile(profile_file(epochz=3))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", "ten", "int"),
        ("epochs", 1.5, "int"),
        ("epochs", True, "int"),
        ("epochs", 0, "at least 1"),
        ("symmetries", 1, "bool"),
        ("dropout", "none", "float"),
        ("dropout", float("nan"), "float"),
        ("dropout", 1.0, "less than 1"),
        ("seeds", 1, r"list\[int\]"),
        ("seeds", [1, "a"], r"list\[int\]"),
        ("seeds", [], "at least one"),
        ("cuts", "none", r"list\[str\]"),
        ("data_dir", 3, r"str \| None"),
        ("betas", [0.9], "two numbers"),
        ("schedule", "cosine", "one of onecycle, cyclic"),
        ("scaling", "sqrt", "one of log, asinh, linear"),
        ("scaling_scope", "test", "one of train, file"),
        ("n_simulations", 2, "at least 3"),
    ],
)
def test_bad_value_names_file_key_found_expected(profile_file, key, value, expected):
    message = rf"mine\.yaml: key '{key}': found .*, expected {expected}"
    with pytest.raises(ValueError, match=message):
        load_profile(profile_file(**{key: value}))


@pytest.mark.parametrize(
    "given",
    [
        {"name": "../elsewhere"},
        {"name": "/tmp/x"},
        {"name": "a\n"},
        {"suites": ["Lite", "..\\x"]},
        {"cuts": ["none", "../../none"]},
        {"controls": ["a/b"]},
        {"tuning_suite": "../Lite"},
        {"field": "../../Mtot"},
        {"name": "study:1"},  # refused by NTFS, exFAT and artefact stores
        {"name": "study."},
        {"name": "Aux.v1"},
    ],
)
def test_no_name_leads_out_of_its_folder(given):
    with pytest.raises(ValueError, match="expected a folder name"):
        load_profile("tiny", **given)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n"])
def test_file_that_is_no_profile(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.yaml: found .*, expected .*flat"):
        load_profile(path)


def test_missing_profile_lists_names(tmp_path):
    message = r"configs/dem\.yaml: found no.*demo, standard, tiny"
    with pytest.raises(FileNotFoundError, match=message):
        load_profile("dem")
    with pytest.raises(FileNotFoundError, match=r"nope\.yaml: found no such file"):
        load_profile(tmp_path / "nope.yaml")


# -------------------------------------------------------------------------------------------- runs
def test_run_folder_and_completeness(tmp_path):
    run = Run("demo", "Lite", "above:delta=3:clamp", "o3", 2, root=tmp_path)
    assert run.folder == tmp_path / "demo" / "Lite" / "above_delta=3_clamp" / "o3-s2"
    assert Run("demo", "Lite", "above:delta=3", "o3", 2, tmp_path).folder == run.folder
    assert not run.folder.exists()  # asking makes nothing
    write_json(run.path("history.json"), [])
    assert not run.complete
    write_json(run.path("metrics.json"), {})
    assert run.complete


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("cut", "../../etc"),
        ("cut", "a/b"),
        ("cut", "a\\b"),
        ("suite", ".."),
        ("suite", "/tmp"),
        ("profile", ""),
        ("profile", None),
        ("architecture", "."),
        ("seed", -1),
        ("seed", "1"),
        ("seed", True),
    ],
)
def test_run_stays_in_its_root(part, value):
    good = {"profile": "p", "suite": "s", "cut": "none", "architecture": "o3", "seed": 1}
    with pytest.raises(ValueError, match=f"run: {part}: found .*expected"):
        Run(**(good | {part: value}))


# -------------------------------------------------------------------------------------- provenance
def test_provenance_is_json_and_private(tmp_path):
    profile = load_profile("tiny", data_dir=str(tmp_path / "CMD"))
    record = provenance(profile, "abc", 1.234, device="cpu", note="x")
    write_json(tmp_path / "provenance.json", record)
    assert read_json(tmp_path / "provenance.json") == record
    assert record["versions"]["cosmolib"] == runs.__version__
    assert record["versions"]["numpy"] == np.__version__
    assert record["config"]["data_dir"] == "CMD"
    assert record["config"]["epochs"] == profile.epochs
    assert (record["data_fingerprint"], record["seconds"], record["note"]) == ("abc", 1.23, "x")
    text = json.dumps(record)
    assert str(tmp_path) not in text
    assert platform.node() not in text


def test_missing_package_is_null(monkeypatch):
    real = runs.importlib.metadata.version

    def version(name):
        if name == "captum":
            raise runs.importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(runs.importlib.metadata, "version", version)
    assert provenance()["versions"]["captum"] is None


def test_git_state(tmp_path, monkeypatch):
    """Commit and dirtiness of the clone, and nothing of a repository that only surrounds it."""

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
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
    monkeypatch.setattr(runs, "REPOSITORY", inner)
    assert provenance()["git"] is None
