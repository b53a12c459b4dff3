"""Test that figures show their input in the right place, have labels and accept gaps."""

import importlib
import pkgutil

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import both as each
from conftest import estimate

import cosmolib.plots
from cosmolib.plots import attribution, cuts, data, results, style, training, validation

pytestmark = pytest.mark.usefixtures("canvas")
RNG = np.random.default_rng(5)
SIMULATIONS, GRID, MODES = 12, 16, 8
K = np.geomspace(0.25, 8, MODES)
PARAMS = np.column_stack([np.linspace(0.1, 0.5, SIMULATIONS), RNG.uniform(0.25, 1, (12, 5))])
PARAMETERS = ["Omega_m", "sigma_8"]
SUITES = ["Lite", "Nbody_Lite"]
UNKNOWN = {"value": 0.2, "low": None, "high": None}  # without limits
BINS = np.array([[0.5, 0.4, 0.6], [1.5, 1.4, 1.6]])  # value, low, high
EDGES = np.array([0.1, 1.0, 10.0])
HALF = np.array([0.7, 0.3])
CUTS = ["none", "kmax:4", "above:delta=0:clamp"]


def density(n=4):
    return 10 ** RNG.normal(11.2, 0.4, (n, GRID, GRID))


def noise(*shape):
    return RNG.uniform(0.5, 1.5, shape)


def both(table):
    return dict.fromkeys(PARAMETERS, table)


def rows(cuts, suites=SUITES):
    """Return the rows of a results table in which R2 falls by 0.1 from cut to cut."""
    return [
        {"suite": suite, "cut": cut, "r2": each(0.8 - 0.1 * i), "difference": each(-0.1 * i),
         "best_difference": each(-0.1 * i), "baseline": each(0.6 - 0.1 * i)}
        for suite in suites
        for i, cut in enumerate(cuts)
    ]  # fmt: skip


def history(valid):
    rows = enumerate(valid, start=1)
    return [{"epoch": i, "lr": 1e-3, "train_loss": 2.0, "valid_loss": loss} for i, loss in rows]


def predictions():
    """Return truth, mean, std and simulation of 30 maps of simulations 3 and 7."""
    simulation = np.repeat([3, 7], 15)
    truth = np.where(simulation[:, None] == 3, 0.2, 0.4) * np.ones((30, 2))
    mean = truth + 0.01 * RNG.standard_normal(truth.shape)
    return truth, mean, np.full_like(mean, 0.01), simulation


def cross(scalings=("trained", "tested")):
    return [
        {
            "trained": a,
            "tested": b,
            "cut": "none",
            "scaling": scaling,
            "r2": each(0.5),
            "bias_sigma": each(0.2),
        }
        for a in SUITES
        for b in SUITES
        for scaling in (("trained",) if a == b else scalings)
    ]


