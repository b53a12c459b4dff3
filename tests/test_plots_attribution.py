"""Figures of attribution and of its checks: right numbers at the right place."""

import matplotlib as mpl

mpl.use("agg")  # before pyplot: the tests need no screen

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import sanity_checks as plots_sanity_checks
from cosmolib.plots import style as plots_style

PARAMETERS = ["Omega_m", "sigma_8"]
BINS = np.array([[0.5, 0.4, 0.6], [1.5, 1.4, 1.6]])
ESTIMATE = {"value": 0.4, "low": 0.3, "high": 0.6}
UNKNOWN = {"value": 0.2, "low": None, "high": None}


@pytest.fixture(autouse=True)
def style():
    with plt.style.context("default"):
        plots_style.use_style()
        yield
    plt.close("all")


def draw(figure):
    fig, axes = figure
    fig.canvas.draw()
    return axes


def heights(ax):
    """Values of the markers of error bars, one array each."""
    return [bars[0].get_ydata() for bars in ax.containers if hasattr(bars, "has_yerr")]


def test_gallery():
    rng = np.random.default_rng(1)
    density = 10 ** rng.normal(11, 0.3, (2, 8, 8))
    methods = {name: rng.standard_normal((2, 8, 8)) for name in plots_attribution.METHOD_NAMES}
    methods["flat"] = np.zeros((2, 8, 8))  # nothing to scale by
    axes = draw(plots_attribution.attribution_gallery(density, methods, ["one", "two"]))
    assert axes.shape == (2, 6)
    assert [ax.get_title(loc="left") for ax in axes[0]][:2] == ["density", "saliency"]


@pytest.mark.parametrize("log", [True, False])
def test_by_value(log):
    edges = np.array([0.1, 1.0, 10.0])
    panels = {name: {"saliency": {"per_pixel": BINS, "share": BINS / 2}} for name in PARAMETERS}
    axes = draw(plots_attribution.by_value(edges, panels, np.array([0.7, 0.3]), "x", log))
    assert axes[0, 0].get_xscale() == ("log" if log else "linear")
    np.testing.assert_allclose(heights(axes[0, 1])[0], [0.5, 1.5])
    np.testing.assert_allclose(heights(axes[1, 1])[0], [0.25, 0.75])
    assert axes[1, 0].get_xlabel() == "x"


def test_by_class_and_smoothing():
    classes = {name: {"saliency": BINS} for name in PARAMETERS}
    names, fractions = ("void", "halo"), np.array([0.7, 0.3])
    axes = draw(plots_attribution.attribution_by_class(names, classes, fractions))
    assert [bar.get_height() for bar in axes[0].patches] == [0.7, 0.3]
    shares = {name: np.stack([BINS, 2 * BINS]) for name in PARAMETERS}
    axes = draw(
        plots_attribution.by_smoothing([0.5, 1.0], shares, np.stack([fractions] * 2), names)
    )
    np.testing.assert_allclose(heights(axes[0])[0], [0.5, 1.0])  # voids at both scales
    np.testing.assert_allclose(heights(axes[0])[1], [1.5, 3.0])


def test_by_band_and_baseline():
    panels = {name: {"saliency": {"share": BINS, "coherence": -BINS[:, [0, 2, 1]]}}
              for name in PARAMETERS}  # fmt: skip
    half = np.array([0.5, 0.5])
    axes = draw(plots_attribution.by_band(np.array([0.0, 1.0, 2.0]), panels, half, half))
    np.testing.assert_allclose(heights(axes[1, 0])[0], [-0.5, -1.5])
    assert [t.get_text() for t in axes[1, 0].get_xticklabels()] == ["0 to 1", "1 to 2"]
    table = {name: {"gradient_shap": [ESTIMATE, UNKNOWN]} for name in PARAMETERS}
    axes = draw(plots_attribution.by_baseline(["a", "b"], table, 0.7))
    np.testing.assert_allclose(heights(axes[0])[0], [0.4, 0.2])


def test_completeness():
    ax = draw(plots_attribution.completeness({"Lite": np.array([0.0, 1e-3, 0.1])}))
    assert ax.get_xscale() == "log"


def test_checks():
    methods = {"saliency": [ESTIMATE, UNKNOWN], "smooth_grad": [UNKNOWN, None]}
    axes = draw(plots_sanity_checks.cascade(["FC2", "seed 2"], [methods, methods], ["a", "b"]))
    np.testing.assert_allclose(heights(axes[1])[0], [0.4, 0.2])
    assert [t.get_text() for t in axes[0].get_xticklabels()] == ["FC2", "seed 2"]
    matrix = np.array([[1.0, 0.25], [0.25, 1.0]])
    axes = draw(plots_sanity_checks.agreement(["a", "b"], [matrix, matrix], ["one", "two"]))
    assert [t.get_text() for t in axes[0].texts] == ["1.00", "0.25", "0.25", "1.00"]
    axes = draw(
        plots_sanity_checks.transformations(["a", "b"], [methods, methods], ["x", "y"], [None, 0.5])
    )
    assert axes[0].get_ylim() == (1.5, -0.5)
    curves = {"random": np.array([0.0, 0.5]), "saliency": np.array([0.0, 1.0])}
    axes = draw(plots_sanity_checks.replacement(np.array([0.0, 1.0]), curves, curves, "distance"))
    np.testing.assert_allclose(axes[1].lines[1].get_ydata(), [0.0, 1.0])


def test_against_retraining():
    rows = [
        {
            "suite": suite,
            "cut": cut,
            "chance": 0.5,
            "share": dict.fromkeys(PARAMETERS, ESTIMATE),
            "lost": dict.fromkeys(PARAMETERS, UNKNOWN),
        }
        for suite in ("Lite", "Nbody_Lite")
        for cut in ("above:delta=0:clamp", "below:delta=0:clamp")
    ]
    axes = draw(plots_sanity_checks.attribution_against_retraining(rows, PARAMETERS))
    found = [bars[0] for bars in axes[0].containers]
    assert [(float(p.get_xdata()[0]), float(p.get_ydata()[0])) for p in found] == [(0.4, 0.2)] * 4
    assert [p.get_markerfacecolor() == "white" for p in found] == [False, False, True, True]
