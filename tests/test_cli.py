"""The command line: output and exit codes."""

import re
import shutil
import subprocess
import sys

import numpy as np
import optuna
import pytest

import cosmolib
from cosmolib import cli
from cosmolib.data import download
from cosmolib.study.profile import load_profile
from cosmolib.tuning import search as tuning_search
from cosmolib.tuning.shared_study import open_study, run_trials

MAPS = "Maps_Mtot_Lite_LH_z=0.00.npy"


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--version"], 0)])
def test_usage_and_version(argv, code, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ("" if code else f"cosmolib {cosmolib.__version__}\n")
    assert err.startswith("usage: cosmolib" if code else "")


@pytest.fixture
def search(monkeypatch):
    """Replace the search by one without trainings, so that only the storage can fail."""
    found = tuning_search.Search(None, None, load_profile("tiny"), "s")
    monkeypatch.setattr(tuning_search, "prepare_search", lambda profile, seed: found)


def journal(path, *lines):
    """Write a journal of one finished study, with further lines at the end."""
    study = open_study(path, "s", optuna.pruners.NopPruner())
    run_trials(study, path, 1, lambda trial, place: 0.0, lambda *_: None)
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


HIDDEN = "hunter2"


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (f"postgresql://me:{HIDDEN}@h/x", r"//me:\*\*\*@h/x: found no usable study"),
        ("study.db", "study.db: found no usable study .ValueError: another kind of file"),
        ("folder.journal", "IsADirectoryError"),
        ("bad.journal/below/s.journal", "(Not a directory|File exists)"),
        ("text.journal", "text.journal: found no usable study .ValueError: it starts with b'no re"),
        ("bad.journal", "bad.journal: found no usable study .JSONDecodeError"),
        ("code.journal", "code.journal: found no usable study"),
    ],
)  # fmt: skip
def test_a_storage_that_cannot_be_used_is_one_line(
    tmp_path, monkeypatch, capsys, search, storage, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.journal").mkdir()
    (tmp_path / "text.journal").write_text("no record")
    journal("bad.journal", "not a record", "{}")
    journal("code.journal", '{"op_code": 99, "worker_id": "w"}')
    monkeypatch.setenv("COSMOLIB_STUDY", storage)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["tune", "tiny", "--workers", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(rf"\Acosmolib: .*{expected}.*\n\Z", err)
    assert HIDDEN not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_download_gets_its_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr(download, "download", lambda suite, **rest: seen.append((suite, rest)))
    argv = ["download", "--suite", "SIMBA", "--set", "CV", "--data-dir", "maps", "--retries", "3"]
    assert cli.main(argv) == 0
    ((name, rest),) = seen
    assert callable(rest.pop("report"))
    given = {"sim_set": "CV", "data_dir": "maps", "retries": 3}
    default = {"field": "Mtot", "url": download.CMD_URL, "timeout": 60.0}
    assert (name, rest) == ("SIMBA", given | default)


def test_download_needs_a_folder(monkeypatch, capsys):
    monkeypatch.delenv("COSMOLIB_DATA", raising=False)
    assert cli.main(["download", "--suite", "IllustrisTNG"]) == 2
    found = "cosmolib: data folder: found none, expected --data-dir or "
    assert capsys.readouterr().err.startswith(found)


def test_exit_code_reaches_the_shell(tmp_path, tiny_suite_dir):
    """A NaN gives 2 and one line that starts with the file, a valid suite 0."""
    maps = np.load(tiny_suite_dir / MAPS)
    maps[0, 0, 0] = np.nan
    np.save(tmp_path / MAPS, maps)
    shutil.copy(tiny_suite_dir / "params_LH_Lite.txt", tmp_path)
    for folder, code in ((tmp_path, 2), (tiny_suite_dir, 0)):
        command = [sys.executable, "-W", "error", "-m", "cosmolib.cli", "check", str(folder / MAPS)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        start = f"cosmolib: {folder / MAPS}: found nan in map 0"
        assert done.stderr.startswith(start) == (code == 2)
        assert done.stderr.count("\n") == (code == 2)