METHODS = {"saliency": [estimate(0.4), UNKNOWN], "smooth_grad": [UNKNOWN, None]}
MATRIX = np.array([[1.0, 0.25], [0.25, 1.0]])
CURVES = {"random": np.array([0.0, 0.5]), "saliency": np.array([0.0, 1.0])}
POWER = {"omega_m": 0.3, "sigma_8": 0.8, "k": K, "measured": K, "linear": K, "hmcode": K}
BOXES = {"k": K, "measured_over_hmcode": {"q16": noise(MODES), "q84": noise(MODES)}}
TRIALS = np.array([1.0, 0.5, np.nan, 0.7]), np.array([False, False, True, True])
SEARCHED = {"max_lr": np.array([1e-4, 1e-3, 1e-2, 1e-3]), "hidden": np.array([6.0, 12, 8, 7])}
SEARCH = {"max_lr": (1e-5, 5e-2), "hidden": (6, 12)}, {"max_lr": True, "hidden": False}, {"hidden"}
VARIANCE = [
    {"suite": s, "targets": PARAMETERS, "truth": [0.3, 0.8], "mean": noise(7, 2), "sigma": each(1)}
    for s in SUITES
]
RESPONSE = [
    {"suite": s, "varied": v, "targets": PARAMETERS, "values": [0.1, 0.3, 0.5],
     "mean": [[0.1, 0.8]] * 3, "error": [[0.01, 0.02]] * 3}
    for s in SUITES
    for v in ("Omega_m", "A_SN1")
]  # fmt: skip
EXTREMES = [
    {"suite": s, "what": what, "pull": each(0.3)}
    for s in SUITES
    for what in ("fiducial", "A_SN1 = 100")
]
INJECTED = [
    {"role": "whole", "cut": "none", "r2": each(0.9)},
    {"role": "hidden", "cut": "kmax:1", "r2": each(0)},
    {"role": "spared", "cut": "kmin:1", "r2": each(1)},
]
CONTROL = {"cut": "kmax:4", "control": "kmax:4@log", "r2": each(0.5), "control_r2": each(0.7)}
LEVELS = np.linspace(0.05, 0.95, 10)
COVERAGE = {"raw": both(np.stack([LEVELS] * 3, 1)), "TARP": {"all": np.stack([LEVELS] * 3, 1)}}
SAMPLES = RNG.multivariate_normal([0.3, 0.8], [[1e-3, -5e-4], [-5e-4, 1e-3]], (3, 20000))
NOISY = {"all": [each(0.8), each(0.5), None], "under": [each(0.7), None, each(0.1)]}
BANDS = {"saliency": {"share": BINS, "coherence": -BINS[:, [0, 2, 1]]}}
BY_VALUE = both({"saliency": {"per_pixel": BINS, "share": BINS / 2}})
RATIOS = {key: [estimate(1.5), estimate(0.6)] for key in ("density", "distance", "class")}
PARTS = {"train": np.arange(9), "valid": np.array([9]), "test": np.array([10, 11])}

ATTRIBUTIONS = {"a": noise(2, GRID, GRID), "flat": np.zeros((2, GRID, GRID))}

