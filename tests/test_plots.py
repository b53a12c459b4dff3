"""Figures: right numbers at the right place, readable defaults, and nothing that is left open."""

import matplotlib as mpl

mpl.use("agg")  # before pyplot: the tests need no screen

import matplotlib.pyplot as plt
import numpy as np
import pytest

from cosmolib.plots import cuts as plots_cuts
from cosmolib.plots import style as plots_style

RNG = np.random.default_rng(5)
SIMULATIONS, GRID, MODES = 12, 16, 8
K = np.geomspace(0.25, 8, MODES)
PARAMS = np.column_stack([np.linspace(0.1, 0.5, SIMULATIONS), RNG.uniform(0.25, 1, (12, 5))])


@pytest.fixture(autouse=True)
def style():
    """Every test draws in the book's style and closes what it drew."""
    with plt.style.context("default"):
        plots_style.use_style()
        yield
    plt.close("all")


def density(n=4):
    return 10 ** RNG.normal(11.2, 0.4, (n, GRID, GRID))


def parts():
    return {"train": np.arange(9), "valid": np.array([9]), "test": np.array([10, 11])}


def noise(*shape):
    return RNG.uniform(0.5, 1.5, shape)


ENTRY = {
    "omega_m": 0.3,
    "sigma_8": 0.8,
    "k": K,
    "measured": K**-2,
    "linear": K**-3,
    "hmcode": K**-2,
}
BOXES = {"k": K, "measured_over_hmcode": {"q16": noise(MODES), "q84": noise(MODES)}}
FIGURES = {
    "parameter_space": lambda: plots_style.parameter_space(PARAMS, parts()),
    "twin_gallery": lambda: plots_style.twin_gallery(
        density(), density(), list("abcd"), ("Nbody_Lite", "Lite")
    ),
    "mean_density": lambda: plots_style.mean_density(
        PARAMS[:, 0], noise(SIMULATIONS, 15), noise(SIMULATIONS, 3), "Lite"
    ),
    "by_cosmology": lambda: plots_style.by_cosmology(
        np.linspace(10, 13, 5), noise(SIMULATIONS, 5), K, noise(SIMULATIONS, MODES), PARAMS
    ),
    "power_3d": lambda: plots_style.power_3d([ENTRY, ENTRY], BOXES),
    "feedback_ratio": lambda: plots_style.feedback_ratio(
        K, noise(SIMULATIONS, MODES), PARAMS, 5.0, ("Lite", "Nbody_Lite")
    ),
    "lattice_check": lambda: plots_style.lattice_check(
        {name: {"Omega_m": (0.7, 0.6, 0.8), "sigma_8": (0.5, 0.4, 0.6)} for name in "ab"}
    ),
    "scaled_pixels": lambda: plots_style.scaled_pixels({"log": noise(99), "linear": noise(9, 9)}),
    "cut_gallery": lambda: plots_cuts.cut_gallery(density(5), ["none", "mask:above:1e12", *"xyz"]),
    "cut_spectra": lambda: plots_cuts.cut_spectra(
        K, {"Fourier": {"kmax:4": noise(SIMULATIONS, MODES)}}
    ),
    "cut_pdfs": lambda: plots_cuts.cut_pdfs(K, noise(MODES), {"density": {"above": noise(MODES)}}),
    "fraction_against_omega_m": lambda: plots_cuts.fraction_against_omega_m(
        PARAMS[:, 0], {"surface density": {"above:1e12": noise(SIMULATIONS)}}
    ),
    "negative_fraction": lambda: plots_cuts.negative_fraction(
        K, {"Lite": noise(SIMULATIONS, MODES)}, 11.4, ("CMD", K, noise(MODES))
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_labelled_and_white(name, tmp_path):
    fig, axes = FIGURES[name]()
    fig.savefig(tmp_path / "figure.png")
    width, _ = fig.get_size_inches()
    assert width == pytest.approx(7.2)  # the text column
    assert mpl.colors.to_rgb(fig.get_facecolor()) == (1, 1, 1)  # readable on a dark page
    drawn = [ax for ax in np.atleast_1d(axes).flat if ax.has_data()]
    assert drawn
    for ax in drawn:
        text = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
        sizes = [item.get_fontsize() for item in text if item.get_text()]
        assert all(size >= 8 for size in sizes)
    labelled = [ax.get_xlabel() or ax.get_ylabel() or ax.get_title("left") for ax in drawn]
    assert any(labelled)


def test_every_public_figure_is_tested():
    helpers = {"use_style", "suite_label", "quantile_groups", "ordered_colours", "density_image"}
    helpers |= {"scale_bar", "band", "log_ticks"}
    public = {
        name
        for module in (plots_style, plots_cuts)
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
    }
    assert {name for name in public if not name.startswith("_")} - helpers == set(FIGURES)


def test_one_density_norm_and_negative_pixels_are_marked():
    maps = density(2)
    maps[1, :3] = -1e11
    maps[1, 3] = 0
    _, axes = plots_cuts.cut_gallery(maps, ["none", "kmax:4"], columns=2)
    images = [ax.images[0] for ax in axes.flat]
    for image in images:
        assert (image.norm.vmin, image.norm.vmax) == plots_style.DENSITY_RANGE
    shown = images[1].to_rgba(images[1].get_array())
    marked = np.all(
        np.isclose(shown[..., :3], mpl.colors.to_rgb(plots_style.NOT_POSITIVE)), axis=-1
    )
    np.testing.assert_array_equal(marked, maps[1] <= 0)


def test_quantile_groups_are_ordered_and_complete():
    values = RNG.normal(size=50)
    groups = plots_style.quantile_groups(values, 4)
    assert sorted(np.concatenate(groups)) == list(range(50))
    for low, high in zip(groups, groups[1:], strict=False):
        assert values[low].max() <= values[high].min()
    assert len(plots_style.quantile_groups(values[:2], 6)) == 2  # no empty group


def test_feedback_ratio_bins_show_the_means():
    """A ratio that falls linearly with the amplitude must be drawn so, with its true errors."""
    amplitude = np.linspace(0.25, 4, 60)
    params = np.ones((60, 6)) * amplitude[:, None] ** (np.arange(6) == 2)
    ratio = np.tile((1 - 0.2 * amplitude)[:, None], (1, MODES))
    _, (_, right) = plots_style.feedback_ratio(
        K, ratio, params, 5.0, ("Lite", "Nbody_Lite"), n_bins=6
    )
    line, _, (bars,) = right.containers[0]
    x, y = (np.asarray(values, float) for values in line.get_data())
    np.testing.assert_allclose(y, 1 - 0.2 * x)
    first = np.diff(bars.get_segments()[0][:, 1])[0] / 2
    assert first == pytest.approx(ratio[:10, 0].std(ddof=1) / np.sqrt(10))
    assert f"{K[np.argmin(abs(K - 5))]:.1f}" in right.get_ylabel()


def test_cut_spectra_shows_removed_power_at_the_edge_not_as_a_gap():
    ratio = np.ones((SIMULATIONS, MODES))
    ratio[:, 5:] = 0
    _, axes = plots_cuts.cut_spectra(K, {"Fourier": {"kmax:4": ratio}}, limits=(1e-3, 1e3))
    line = next(line for line in axes[0].lines if line.get_label() == "kmax:4")
    assert np.all(line.get_ydata() > 0)
    assert np.all(line.get_ydata()[5:] < 1e-3)


def test_the_proxy_is_called_a_proxy():
    assert "proxy" in plots_style.suite_label("Lite")
    assert "proxy" not in plots_style.suite_label("IllustrisTNG")
    assert "gravity only" in plots_style.suite_label("Nbody_Lite")
    _, axes = plots_style.twin_gallery(density(1), density(1), ["a"], ("Nbody_Lite", "Lite"))
    assert "proxy" in axes[1, 0].get_ylabel()
