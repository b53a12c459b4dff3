"""Run folders, atomic writes, provenance, published results of chapters, errors in one line."""

import json
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import cosmolib
from cosmolib.results.table import read_table
from cosmolib.study import provenance as provenance_module
from cosmolib.study.chapter import publish, shown_study, stored_results
from cosmolib.study.io import atomic_path, exit_code, read_json, reason_of, redact, write_json
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


# ---------------------------------------------------------------------------------------- chapters
@pytest.fixture
def glued(monkeypatch):
    found = {}
    monkeypatch.setattr("myst_nb.glue", lambda key, value, display: found.update({key: value}))
    return found


@pytest.fixture
def shared(tmp_path):
    profile = load_profile("tiny")
    return {"runs_dir": tmp_path, "profile": profile, "started": time.perf_counter()}


def test_a_chapter_publishes_numbers_tables_and_provenance(glued, shared, tmp_path):
    numbers = {"share": np.float32(0.5), "maps": np.int64(3), "text": "0.50 [0.40, 0.60]"}
    text = publish("05_interpretation", numbers, suites={"Lite": "f1"}, **shared, rows=[1, 2]).data
    assert glued == {"share": 0.5, "maps": 3, "text": "0.50 [0.40, 0.60]"}
    assert [type(value) for value in glued.values()] == [float, int, str]
    stored = read_json(tmp_path / "tiny" / "results" / "05_interpretation.json")
    assert stored["rows"] == [1, 2]
    assert stored["provenance"]["data_fingerprint"] == "f1"
    assert "papermill notebooks/05_interpretation.ipynb 05.ipynb -p profile tiny`" in text
    assert "Lite `f1`" in text


def test_partial_chapters_and_pretrained_networks_have_separate_files(glued, shared, tmp_path):
    options = {"suite": "Lite", "weights": ""}
    text = publish("05_interpretation", {}, suites={}, options=options, **shared).data
    assert (tmp_path / "tiny/results/05_interpretation-Lite.json").is_file()
    assert "-p profile tiny -p suite Lite`" in text
    options = {"suite": "Lite", "weights": "w.pt"}
    publish("05_interpretation", {}, suites={}, options=options, study="tiny-w", **shared)
    assert (tmp_path / "tiny-w/results/05_interpretation.json").is_file()


def test_chapters_show_the_runs_and_tables_of_the_study_that_the_profile_names(tmp_path):
    tiny = load_profile("tiny", answer=None)
    named = tiny.replace(answer="reference")
    assert shown_study(tiny, "a", "b") == (tiny, Path("a"))
    shown, root = shown_study(named, "a", "b")
    assert (shown.epochs, root) == (load_profile("reference").epochs, Path("b"))
    assert shown.attribution_maps == tiny.attribution_maps
    with pytest.raises(ValueError, match="'answer'.* about Lite, Nbody_Lite, expected one about"):
        shown_study(named.replace(suites=["Lite"]))
    assert stored_results(tiny, "x.json", tmp_path) is None
    assert stored_results(named, "x.json", tmp_path) is None  # a study that is still running
    for name in ("tiny", "reference"):
        write_json(tmp_path / name / "x.json", {"of": name})
    assert stored_results(tiny, "x.json", tmp_path) == {"of": "tiny"}
    assert stored_results(named, "x.json", tmp_path) == {"of": "reference"}
    with pytest.raises(ValueError, match=r"x\.json: found schema None, expected a results table"):
        stored_results(named, "x.json", tmp_path, read_table)


# ------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://me@db:5432/x", "postgresql://me@db:5432/x"),
        ("at postgresql://me:pw@db/x, http://h:80/", "at postgresql://me:***@db/x, http://h:80/"),
        ("postgresql://:pw@db", "postgresql://:***@db"),
        ("postgresql://me@db/x?password=pw&a=1", "postgresql://me@db/x?password=***&a=1"),
        ("db?sslpassword=pw;PWD=pw", "db?sslpassword=***;PWD=***"),
        ("host=db password = pw user=me", "host=db password = *** user=me"),
        ("https://me:pw@h/a and https://me:pw@h/b", "https://me:***@h/a and https://me:***@h/b"),
    ],
)
def test_passwords_are_removed(text, clean):
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("a"), "'a'"), (EOFError(), "EOFError"), (RuntimeError("x" * 1000), "x" * 200),
        (RuntimeError("\n  \x1b[1mfirst  line\x1b[0m\n\tmore"), "first line"),
        (RuntimeError("at x://me:pw@h\nmore"), "at x://me:***@h"),
    ],
)  # fmt: skip
def test_a_reason_is_one_short_line(error, reason):
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (ValueError("two\nlines at x://me:pw@h"), 2, "p: two lines at x://me:***@h\n"),
        (FileNotFoundError(2, "No such file", "a"), 2, "p: [Errno 2] No such file: 'a'\n"),
        (TimeoutError(), 2, "p: TimeoutError\n"),
        (ModuleNotFoundError("x", name="camb.a"), 2,
         "p: module 'camb.a' is missing: pip install -e '.[simulate]'\n"),
        (KeyboardInterrupt(), 130, "p: stopped\n"),
        (KeyboardInterrupt("resume"), 130, "p: stopped; resume\n"),
        (ModuleNotFoundError("x", name="cosmolib.no"), None, None),
        (TypeError("a bug"), None, None),
    ],
)  # fmt: skip
def test_message_and_exit_code_of_a_command(capsys, error, code, message):
    def command(value):
        if error is not None:
            raise error

    if code is None:
        with pytest.raises(type(error)):
            exit_code("p", command, 1)
    else:
        assert exit_code("p", command, 1) == code
        assert capsys.readouterr() == ("", message)