FIGURES = {
    data.parameter_space: (PARAMS, PARTS),
    data.twin_gallery: (density(), density(), PARAMS[:4], ("Nbody_Lite", "Lite")),
    data.mean_density: (PARAMS[:, 0], noise(SIMULATIONS, 15), noise(SIMULATIONS, 3), "Lite"),
    data.by_cosmology: (K, noise(SIMULATIONS, MODES), K, noise(SIMULATIONS, MODES), PARAMS),
    data.power_3d: ([POWER, POWER], BOXES),
    data.feedback_ratio: (K, noise(SIMULATIONS, MODES), PARAMS, 5.0, SUITES),
    data.lattice_check: ({name: both((0.7, 0.6, 0.8)) for name in "ab"},),
    data.scaled_pixels: ({"log": noise(99), "linear": noise(9, 9)},),
    cuts.cut_gallery: (density(5), ["none", "mask:above:1e12", *"xyz"]),
    cuts.cut_spectra: (K, {"Fourier": {"kmax:4": noise(SIMULATIONS, MODES)}}),
    cuts.cut_pdfs: (K, noise(MODES), {"density": {"above": noise(MODES)}}),
    cuts.fraction_against_omega_m: (PARAMS[:, 0], {"a": {"above:1e12": noise(SIMULATIONS)}}),
    cuts.negative_fraction: (K, {"Lite": noise(SIMULATIONS, MODES)}, 11.4, ("CMD", K, K)),
    training.augmented: (density(),),
    training.learning_curves: (history([3.0, 2.0, 1.0, 1.5]),),
    training.predicted_against_true: (*predictions(), PARAMETERS, ["a", "b"]),
    training.study_history: (np.arange(4), *TRIALS, ("profile", 0.6)),
    training.study_slices: (SEARCHED, *TRIALS, *SEARCH),
    training.importances: ({"max_lr": 0.7, "hidden": 0.3},),
    attribution.attribution_gallery: (density(2), ATTRIBUTIONS, "ab"),
    attribution.by_value: (EDGES, BY_VALUE, HALF, "x"),
    attribution.attribution_by_class: (("void", "halo"), both({"saliency": BINS}), HALF),
    attribution.by_smoothing: ([1, 2], both(np.stack([BINS, 2 * BINS])), [HALF] * 2, SUITES),
    attribution.by_band: (np.array([0.0, 1.0, 2.0]), both(BANDS), HALF, HALF),
    attribution.by_baseline: (["a", "b"], both(METHODS), 0.7),
    attribution.by_network: (["a", "b"], dict.fromkeys("ab", {"per_pixel": both(METHODS)})),
    attribution.ratios: (
        {"same maps": both(RATIOS), "own maps": both(RATIOS)},
        {"density": EDGES, "distance": EDGES}, ("void", "halo"),
    ),
    attribution.completeness: ({"Lite": np.array([0.0, 1e-3, 0.1])},),
    attribution.cascade: (["FC2", "seed 2"], [METHODS, METHODS], ["a", "b"]),
    attribution.agreement: (["a", "b"], [MATRIX, MATRIX], ["one", "two"]),
    attribution.transformations: (["a", "b"], [METHODS] * 2, ["x", "y"], [None, 0.5]),
    attribution.replacement: (np.array([0.0, 1.0]), CURVES, CURVES, "distance"),
    results.r2_by_cut: (rows(CUTS), SUITES, PARAMETERS),
    results.r2_against_kmax: (rows(["none", "kmax:4", "kmax:1"]), SUITES, PARAMETERS, 8.04),
    results.live_and_stored: (
        rows(["none", "kmax:4", "kmax:1"]), rows(["none", "kmax:2", "kmax:1"]), "Lite", PARAMETERS,
        ("demo", "standard"),
    ),
    results.control_pairs: ([CONTROL], PARAMETERS),
    results.transfer_matrix: (cross(), PARAMETERS),
    results.cost_against_bias: (rows(CUTS), cross(), "Nbody_Lite", ["Lite"], PARAMETERS),
    results.cosmic_variance: (VARIANCE, PARAMETERS),
    results.response: (RESPONSE, PARAMETERS),
    results.extremes: (EXTREMES, PARAMETERS),
    validation.known_answer: (CUTS, [each(0.5)] * 3, [each(0.6), each(0.6), None], PARAMETERS),
    validation.sigma_against_exact: (noise(50, 2), noise(50, 2), PARAMETERS, 0.1),
    validation.planted_r2: (["band", "mean"], [INJECTED] * 2, PARAMETERS),
    validation.planted_attribution: (["band", "mean"], {"Saliency": [estimate(0.5)] * 2},
                                     [0.1, 0], [1, 0.5]),  # fmt: skip
    validation.by_noise: ([0, 0.1, 3], NOISY, PARAMETERS, "share", {"all": 1, "under": 0.5}),
    validation.coverage: (LEVELS, COVERAGE, {}),
    validation.corner: (list(SAMPLES), SAMPLES.mean(1), SAMPLES.std(1), SAMPLES.mean(1),
                        PARAMETERS, list("abc")),
    validation.control_r2: ({"real": each(0.3), "shuffled": each(0.0)}, PARAMETERS),
}  # fmt: skip


def draw(function, *arguments, **options):
    """Draw a figure completely, by default with the arguments in `FIGURES`."""
    fig, axes = function(*(arguments or FIGURES[function]), **options)
    fig.canvas.draw()
    return fig, axes if isinstance(axes, list) else np.atleast_1d(axes)


def marked(ax):
    """Return the points (x, y) of each set of error bars in a panel."""
    return [bars[0].get_xydata() for bars in ax.containers if hasattr(bars, "has_yerr")]


def heights(ax):
    return [points[:, 1] for points in marked(ax)]


def texts(labels):
    return [label.get_text() for label in labels]


