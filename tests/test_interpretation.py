"""Test subjects, experiments and summaries of chapter 05 on a small network."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_claims import table as claims_table

from cosmolib.data.scaling import Scaling
from cosmolib.interpretation import binned, experiments, summaries
from cosmolib.interpretation import subject as subjects_module
from cosmolib.interpretation.attribution import METHODS
from cosmolib.interpretation.subject import Subject, explain, load_subject, options_of
from cosmolib.results import claims
from cosmolib.study.run import Run
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network
from cosmolib.training.run import train_run
from cosmolib.training.scores import as_estimate, as_text

GRID = 32


@pytest.fixture(scope="module")
def subject(profile):
    config = {"name": "lite", "size": GRID, "hidden": 1, "dropout": 0.0, "n_parameters": 2}
    with seeded(1):
        network = build_network(**config).eval()
    rng = np.random.default_rng(0)
    maps = (10 ** rng.normal(11, 0.4, (8, GRID, GRID))).astype(np.float32)
    scaling = Scaling("log", mean=11.0, std=0.4)
    x = torch.from_numpy(scaling.apply(maps))[:, None]
    return Subject(
        run=Run("tiny", "Lite", "none", "lite", 1), profile=profile, network=network,
        scaling=scaling, network_config=config, maps=maps, x=x,
        train_x=x + 1, chosen=np.arange(0, 120, 15), params=np.zeros((8, 6)), box_size=25.0,
    )  # fmt: skip


def test_some_of_the_maps(subject):
    few = subject.some(3)
    assert few.simulations.tolist() == [0, 4, 7]
    np.testing.assert_array_equal(few.maps, subject.maps[[0, 4, 7]])
    assert few.classes.shape == few.density.shape == (3, GRID, GRID)
    np.testing.assert_allclose(few.density.mean((1, 2)), 1, rtol=1e-5)
    assert len(subject.some(100).x) == 8


def test_baselines_fit_their_method(subject):
    assert "baseline" not in options_of(subject, "saliency")
    assert (options_of(subject, "integrated_gradients")["baseline"] == 0).all()
    assert len(options_of(subject, "gradient_shap")["baseline"]) == 8
    more = replace(subject, train_x=subject.train_x[:2])
    cycled = options_of(more, "integrated_gradients", "training")["baseline"]
    assert cycled.shape == (8, 1, GRID, GRID)
    assert torch.equal(cycled[0], cycled[2])
    assert not torch.equal(cycled[0], cycled[1])


def test_the_subject_of_a_run_has_the_inputs_of_its_training(tiny_suite_dir, tmp_path, profile):
    profile = profile.replace(
        data_dir=str(tiny_suite_dir), suites=["Lite"], cuts=["none", "above:delta=0:clamp"],
        controls=["nomean:white=1:none"], attribution_seeds=[1, 2],
    )  # fmt: skip
    for cut in (*profile.cuts, *profile.controls):
        train_run(Run("tiny", "Lite", cut, "lite", 1, tmp_path), profile)
    (subject,) = subjects_module.load_subjects(profile, tmp_path).values()
    assert not subject.pretrained
    assert len(subject.x) == profile.attribution_maps
    scaled = subject.scaling.apply(subject.maps.copy())
    np.testing.assert_allclose(scaled, subject.x[:, 0], rtol=1e-5)
    cut = load_subject(replace(subject.run, cut="above:delta=0:clamp"), profile)
    np.testing.assert_array_equal(cut.maps, subject.maps)  # without the cut
    assert not torch.equal(cut.x, subject.x)
    missing = ["shuffled labels", "seed 2", "shuffled labels, seed 2"]  # no such run
    assert experiments.other_networks(subject) == ({}, missing)
    levels, shares = summaries.noise_shares(subject)
    noisy = load_subject(replace(subject.run, cut="nomean:white=1:none"), profile).few()
    values = explain(noisy, "integrated_gradients", 0).values
    assert levels == [1.0]
    assert shares["void"][0]["Omega_m"] == experiments.region_shares(noisy, values)["void"]


def test_a_ratio_over_chance_contains_the_scatter_between_networks():
    """For networks of one distribution, 95 % of the intervals contain 1."""
    rng = np.random.default_rng(0)

    def draw(n, centre, width=0.0):
        values = centre * np.exp(0.2 * rng.standard_normal(n))
        return [as_estimate((x, x * np.exp(-width), x * np.exp(width))) for x in values]

    found = [binned.ratio_to_null(draw(3, 2.0), draw(5, 2.0)) for _ in range(1000)]
    held = np.mean([x["low"] < 1 < x["high"] for x in found])
    assert 0.93 < held < 0.985
    sure = binned.ratio_to_null(draw(3, 6.0, 0.05), draw(5, 2.0, 0.05))
    assert 1.5 < sure["low"] < sure["value"] < sure["high"]
    doubtful = binned.ratio_to_null(draw(3, 6.0, 2.0), draw(5, 2.0, 2.0))  # few maps
    assert doubtful["low"] < 1
    for trained, null in (([], []), (draw(1, 3.0), draw(1, 2.0)), (draw(3, 3.0), [])):
        assert binned.ratio_to_null(trained, null)["low"] is None


def test_claim_3_is_not_supported_by_untrained_networks(subject, monkeypatch):
    networks = {
        f"{kind}{draw}": experiments.untrained_network(subject, 100 * number + draw)
        for number, kind in enumerate(("seed ", "shuffled labels, seed "), 1)
        for draw in range(4)
    }
    monkeypatch.setattr(summaries, "other_networks", lambda _: (networks, []))
    ledger = summaries.baseline_ledger(subject)
    assert list(ledger) == ["mean_log", "uniform", "void"]
    for entry in ledger.values():
        for parameter, kinds in entry["per_pixel"].items():
            assert [*map(len, kinds.values())] == [5, 4, 5]  # trained, shuffled, untrained
            nulls = [binned.ratio_to_null(kinds["trained"], kinds[n]) for n in summaries.NULLS]
            assert entry["ratio_to_null"][parameter]["low"] == min(x["low"] for x in nulls)
    results = claims_table(attribution={"baselines": ledger})
    (verdict,) = [x for x in claims.judge(results) if x["key"] == "pixel-and-total"]
    assert verdict["verdict"] in ("not supported", "left open")
    assert len(summaries.ledger_table(ledger)) == 3 * 2
    monkeypatch.setattr(summaries, "other_networks", lambda _: ({}, list(networks)))
    alone = summaries.baseline_ledger(subject)
    assert alone["void"]["ratio_to_null"]["sigma_8"]["low"] is None  # one training has no scatter
    row = summaries.ledger_table(alone).loc["void", "sigma_8"]
    assert row["shuffled labels (0)"] == "not run"


class Lopsided(torch.nn.Module):
    """f(x) = sum of w x over pixels above the mean log-density, and of x below: IG are exact."""

    n_parameters = 2

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        mean = torch.where(x > 0, self.weight * x, x).sum((1, 2, 3))[:, None].repeat(1, 2)
        return mean, torch.ones_like(mean)


def test_networks_that_look_elsewhere_are_found(subject, monkeypatch):
    """The twin gives over-dense pixels three times as much; the other suite is like the twin."""
    weights, asked = {"Lite": 3.0, "Nbody_Lite": 3.0, "Lite_strong": 1.0}, []

    def load(run, profile, tested):
        asked.append((run.suite, run.seed, tested))
        network = Lopsided(weights[run.suite] * (1 + 1e-3 * run.seed))
        return replace(subject, run=run, profile=profile, network=network)

    monkeypatch.setattr(experiments, "load_subject", load)
    monkeypatch.setattr(Run, "complete", property(lambda run: run.seed < 3))
    profile = subject.profile.replace(
        suites=["Lite", "Nbody_Lite"], uncut_suites=["Lite_strong"], seeds=[1, 2, 3],
        attribution_check_maps=8,
    )  # fmt: skip
    shifts = experiments.feedback_shift(profile)
    assert list(shifts) == ["Lite", "Lite_strong"]
    assert ("Nbody_Lite", 2, "Lite_strong") in asked  # the twin explains the maps with feedback
    assert not any(seed == 3 for _, seed, _ in asked)
    for kind in ("same maps", "own maps"):
        for rows in shifts["Lite"][kind]["Omega_m"].values():
            np.testing.assert_allclose([x["value"] for x in rows if x["value"]], 1, rtol=1e-6)
        density = shifts["Lite_strong"][kind]["sigma_8"]["density"]
        low, high = density[0]["value"], density[7]["value"]
        assert low / high == pytest.approx(3, rel=1e-6)
        assert high < 1 < low
    halo = shifts["Lite_strong"]["same maps"]["Omega_m"]["class"][2]
    assert halo["low"] <= halo["value"] <= halo["high"] < 1
    untrained = shifts["Lite_strong"]["untrained"]["Omega_m"]["class"]
    assert all(x["low"] < 1 < x["high"] for x in untrained)
    assert experiments.feedback_shift(profile.replace(suites=["Lite"], uncut_suites=[])) == {}


def test_the_numbers_of_the_argument(subject):
    found = {"Lite": summaries.explain_all(subject)}
    subjects = {"Lite": subject}
    where = summaries.summarise(subjects, found, experiments.region_shares)
    for t, column in subject.targets.items():
        values = explain(subject, "integrated_gradients", column, output="std").values
        where["Lite"][t]["std"] = experiments.region_shares(subject, values)

    def by_band(subject, values):
        edges = [0, 0.5, 1, 2, 4, 6]  # [h/Mpc]
        return binned.by_band(values, subject.x[:, 0].numpy(), edges, *subject.resampling)

    bands = summaries.summarise(subjects, found, by_band)
    estimates = [{"value": x, "low": x, "high": x} for x in (3.0, 4.2)]
    kinds = {"trained": estimates, "shuffled labels": [], "untrained": estimates[:1]}
    ledger = {"mean_log": {"per_pixel": {"Omega_m": kinds, "sigma_8": kinds}}}
    numbers = summaries.argument_numbers(subjects, found, where, bands, ledger)
    assert numbers["interpretation_trained"] == "3.0 to 4.2"
    assert numbers["interpretation_shuffled"] == "not run"
    text = (ROOT / "notebooks" / "05_interpretation.py").read_text(encoding="utf-8")
    glued = {*re.findall(r"\{glue:text\}`(interpretation_\w+)", text)}
    assert glued <= {*numbers, "interpretation_network"}
    share = where["Lite"]["Omega_m"]["integrated_gradients"]["under-dense"]
    assert numbers["interpretation_share_om"] == as_text(share)
    assert numbers["interpretation_under_pixels"] == pytest.approx((subject.density < 1).mean())
    assert (numbers["interpretation_maps"], numbers["interpretation_simulations"]) == (8, 8)

    table = summaries.region_table(where, subject)
    assert len(table) == 3 * 2 + 2 + 1
    assert table.loc[("Lite", "Omega_m", "integrated_gradients"), "under-dense"] == as_text(share)
    assert set(summaries.flat(bands)) >= {"Lite, Omega_m, saliency", "Lite, sigma_8, gradient_shap"}
    shares, fractions = summaries.by_smoothing(subject, found["Lite"], [0.5, 1.0])
    np.testing.assert_allclose(fractions.sum(1), 1)
    assert as_text(as_estimate(shares["Omega_m"][0][0])) == numbers["interpretation_void_om"]


def test_the_numbers_of_the_checks(subject):
    """The checks themselves are tested in test_sanity."""
    few, methods = subject.few(), ["saliency", "integrated_gradients"]
    explained = summaries.explain_all(few)
    found = {t: {m: a.values for m, a in table.items()} for t, table in explained.items()}
    rows = experiments.baseline_shares(few, found)
    assert len(rows) == 2 * 6 * 2
    first = rows["integrated_gradients", "mean_log", "Omega_m"]
    assert first["rank correlation with the first"]["value"] == pytest.approx(1)
    under = {key: row["under-dense share"] for key, row in rows.items()}
    others = {"shuffled labels": subject.network, "seed 2": subject.network}
    targets = few.targets.items()
    random = {t: experiments.randomisation(few, methods, c, others) for t, c in targets}
    stages = ["FC2", "FC1", "block 3", "block 2", "block 1", "block 0", *others]
    assert random["Omega_m"]["stages"] == stages
    for signed in random["Omega_m"]["signed"].values():
        assert [x["value"] for x in signed[-2:]] == pytest.approx([1, 1])
        assert signed[-3]["value"] < 0.9  # of random weights
    moved = {t: experiments.under_moves(few, methods, c) for t, c in targets}
    assert moved["Omega_m"]["correlation"]["saliency"][0]["value"] == pytest.approx(1)
    chance = moved["Omega_m"]["under_share"]["saliency"][0]["chance"]
    assert chance == pytest.approx((few.density < 1).mean())
    orders = {t: experiments.replacement(few, found[t], c, [0.0, 0.5, 1.0]) for t, c in targets}
    deleted, inserted = orders["Omega_m"].values()
    assert set(deleted) == {*METHODS, "densest first", "emptiest first", "random"}
    for table in deleted.values():
        np.testing.assert_allclose(table[:, 0], 0, atol=1e-6)
        np.testing.assert_allclose(table[:, 2], inserted["random"][:, 0], atol=1e-5)
    path, saliency = ({t: found[t][m] for t in found} for m in reversed(methods))
    hidden = {t: experiments.occlusion(few, path[t], c) for t, c in targets}
    assert hidden["Omega_m"]["patch"]["value"] > 0.5
    assert min(e["value"] for e in hidden["Omega_m"]["density"].values()) > 0
    rows = experiments.faithfulness(subject.some(3), methods, 0)
    assert [row["method"] for row in rows] == methods
    assert rows[1]["infidelity"] < 1

    areas = summaries.mean_distances(few, orders)
    table = summaries.check_table(few, saliency, under, random, moved, hidden, areas)
    same = table.loc["signed correlation: with other seeds", "Omega_m"]
    assert same == "1.00"  # the same network
    assert table.loc["with shuffled labels", "sigma_8"].startswith("1.00")
    assert not table.loc["with random weights", "Omega_m"].startswith("1.00")
    low, high = table.iloc[0]["Omega_m"].split(" to ")
    assert float(low) < float(high)
    matrix = experiments.agreement(few, found["Omega_m"])
    np.testing.assert_allclose(np.diag(matrix), np.ones(5))
