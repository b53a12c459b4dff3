"""Test the results table: pairing, seeds, controls, baseline and texts of chapter 06."""

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import both

from cosmolib.results import baseline, claims, controls, generalisation, sets, summary
from cosmolib.results import table as results_table
from cosmolib.study import io
from cosmolib.study import run as study_run
from cosmolib.study.profile import load_profile
from cosmolib.training import scores
from cosmolib.training.scores import r2

NAMES = ["Omega_m", "sigma_8"]


def predictions(noise, seed=0, n=8):
    """Return predictions for n simulations of 15 maps with an error of `noise`."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99).uniform((0.1, 0.6), (0.5, 1), (n, 2)).repeat(15, 0)
    named = {"truth": truth, "std": np.full_like(truth, noise)}
    named["simulation"] = np.arange(n).repeat(15)
    test, valid = (named | {"mean": truth + noise * rng.standard_normal((15 * n, 2))} for _ in "ab")
    valid = {f"valid_{key}": value for key, value in valid.items()}
    return test | valid | {"map": np.arange(15 * n), "parameters": np.array(NAMES)}


@pytest.fixture
def profile():
    cuts = ["none", "kmax:4", "above:delta=0", "mask:above:delta=0"]
    return load_profile("tiny", cuts=cuts, seeds=[1, 2], bootstrap_samples=200)


@pytest.fixture
def study(profile, tmp_path, monkeypatch):
    """Write the run folders of a study without training; the mask has only one seed."""
    noise = {"none": 0.02, "kmax:4": 0.08, "above:delta=0:clamp": 0.05, "mask:above:delta=0": 0.2}
    for name in profile.suites:
        for cut, error in noise.items():
            for seed in profile.seeds[: 1 if cut.startswith("mask") else 2]:
                run = study_run.Run(profile.name, name, cut, profile.architecture, seed, tmp_path)
                run.folder.mkdir(parents=True)
                np.savez(run.path("predictions.npz"), **predictions(error, seed))
                io.write_json(run.path("metrics.json"), {})
    calls = []

    def ridge(suite, profile, cut):
        calls.append((suite.name, cut))
        return predictions(0.1, seed=7)

    def suite(name, profile):
        about = {"grid": 64, "box_size": 25.0, "n_simulations": 24}
        return SimpleNamespace(name=name, fingerprint="f" + name, **about)

    trace = {"rms_dex": 0.1, "r2": {"A_SN1": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    for module, name, value in (
        (baseline, "summary_baseline", ridge),
        (results_table, "feedback_trace", lambda *_: trace),
        (results_table, "study_suite", suite),
        (sets, "study_suite", suite),
        (generalisation, "cross_evaluate", lambda run, *_, **__: predictions(0.15, run.seed)),
        (generalisation, "available_suites", lambda *_: []),
        (sets, "available_suites", lambda *_: []),
    ):
        monkeypatch.setattr(module, name, value)
    return SimpleNamespace(folder=tmp_path, calls=calls)


@pytest.fixture
def table(profile, study):
    return results_table.results_table(profile, study.folder)


def row(table, suite, cut):
    (found,) = [r for r in table["rows"] if (r["suite"], r["cut"]) == (suite, cut)]
    return found


def test_r2_of_is_the_mean_over_seeds_and_differences_are_paired():
    a, b = [predictions(0.05, s) for s in (1, 2)], [predictions(0.1, 3)]
    values = [r2(x["mean"], None, x["truth"]) for x in (*a, *b)]
    alone = scores.r2_of(a, n_bootstrap=300)
    paired = scores.r2_of(a, b, n_bootstrap=300)
    for p, name in enumerate(NAMES):
        assert alone[name]["value"] == pytest.approx((values[0][p] + values[1][p]) / 2)
        assert paired[name]["value"] == pytest.approx(alone[name]["value"] - values[2][p])
        assert alone[name]["low"] < alone[name]["value"] < alone[name]["high"]
    same = scores.r2_of(a, a, n_bootstrap=50)
    assert all(end == 0 for entry in same.values() for end in entry.values())


def test_one_overconfident_map_does_not_dominate_a_bias_in_sigma():
    found = predictions(0.1)
    options = {"n_bootstrap": 50}
    before = scores.bias_of([found], in_sigma=True, **options)["sigma_8"]
    found["std"] = found["std"].copy()
    found["std"][0] = 1e-9
    after = scores.bias_of([found], in_sigma=True, **options)["sigma_8"]
    assert before["value"] == pytest.approx((found["mean"] - found["truth"])[:, 1].mean() / 0.1)
    assert all(after[key] == pytest.approx(before[key], rel=0.1) for key in before)


@pytest.mark.parametrize("key", ["map", "truth", "parameters"])
def test_predictions_for_other_test_maps_are_refused(key):
    other = predictions(0.1)
    other[key] = other[key][::-1].copy()
    with pytest.raises(ValueError, match=key):
        scores.r2_of([predictions(0.1)], [other], n_bootstrap=10)


def test_the_table_has_every_case_and_its_controls(profile, study, table):
    keys = ("n_runs", "dataset", "n_test_simulations")
    assert (len(table["rows"]), *map(table.get, keys)) == (8, 14, "Lite", 8)
    uncut, cut = row(table, "Lite", "none"), row(table, "Lite", "kmax:4")
    for name in NAMES:
        assert uncut["difference"][name]["value"] == 0
        value, whole, ridge = (x[name]["value"] for x in (cut["r2"], uncut["r2"], cut["baseline"]))
        assert cut["difference"][name]["value"] == pytest.approx(value - whole)
        assert cut["difference"][name]["high"] < 0
        assert cut["gain"][name]["value"] == pytest.approx(value - ridge)
        assert cut["better"][name] == "network"
        assert cut["best"] == cut["r2"]
        assert cut["best_difference"] == cut["difference"]
        assert 0 < cut["bits"][name]["value"] < uncut["bits"][name]["value"]
        assert table["seed_scatter"][name] > 0
        # The network errors are larger for the mask than those of the summary statistics.
        mask = row(table, "Lite", "mask:above:delta=0")
        assert mask["better"][name] == "summary"
        assert mask["best"][name]["value"] == mask["baseline"][name]["value"]
    mask = ("mask", "above:delta=0:clamp", "mask:above:delta=0")
    found = [(x["suite"], x["kind"], x["cut"], x["control"]) for x in table["controls"]]
    assert found == [(suite, *mask) for suite in profile.suites]
    for pair in table["controls"]:
        own, other = (pair[key]["sigma_8"]["value"] for key in ("r2", "control_r2"))
        assert pair["difference"]["sigma_8"]["value"] == pytest.approx(own - other)
    pairs = {(x["trained"], x["tested"]): x["difference"]["sigma_8"] for x in table["cross"]}
    assert pairs["Lite", "Lite"]["value"] == 0
    assert pairs["Nbody_Lite", "Lite"]["high"] < 0
    assert [x["scaling"] for x in table["cross"]].count("tested") == 2
    for entry in table["cross"]:
        bias, in_sigma = entry["bias"]["sigma_8"], entry["bias_sigma"]["sigma_8"]
        noise = 0.02 if entry["trained"] == entry["tested"] else 0.15
        assert in_sigma["value"] == pytest.approx(bias["value"] / noise)
        assert -0.05 < bias["low"] < bias["value"] < bias["high"] < 0.05
    assert table["sets"] == {"CV": [], "1P": [], "EX": []}
    io.write_json(study.folder / "table.json", table)
    assert results_table.read_table(study.folder / "table.json") == table


def test_controls_are_run_on_the_first_suite_and_have_separate_rows(profile, study):
    controls = ["mask:above:delta=0"]
    profile = profile.replace(cuts=profile.cuts[:3], controls=controls)
    table = results_table.results_table(profile, study.folder)
    assert [(x["suite"], x["cut"]) for x in table["control_rows"]] == [("Lite", controls[0])]
    assert table["control_rows"][0].keys() == table["rows"][0].keys()
    assert len(table["rows"]) == 6
    assert [x["suite"] for x in table["controls"]] == ["Lite"]


def test_the_scatter_between_trainings_widens_intervals():
    cases = [[predictions(noise * (1 + i), i, n=200) for i in range(3)] for noise in (0.02, 0.05)]
    scatter = scores.seed_scatter([*cases, [predictions(0.3, n=200)]])
    found = [[r2(x["mean"], None, x["truth"])[1] for x in group] for group in cases]
    assert scatter["sigma_8"] == pytest.approx(np.sqrt(np.var(found, axis=1, ddof=1).mean()))
    assert scores.seed_scatter([[predictions(0.1)]]) == dict.fromkeys(NAMES)
    alone = {"sigma_8": {"value": 0.5, "low": 0.4, "high": 0.55}}
    found = scores.widened(alone, {"sigma_8": 0.05}, 1, 4)["sigma_8"]
    extra = scores.Z95 * 0.05 * np.sqrt(1 + 1 / 4)
    assert found["low"] == pytest.approx(0.5 - np.hypot(0.1, extra))
    assert found["high"] == pytest.approx(0.5 + np.hypot(0.05, extra))
    assert scores.widened(alone, {"sigma_8": None}, 1) == alone
    assert scores.widened(alone, {"sigma_8": 0.05})["sigma_8"] == pytest.approx(alone["sigma_8"])


def test_the_baseline_is_computed_once_for_the_same_data(profile, study, table):
    results_table.results_table(profile, study.folder)
    assert len(study.calls) == 8
    results_table.results_table(profile.replace(split_seed=2), study.folder)
    assert len(study.calls) == 16


def test_missing_runs_and_tables_of_another_schema_are_refused(profile, study, tmp_path):
    with pytest.raises(ValueError, match="none/lite-s"):
        results_table.results_table(profile, tmp_path / "elsewhere")
    io.write_json(tmp_path / "x.json", {"schema": 99})
    with pytest.raises(ValueError, match="found schema 99"):
        results_table.read_table(tmp_path / "x.json")


def test_the_numbers_in_the_prose(table):
    verdicts = claims.judge(table)
    numbers = summary.results_numbers(table, verdicts)
    uncut = row(table, "Lite", "none")
    assert numbers["r2_uncut_om"] == scores.as_text(uncut["r2"]["Omega_m"])
    assert numbers["r2_baseline_s8"] == scores.as_text(uncut["baseline"]["sigma_8"])
    assert numbers["n_runs"] == 14
    assert (numbers["r2_underdense_s8"], numbers["bits_all"]) == ("not in this profile",) * 2
    assert "better than summary statistics for both" in numbers["against_summary"]
    assert "supported" in numbers["verdict_counts"]

    found = summary.sets_summary(table)
    cross = {(x["trained"], x["tested"], x["cut"], x["scaling"]): x for x in table["cross"]}
    moved = cross["Nbody_Lite", "Lite", "none", "trained"]
    assert found.loc["the same: bias", "Omega_m"] == scores.as_text(moved["bias"]["Omega_m"], 3)
    assert set(found.loc["CV: mean of prediction minus truth"]) == {"not in this profile"}


def test_the_numbers_of_chapter_06b(table):
    moved = next(x for x in table["cross"] if (x["trained"], x["tested"]) == ("Nbody_Lite", "Lite"))
    moved["n_test_simulations"] = 50
    halo = {"Lite": {"same maps": {"Omega_m": {"class": [None, None, both(0.9)["Omega_m"]]}}}}
    numbers = summary.generalisation_numbers(table, halo)
    assert numbers["visible_strong_sn1"] == scores.as_text(table["feedback"]["Lite"]["r2"]["A_SN1"])
    assert numbers["visible_lite_rms"] == table["feedback"]["Lite"]["rms_dex"]
    assert numbers["r2_fails_s8"] == scores.as_text(moved["r2"]["sigma_8"])
    assert numbers["bias_sigma_fails_om"] == scores.as_text(moved["bias_sigma"]["Omega_m"])
    assert numbers["shift_halo_null_om"] == "0.90 [0.88, 0.92]"
    for missing in ("bias_sigma_other_uncut_om", "shift_halo_null_s8", "shift_halo_om"):
        assert numbers[missing] == "not in this profile"
    moved["n_test_simulations"] = 4  # too few for an interval
    assert "not in" in summary.generalisation_numbers(table, {})["r2_fails_s8"]


def test_cards_show_verdicts_and_on_request_reasons_and_controls(table):
    verdicts = claims.judge(table)
    brief = summary.claim_cards(verdicts)
    assert brief.count('class="claim"') == brief.count(">Evidence</a>") == 6
    assert 'class="verdict supported">supported<' in brief
    assert "<details>" not in brief
    full = summary.claim_cards([{**verdicts[0], "reason": "1 < 2 & so on"}], controls.judge(table))
    assert "1 &lt; 2 &amp; so on" in full
    assert full.count("<li>") == sum(x.claim == "inference" for x in controls.CONTROLS)


def made_table(name, losses, half=0.05, scatter=None):
    """Return a table of one suite; `losses` contains the R2 lost by each cut."""

    def about(value):
        return {"Omega_m": {"value": value, "low": value - half, "high": value + half}}

    row = {"suite": "Lite", "seeds": [1]}
    scores = {cut: {"r2": about(0.9 - x), "difference": about(-x)} for cut, x in losses.items()}
    rows = [row | {"cut": cut} | found for cut, found in scores.items()]
    table = {"profile": name, "targets": ["Omega_m"], "rows": rows, "control_rows": []}
    return table | {"seed_scatter": scatter}


@pytest.mark.parametrize(
    ("name", "losses", "scatter", "expected"),
    [
        # A smaller study: only the losses must agree, and uncut maps are the reference.
        ("demo", {"none": 0.1, "kmax:1": 0.25, "kmax:5": 0.3, "kmax:3": 0.1}, None,
         {"kmax:1": True, "kmax:5": False}),
        # The same recipe: R2 must agree within the scatter between trainings.
        ("reference", {"none": 0.01, "kmax:1": 0.22}, {"Omega_m": 0.005},
         {"none": True, "kmax:1": False}),
    ],
)  # fmt: skip
def test_agreement_with_a_stored_study(name, losses, scatter, expected):
    lost = {"none": 0.0, "kmax:1": 0.2, "kmax:5": 0.05}
    stored = made_table("reference", lost, scatter=scatter)
    found = summary.agreement(made_table(name, losses), stored)
    assert found.set_index("cut")["agrees"].to_dict() == expected


def test_a_table_of_estimates():
    entry = {"Omega_m": {"value": 0.5, "low": 0.4, "high": 0.6}}
    rows, quantities = [{"cut": "none", "r2": entry, "bias": {}}], {"R2": "r2", "bias": ("bias", 3)}
    found = summary.estimates_table(rows, {"case": "cut"}, quantities, ["Omega_m"])
    expected = {"R2, Omega_m": "0.50 [0.40, 0.60]", "bias, Omega_m": "not in this profile"}
    assert found.to_dict("index") == {"none": expected}