# --------------------------------------------------------------------------------------------------
# Every figure
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("function", FIGURES, ids=lambda function: function.__name__)
def test_figure_is_labelled_white_and_readable(function):
    fig, _ = draw(function)
    width, _ = fig.get_size_inches()
    assert width <= 7.2 + 1e-9  # the text column
    assert mpl.colors.to_rgb(fig.get_facecolor()) == (1, 1, 1)  # readable on a dark page
    drawn = [ax for ax in fig.findobj(mpl.axes.Axes) if ax.has_data()]
    assert drawn
    assert any(ax.get_xlabel() or ax.get_ylabel() or ax.get_title("left") for ax in drawn)
    for text in fig.findobj(mpl.text.Text):
        assert not text.get_text() or text.get_fontsize() >= 8, text


def test_every_public_figure_is_in_the_table():
    names = [info.name for info in pkgutil.iter_modules(cosmolib.plots.__path__)]
    modules = [importlib.import_module(f"cosmolib.plots.{name}") for name in names]
    public = {
        value
        for module in modules
        for name, value in vars(module).items()
        if callable(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    helpers = {value for value in vars(style).values() if callable(value)}
    assert public - helpers == set(FIGURES)


LABELS = [style.cut_label(cut) for cut in CUTS]
NAMES = {
    attribution.by_band: ("x", ["0 to 1", "1 to 2"]),
    attribution.cascade: ("x", ["FC2", "seed 2"]),
    results.r2_by_cut: ("y", LABELS),
    results.live_and_stored: ("y", ["uncut", "$k$ < 1"]),  # the cuts of both studies
    results.control_pairs: ("y", ["$k$ < 4\n$k$ < 4 (log)"]),
    results.transfer_matrix: ("y", [f"{a} → {b}" for a in SUITES for b in SUITES]),
    results.extremes: ("y", ["fiducial", r"$A_{\rm SN1}$ = 100"]),
    validation.known_answer: ("x", LABELS),
    validation.planted_r2: ("y", [f"{place}: {label}" for place in ("band", "mean")
                                  for label in ("uncut", "$k$ < 1", "$k$ ≥ 1")]),
    validation.by_noise: ("x", ["none", "0.1", "3"]),
    validation.control_r2: ("y", ["real", "shuffled"]),
}  # fmt: skip


@pytest.mark.parametrize("function", NAMES, ids=lambda function: function.__name__)
def test_rows_and_columns_are_named(function):
    axis, names = NAMES[function]
    _, axes = draw(function)
    ax = axes[-1, 0] if axes.ndim == 2 else axes[0]
    assert texts(getattr(ax, f"get_{axis}ticklabels")()) == names


# --------------------------------------------------------------------------------------------------
# Style
# --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cut", "label"),
    [
        ("none", "uncut"), ("kmax:4@log", "$k$ < 4 (log)"), ("band:2,8", "2 ≤ $k$ < 8"),
        ("below:2e11:random", r"$\Sigma$ < $2\times10^{11}$ random"),
        ("above:delta=-0.5:mean", r"$\delta$ > -0.5 set to mean"),
        ("shuffle:above:delta=3", r"shuffled $\delta$ > 3 clamped"),
        ("mask:above:1e12", r"mask of $\Sigma$ > $10^{12}$"),
        ("white=0.3:kmin:1", "white noise 0.3, $k$ ≥ 1"),
    ],
)  # fmt: skip
def test_cut_labels(cut, label):
    assert style.cut_label(cut) == label
    plt.figure().text(0, 0, label).figure.canvas.draw()


def test_one_density_norm_and_negative_pixels_are_marked():
    maps = density(2)
    maps[1, :3] = -1e11
    maps[1, 3] = 0
    _, axes = draw(cuts.cut_gallery, maps, ["none", "kmax:4"])
    images = [ax.images[0] for ax in axes[:2]]
    assert {(image.norm.vmin, image.norm.vmax) for image in images} == {style.DENSITY_RANGE}
    shown = images[1].to_rgba(images[1].get_array())
    turquoise = mpl.colors.to_rgb(style.NOT_POSITIVE)
    np.testing.assert_array_equal(np.isclose(shown[..., :3], turquoise).all(-1), maps[1] <= 0)


def test_the_proxy_is_called_a_proxy():
    _, axes = draw(data.twin_gallery)
    assert "gravity only" in axes[0, 0].get_ylabel()
    assert "proxy" in axes[1, 0].get_ylabel()


# --------------------------------------------------------------------------------------------------
# Chapters 01 to 04
# --------------------------------------------------------------------------------------------------
def test_feedback_ratio_bins_show_the_means():
    """A linear relation is drawn as such, with its true errors."""
    amplitude = np.linspace(0.25, 4, 60)
    params = np.ones((60, 6)) * amplitude[:, None] ** (np.arange(6) == 2)
    ratio = np.tile((1 - 0.2 * amplitude)[:, None], (1, MODES))
    _, (_, right) = draw(data.feedback_ratio, K, ratio, params, 5.0, SUITES)
    line, _, (bars,) = right.containers[0]
    x, y = (np.asarray(values, float) for values in line.get_data())
    np.testing.assert_allclose(y, 1 - 0.2 * x)
    first = np.diff(bars.get_segments()[0][:, 1])[0] / 2
    assert first == pytest.approx(ratio[:10, 0].std(ddof=1) / np.sqrt(10))


def test_cut_spectra_shows_removed_power_at_the_edge_of_the_axis():
    ratio = np.ones((SIMULATIONS, MODES))
    ratio[:, 5:] = 0
    _, axes = draw(cuts.cut_spectra, K, {"Fourier": {"kmax:4": ratio}})
    (line,) = [line for line in axes[0].lines if line.get_label() == "kmax:4"]
    assert 0 < line.get_ydata()[5:].min() <= line.get_ydata()[5:].max() < 1e-3


def test_learning_curves_mark_the_kept_epoch():
    _, axes = draw(training.learning_curves, history([3.0, 2.0, 1.0, 1.5, 2.5]))
    (line,) = [line for line in axes[0].get_lines() if "kept" in str(line.get_label())]
    assert line.get_xdata()[0] == 3


def test_predicted_against_true_averages_by_simulation():
    truth, mean, std, simulation = predictions()
    arguments = truth, mean, std, simulation, PARAMETERS, ["a", "b"]
    _, axes = draw(training.predicted_against_true, *arguments)
    (diamonds,) = [line for line in axes[1].get_lines() if line.get_marker() == "D"]
    means = [mean[simulation == number, 1].mean() for number in (3, 7)]
    np.testing.assert_allclose(diamonds.get_ydata(), means)


@pytest.mark.parametrize("finished", [True, False])
def test_study_figures(finished):
    values, pruned = TRIALS if finished else (TRIALS[0], np.ones(4, bool))
    fig, _ = draw(training.study_history, np.arange(4), values, pruned)
    assert ("best so far" in texts(fig.legends[0].get_texts())) == finished
    _, axes = draw(training.study_slices, SEARCHED, values, pruned, *SEARCH)
    assert [ax.get_xscale() for ax in axes] == ["log", "linear"]
    assert [ax.get_title(loc="left") for ax in axes] == ["", "optimum at the edge"]


# --------------------------------------------------------------------------------------------------
# Chapter 05
# --------------------------------------------------------------------------------------------------
def test_shared_axes_show_the_data_of_every_panel():
    """A limit set before the last curve is drawn would hide larger values."""
    small, large = noise(SIMULATIONS), 10 + noise(SIMULATIONS)
    fractions = {"a": {"x": small, "y": 2 * small}, "b": {"x": large}}
    shares = {"Omega_m": np.stack([BINS, BINS]), "sigma_8": np.stack([BINS, 9 * BINS])}
    high = {"random": np.array([0.0, 9.0])}
    for _, axes in (
        draw(cuts.fraction_against_omega_m, PARAMS[:, 0], fractions),
        draw(attribution.by_smoothing, [1, 2], shares, [HALF] * 2, SUITES),
        draw(attribution.replacement, np.array([0.0, 1.0]), CURVES, high, "distance"),
    ):
        bottom, top = axes[0].get_ylim()
        assert bottom == 0
        assert top >= max(ax.dataLim.y1 for ax in axes)


HEIGHTS = {  # panel, and values of its first series
    attribution.by_value: ((1, 1), [0.25, 0.75]),
    attribution.by_smoothing: (0, [0.5, 1.0]),  # one class
    attribution.by_band: ((1, 0), [-0.5, -1.5]),
    attribution.by_baseline: (0, [0.4, 0.2]),
    attribution.by_network: (0, [0.4, 0.2, 0.4, 0.2]),
    attribution.ratios: ((1, 2), [1.5, 0.6]),
    attribution.cascade: (1, [0.4, 0.2]),
    validation.planted_attribution: (0, [0.5, 0.5]),
}


@pytest.mark.parametrize("function", HEIGHTS, ids=lambda function: function.__name__)
def test_estimates_lie_at_their_values(function):
    panel, expected = HEIGHTS[function]
    _, axes = draw(function)
    np.testing.assert_allclose(heights(axes[panel])[0], expected)


def test_an_empty_bin_interrupts_a_line():
    table = {"per_pixel": np.vstack([BINS, BINS]), "share": np.vstack([BINS, BINS])}
    table["share"][1] = np.nan
    edges, fraction = np.geomspace(0.1, 10, 5), np.full(4, 0.25)
    _, axes = draw(attribution.by_value, edges, both({"saliency": table}), fraction, "x")
    np.testing.assert_array_equal(np.isnan(heights(axes[1, 0])[0]), [False, True, False, False])


def test_shares_of_the_pixels_and_sanity_checks():
    _, axes = draw(attribution.attribution_by_class)
    assert [bar.get_height() for bar in axes[0].patches] == [0.7, 0.3]
    _, axes = draw(attribution.agreement)
    assert texts(axes[0].texts) == ["1.00", "0.25", "0.25", "1.00"]


@pytest.mark.parametrize("key", ["r2", "difference"])
def test_r2_by_cut_accepts_gaps(key):
    table = rows(CUTS)
    table[0]["r2"]["sigma_8"] = UNKNOWN
    table[1]["baseline"] = {}
    _, axes = draw(results.r2_by_cut, table[:-1], SUITES, PARAMETERS, key=key)
    assert sum(map(len, marked(axes[0]))) == (5 + 4 if key == "r2" else 5)


@pytest.mark.parametrize("cuts", [["none", "kmax:4", "kmax:1"], ["none"], ["kmax:4"]])
def test_r2_against_kmax(cuts):
    _, axes = draw(results.r2_against_kmax, rows(cuts), SUITES, PARAMETERS, 8.04)
    assert sum(map(len, marked(axes[0]))) == 2 * sum(cut.startswith("kmax") for cut in cuts)


@pytest.mark.parametrize("scalings", [["trained"], ["trained", "tested"]])
def test_transfer_matrix_accepts_very_negative_r2(scalings):
    table = cross(scalings)
    table[0]["r2"] = each(-6000)
    fig, axes = draw(results.transfer_matrix, table, PARAMETERS)
    assert len(fig.legends[0].get_texts()) == 1 + len(scalings)
    assert axes[0, 0].get_xlim() == (-1.05, 1.05)  # keeps the other cases readable


# --------------------------------------------------------------------------------------------------
# Chapter 07
# --------------------------------------------------------------------------------------------------
def test_missing_estimates_are_left_out():
    for function, counts in ((validation.known_answer, [2, 3]), (validation.by_noise, [2, 2])):
        assert [*map(len, marked(draw(function)[1][0]))] == counts


def test_corner_regions_contain_their_share():
    _, grids = draw(validation.corner)
    regions = grids[0][1, 0].collections[0]
    assert np.all(np.diff(regions.levels) > 0)  # of density, for 95 and 68 %
    share = regions.get_paths()[1].contains_points(SAMPLES[0]).mean()
    assert share == pytest.approx(0.68, abs=0.04)
