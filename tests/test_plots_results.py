"""Figures of trained networks: they show what they were given, labelled, and break on no gap."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cosmolib.plots import results as plots_results
from cosmolib.plots import style as plots_style

PARAMETERS = ["Omega_m", "sigma_8"]
SUITES = ["Lite", "Nbody_Lite"]


pytestmark = pytest.mark.usefixtures("canvas")


def estimate(value, error=0.05):
    return {"value": value, "low": value - error, "high": value + error}


def rows(cuts, suites=SUITES):
    return [
        {
            "suite": suite,
            "cut": cut,
            "r2": {name: estimate(0.8 - 0.1 * i) for name in PARAMETERS},
            "difference": {name: estimate(-0.1 * i) for name in PARAMETERS},
            "baseline": {name: estimate(0.6 - 0.1 * i) for name in PARAMETERS},
        }
        for suite in suites
        for i, cut in enumerate(cuts)
    ]


def draw(figure):
    """Draw, so that an error that matplotlib puts off is raised here."""
    fig, axes = figure
    fig.canvas.draw()
    return fig, np.atleast_1d(axes)


def xy(ax):
    """All points of an axis' lines with a marker of the book (the caps of bars have others)."""
    lines = [line for line in ax.get_lines() if line.get_marker() in plots_style.MARKERS]
    return np.array([point for line in lines for point in line.get_xydata()])


@pytest.mark.parametrize(
    ("cut", "label"),
    [
        ("none", "uncut"),
        ("kmax:4", "$k$ < 4"),
        ("kmax:4@log", "$k$ < 4 (log)"),
        ("band:2,8", "2 ≤ $k$ < 8"),
        ("above:1e12", r"$\Sigma$ > $10^{12}$ clamped"),
        ("below:2e11:random", r"$\Sigma$ < $2\times10^{11}$ random"),
        ("above:delta=-0.5:mean", r"$\delta$ > -0.5 set to mean"),
        ("shuffle:above:delta=3", r"shuffled $\delta$ > 3 clamped"),
    ],
)
def test_cut_labels(cut, label):
    assert plots_results.cut_label(cut) == label


def test_cut_labels_are_distinct_and_drawable():
    cuts = [
        "none",
        "kmax:1",
        "kmin:1",
        "kmax:1@delta",
        "mask:above:1e11",
        "above:1e11",
        "shuffle:above:1e11",
        "above:1e11:mean",
        "below:1e11",
        "above:delta=1",
    ]
    labels = [plots_results.cut_label(cut) for cut in cuts]
    assert len(set(labels)) == len(cuts)
    fig, ax = plt.subplots()
    ax.set_title(" ".join(labels))
    fig.canvas.draw()


def test_r2_by_cut_shows_every_point_at_its_value():
    cuts = ["none", "kmax:4", "above:delta=0:clamp"]
    fig, axes = draw(plots_results.r2_by_cut(rows(cuts), SUITES, PARAMETERS))
    assert len(axes) == len(PARAMETERS)
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        plots_results.cut_label(cut) for cut in cuts
    ]
    points = xy(axes[0])
    for i in range(len(cuts)):
        near = points[np.abs(points[:, 1] - i) < 0.4]
        np.testing.assert_allclose(np.unique(near[:, 0].round(6)), [0.6 - 0.1 * i, 0.8 - 0.1 * i])


def test_r2_by_cut_survives_gaps():
    table = rows(["none", "kmax:4"])
    table = [row for row in table if (row["suite"], row["cut"]) != ("Nbody_Lite", "kmax:4")]
    table[0]["r2"]["sigma_8"] = {"value": 0.5, "low": None, "high": None}
    table[1]["baseline"] = {}
    draw(plots_results.r2_by_cut(table, SUITES, PARAMETERS))
    draw(plots_results.r2_by_cut(table, SUITES, PARAMETERS, key="difference"))


@pytest.mark.parametrize("cuts", [["none", "kmax:4", "kmax:1"], ["none"], ["kmax:4"]])
def test_r2_against_kmax(cuts):
    fig, axes = draw(plots_results.r2_against_kmax(rows(cuts), SUITES, PARAMETERS, nyquist=8.04))
    k = xy(axes[0])[:, 0] if "kmax:4" in cuts else []
    assert len(k) == 2 * sum(cut.startswith("kmax") for cut in cuts)


def test_live_and_stored_shows_what_both_have():
    live, stored = rows(["none", "kmax:4", "kmax:1"]), rows(["none", "kmax:2", "kmax:1"])
    figure = plots_results.live_and_stored(live, stored, "Lite", PARAMETERS, ("demo", "standard"))
    fig, axes = draw(figure)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["uncut", "$k$ < 1"]
    assert {t.get_text() for t in fig.legends[0].get_texts()} == {"demo", "standard"}


@pytest.mark.parametrize("n_epochs", [1, 5])
def test_learning_curves_mark_the_kept_epoch(n_epochs):
    valid = np.array([3.0, 2.0, 1.0, 1.5, 2.5])[:n_epochs]
    history = [
        {"epoch": i + 1, "lr": 1e-3, "train_loss": 2.0, "valid_loss": loss}
        for i, loss in enumerate(valid)
    ]
    fig, axes = draw(plots_results.learning_curves(history))
    marked = [line for line in axes[0].get_lines() if "kept" in str(line.get_label())]
    assert marked[0].get_xdata()[0] == 1 + np.argmin(valid)


def test_predicted_against_true_averages_by_simulation():
    rng = np.random.default_rng(0)
    simulation = np.repeat([3, 7], 15)
    truth = np.where(simulation[:, None] == 3, 0.2, 0.4) * np.ones((30, 2))
    mean = truth + 0.01 * rng.standard_normal(truth.shape)
    fig, axes = draw(
        plots_results.predicted_against_true(
            truth, mean, np.full_like(mean, 0.01), simulation, PARAMETERS, ["a", "b"]
        )
    )
    diamonds = [line for line in axes[1].get_lines() if line.get_marker() == "D"][0]
    np.testing.assert_allclose(
        diamonds.get_ydata(), [mean[simulation == number, 1].mean() for number in (3, 7)]
    )


def test_augmented_shows_each_map():
    fig, axes = draw(plots_results.augmented(np.full((4, 8, 8), 1e11)))
    assert len(axes) == 4


@pytest.mark.parametrize("finished", [True, False])
def test_study_figures(finished):
    values = np.array([1.0, 0.5, np.nan, 0.7])
    pruned = np.array([False, False, True, True]) if finished else np.ones(4, bool)
    draw(plots_results.study_history(np.arange(4), values, pruned, ("profile", 0.6)))
    x = {"max_lr": np.array([1e-4, 1e-3, 1e-2, 1e-3]), "hidden": np.array([6.0, 12, 8, 7])}
    fig, axes = draw(
        plots_results.study_slices(
            x,
            values,
            pruned,
            {"max_lr": (1e-5, 5e-2), "hidden": (6, 12)},
            {"max_lr": True, "hidden": False},
            {"hidden"},
        )
    )
    assert axes[0].get_xscale() == "log"
    assert axes[1].get_title(loc="left") + axes[1].get_title() == "optimum at the edge"
    draw(plots_results.importances({"max_lr": 0.7, "hidden": 0.3}))
