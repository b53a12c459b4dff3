"""Figures of chapter 07: they show what they were given, labelled, and break on no gap."""

import numpy as np
import pytest
from test_plots_results import PARAMETERS, draw, estimate

from cosmolib.plots import results as plots_results
from cosmolib.plots import validation as plots_validation

pytestmark = pytest.mark.usefixtures("canvas")


def each(value):
    return {name: estimate(value) for name in PARAMETERS}


def test_known_answer_without_a_ceiling():
    cuts = ["none", "kmax:4@log", "kmax:4"]
    network, ceiling = [each(0.5)] * 3, [each(0.6), each(0.6), None]
    fig, axes = draw(plots_validation.known_answer(cuts, network, ceiling, PARAMETERS))
    labels = [t.get_text() for t in axes[0].get_xticklabels()]
    assert labels == ["uncut", "$k$ < 4 (log)", "$k$ < 4"]
    assert len(axes[0].containers[0].lines[0].get_xdata()) == 2  # two ceilings
    assert len(axes[0].containers[1].lines[0].get_xdata()) == 3


def test_sigma_band_is_the_tolerance():
    exact = np.random.default_rng(0).uniform(0.02, 0.06, (50, 2))
    fig, axes = draw(plots_validation.sigma_against_exact(exact * 1.05, exact, PARAMETERS, 0.1))
    x, y = axes[1].lines[0].get_data()
    np.testing.assert_allclose(y, 1.05 * x)


def test_planted_figures():
    cases = [
        [
            {"role": role, "cut": cut, "r2": each(value)}
            for role, cut, value in (
                ("whole", "none", 0.9), ("hidden", "kmax:1", 0.0), ("spared", "kmin:1", 0.9)
            )
        ]
    ] * 2  # fmt: skip
    fig, axes = draw(plots_validation.planted_r2(["band", "mean"], cases, PARAMETERS))
    labels = [t.get_text() for t in axes[0].get_yticklabels()]
    assert labels[1] == "band: $k$ < 1"
    assert len(labels) == 6
    shares = {"Saliency": [estimate(0.5)] * 2, "other": [estimate(0.1)] * 2}
    draw(plots_validation.planted_attribution(["band", "mean"], shares, [0.1, 0.01]))


def test_noise_with_a_case_that_was_not_run():
    curves = {"all": [each(0.8), each(0.5), None], "under": [each(0.7), None, each(0.1)]}
    fig, axes = draw(
        plots_validation.by_noise(
            [0, 0.1, 3], curves, PARAMETERS, "share", {"all": 1, "under": 0.5}
        )
    )
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["none", "0.1", "3"]
    assert len(axes[0].containers[0].lines[0].get_xdata()) == 2


def test_calibration_figures():
    levels = np.linspace(0.05, 0.95, 10)
    table = {name: np.stack([levels] * 3, 1) for name in PARAMETERS}
    tables = {"raw": table, "TARP": {"all together": table["sigma_8"]}}
    fig, axes = draw(plots_validation.coverage(levels, tables, {}))
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axes] == ["raw", "TARP"]
    draw(plots_validation.control_r2({"real": each(0.3), "shuffled": each(0.0)}, PARAMETERS))


def test_corner_regions_hold_what_they_say():
    rng = np.random.default_rng(0)
    samples = rng.multivariate_normal([0.3, 0.8], [[1e-3, -5e-4], [-5e-4, 1e-3]], (3, 20000))
    mean, std = samples.mean(1), samples.std(1)
    fig, panels = plots_validation.corner(list(samples), mean, std, mean, PARAMETERS, list("abc"))
    fig.canvas.draw()
    joint = panels[0][1, 0]
    levels = joint.collections[0].levels  # of density, for 95 and 68 %
    assert levels[0] < levels[1] < levels[2]
    regions = joint.collections[0].get_paths()
    share = regions[1].contains_points(samples[0]).mean()
    assert share == pytest.approx(0.68, abs=0.04)


def test_control_pairs_name_both():
    pair = {"cut": "kmax:4", "control": "kmax:4@log", "r2": each(0.5), "control_r2": each(0.7)}
    fig, axes = draw(plots_results.control_pairs([pair], PARAMETERS))
    assert axes[0].get_yticklabels()[0].get_text() == "$k$ < 4\n$k$ < 4 (log)"
