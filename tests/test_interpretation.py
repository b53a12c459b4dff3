"""What chapter 05 asks of a network, on a subject whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cosmolib.data.scaling import Scaling
from cosmolib.interpretation import experiments
from cosmolib.interpretation.experiments import (
    Subject,
    against_retraining,
    baseline_of,
    explain,
    faithfulness,
    load_subject,
    occlusion,
    randomisation,
    rank_agreement,
    replacement,
    spread,
    under_moves,
    under_share,
)
from cosmolib.study.io import read_json
from cosmolib.study.profile import load_profile
from cosmolib.study.run import Run
from cosmolib.training.fit import seeded
from cosmolib.training.networks import build_network
from cosmolib.training.run import train_run

GRID = 32


@pytest.fixture(scope="module")
def profile():
    return load_profile("tiny")


@pytest.fixture(scope="module")
def subject():
    config = {"name": "lite", "size": GRID, "hidden": 1, "dropout": 0.0, "n_parameters": 2}
    with seeded(1):
        network = build_network(**config).eval()
    rng = np.random.default_rng(0)
    maps = (10 ** rng.normal(11, 0.4, (8, GRID, GRID))).astype(np.float32)
    scaling = Scaling("log", mean=11.0, std=0.4)
    x = torch.from_numpy(scaling.apply(maps))[:, None]
    return Subject(
        name="Lite", network=network, scaling=scaling, network_config=config, maps=maps, x=x,
        train_x=x + 1, chosen=np.arange(0, 120, 15), params=np.zeros((8, 6)), box_size=25.0,
    )  # fmt: skip


def test_some_of_the_maps(subject):
    few = subject.some(3)
    assert spread(8, 3).tolist() == [0, 4, 7]
    assert few.simulations.tolist() == [0, 4, 7]
    np.testing.assert_array_equal(few.maps, subject.maps[[0, 4, 7]])
    assert few.classes.shape == few.density.shape == (3, GRID, GRID)
    np.testing.assert_allclose(few.density.mean((1, 2)), 1, rtol=1e-5)
    assert len(subject.some(100).x) == 8


def test_baselines_fit_their_method(subject):
    assert baseline_of(subject, "saliency") is None
    assert (baseline_of(subject, "integrated_gradients") == 0).all()
    assert len(baseline_of(subject, "gradient_shap")) == 8
    training = baseline_of(subject.some(3), "integrated_gradients", "training")
    assert training.shape == (3, 1, GRID, GRID)
    more = replace(subject, train_x=subject.train_x[:2])
    cycled = baseline_of(more, "integrated_gradients", "training")
    assert len(cycled) == 8
    assert torch.equal(cycled[0], cycled[2])
    assert not torch.equal(cycled[0], cycled[1])


def test_every_check_gives_numbers(subject, profile):
    """That each is right is tested in test_sanity; here that they are put together rightly."""
    with seeded(2):
        twin = build_network(**subject.network_config).eval()
    methods = ["saliency", "integrated_gradients"]
    others = {"itself": subject.network, "twin": twin}
    found = randomisation(subject, methods, 0, profile, others)
    assert found["stages"] == ["FC2", "FC1", "block 2", "block 1", "block 0", "itself", "twin"]
    for method in methods:
        assert found["signed"][method][-2]["value"] == pytest.approx(1)
        assert found["signed"][method][-1]["value"] < 0.9
    # the same of a study by any other name
    assert found == randomisation(subject, methods, 0, profile.replace(name="other"), others)

    moved = under_moves(subject, ["saliency"], 0, profile)
    assert moved["correlation"]["saliency"][0]["value"] == pytest.approx(1)
    assert moved["under_share"]["saliency"][0]["chance"] == pytest.approx(
        (subject.density < 1).mean()
    )
    values = explain(subject, "integrated_gradients", 0, profile).values
    assert 0 < under_share(subject, values, profile)["value"] < 1
    curves = replacement(subject, {"integrated_gradients": values}, 0, [0.0, 0.5, 1.0])
    assert set(curves["deletion"]) == {
        "integrated_gradients", "densest first", "emptiest first", "random",
    }  # fmt: skip
    for table in curves["deletion"].values():
        np.testing.assert_allclose(table[:, 0], 0, atol=1e-6)
        np.testing.assert_allclose(table[:, 2], curves["insertion"]["random"][:, 0], atol=1e-5)
    hidden = occlusion(subject, values, 0, profile, patch=8)
    assert hidden["patch"]["value"] > 0.5
    assert sum(hidden["share"]) == pytest.approx(1)
    rows = faithfulness(subject.some(3), methods, 0, profile)
    assert [row["method"] for row in rows] == methods
    assert rows[1]["infidelity"] < 1


def test_the_subject_of_a_run_is_what_it_was_trained_on(tiny_suite_dir, tmp_path, profile):
    profile = profile.replace(data_dir=str(tiny_suite_dir), cuts=["none", "above:delta=0:clamp"])
    shares = {}
    for cut in profile.cuts:
        run = Run("tiny", "Lite", cut, "lite", 1, tmp_path)
        train_run(run, profile)
    subject = load_subject(Run("tiny", "Lite", "none", "lite", 1, tmp_path), profile)
    assert len(subject.x) == profile.attribution_maps
    np.testing.assert_allclose(
        subject.scaling.apply(subject.maps.copy()), subject.x[:, 0], rtol=1e-5
    )
    cut = load_subject(Run("tiny", "Lite", "above:delta=0:clamp", "lite", 1, tmp_path), profile)
    np.testing.assert_array_equal(cut.maps, subject.maps)  # without the cut
    assert not torch.equal(cut.x, subject.x)
    shares["Lite", "Omega_m"] = np.ones_like(subject.maps)
    rows = against_retraining({"Lite": subject}, shares, profile, tmp_path)
    assert [row["cut"] for row in rows] == ["above:delta=0:clamp"]
    (row,) = rows
    assert row["chance"] == pytest.approx((subject.density > 1).mean())
    assert row["share"]["Omega_m"]["value"] == pytest.approx(row["chance"])  # equal everywhere
    r2 = {
        cut: read_json(Run("tiny", "Lite", cut, "lite", 1, tmp_path).path("metrics.json"))[
            "parameters"
        ]["Omega_m"]["r2"]
        for cut in profile.cuts
    }
    expected = r2["none"] - r2["above:delta=0:clamp"]
    assert row["lost"]["Omega_m"]["value"] == pytest.approx(expected)


def test_rank_agreement_knows_order_and_doubt():
    def row(share, lost, width):
        return {
            key: {"Omega_m": {"value": v, "low": v - width, "high": v + width}}
            for key, v in (("share", share), ("lost", lost))
        }

    points = [(0.1, 0.02), (0.4, 0.1), (0.6, 0.3), (0.9, 0.5)]
    sure = rank_agreement([row(*point, 1e-3) for point in points], "Omega_m")
    assert (sure["value"], sure["low"]) == (1, 1)
    turned = rank_agreement([row(a, -b, 1e-3) for a, b in points], "Omega_m")
    assert turned["value"] == -1
    doubtful = rank_agreement([row(*point, 0.5) for point in points], "Omega_m")
    assert doubtful["low"] < 0
    assert rank_agreement([], "Omega_m")["value"] is None
    assert experiments.USUAL_BASELINE["integrated_gradients"] == "mean_log"
