"""Test how a chapter publishes its results."""

import time
from pathlib import Path

import numpy as np
import pytest

from cosmolib.study.chapter import publish, shown_study, stored_results
from cosmolib.study.io import read_json, write_json
from cosmolib.study.profile import load_profile


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


def test_chapters_show_the_study_that_the_profile_names(tmp_path):
    tiny = load_profile("tiny", answer=None)
    assert shown_study(tiny, "a", "b") == (tiny, Path("a"))
    shown, root = shown_study(tiny.replace(answer="reference"), "a", "b")
    assert (shown.epochs, root) == (load_profile("reference").epochs, Path("b"))
    assert shown.attribution_maps == tiny.attribution_maps
    with pytest.raises(ValueError, match="'answer'.* about Lite, Nbody_Lite, expected one about"):
        shown_study(tiny.replace(answer="reference", suites=["Lite"]))


def test_stored_tables_are_those_of_the_named_study_or_of_the_same_name(tmp_path):
    tiny = load_profile("tiny", answer=None)
    named = tiny.replace(answer="reference")
    assert stored_results(tiny, "x.json", tmp_path) is None
    assert stored_results(named, "x.json", tmp_path) is None  # a study that is still running
    for name in ("tiny", "reference"):
        write_json(tmp_path / name / "x.json", {"of": name})
    assert stored_results(tiny, "x.json", tmp_path) == {"of": "tiny"}
    assert stored_results(named, "x.json", tmp_path) == {"of": "reference"}
