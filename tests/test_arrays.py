"""Every public function of maps refuses invalid maps and accepts every form of valid ones."""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from test_cuts import lognormal_maps

from book.explorer import explorer
from cosmolib.cuts import apply as cuts_apply
from cosmolib.data import arrays, scaling, spectra, suites
from cosmolib.interpretation import binned, cosmic_web, sanity_checks
from cosmolib.interpretation.attribution import attribute, make_baseline
from cosmolib.plots import attribution as plots_attribution
from cosmolib.plots import cuts as plots_cuts
from cosmolib.plots import data as plots_data
from cosmolib.plots import style as plots_style
from cosmolib.plots import training as plots_training
from cosmolib.training import dataset
from cosmolib.training import fit as training_fit
from cosmolib.training.networks import build_network
from cosmolib.validation import flow_posterior, gaussian_fields, injected_signals
from lite import pack

GRID, N = 16, 3
MAPS = lognormal_maps(N, GRID)
SCALED = (scaling.fit_scaling(MAPS).apply(MAPS) * 32).round() / 32  # exact in bfloat16
BASELINE = torch.zeros(1, 1, GRID, GRID)
SIMULATIONS, TRUTH = np.arange(N), [[0.3, 0.8]] * N
PATH = {"baseline": BASELINE, "n_steps": 2}
HALF = {"baseline": BASELINE, "fractions": [0.5]}
FEW = {"baseline": BASELINE, "patch": 4, "n_samples": 2}
EDGES = np.array([0.0, 1.0, 2.0])
ALT = "a sentence that describes what the picture shows"
LOG = scaling.Scaling("log", 11.0, 0.5)
curve, infidelity = sanity_checks.replacement_curve, sanity_checks.infidelity
occlude = partial(sanity_checks.occlude, target=0, baseline=BASELINE)


@pytest.fixture(scope="module")
def network():
    return build_network("lite", GRID, 1, 0.0, 2)


def explored(values):
    methods, titles, fig = {("a", "b", "c"): values}, list("abc"), plt.figure(figsize=(1, 1))
    return explorer.attribution_explorer(MAPS, methods, titles, 25.0, (1e10, 1e13), fig, ALT)


def slid(name, values):
    """Return a function that makes an explorer of one map with a slider."""
    return one(lambda m: getattr(explorer, name)(m, values, plt.figure(figsize=(1, 1)), ALT))


def one(function):
    """Return a function that is called with the map that has the bad pixel."""

    def of_one(maps):
        if len(maps) == N:
            maps = maps[1] if np.ndim(maps) == 3 and not isinstance(maps, list) else maps[1:2]
        return function(maps)

    return of_one


def five(maps):
    """Repeat the maps to the 15 maps of a simulation."""
    return 5 * maps if isinstance(maps, list) else np.repeat(maps, 5, 0) if len(maps) == N else maps


# Functions of one argument, called with valid and with invalid maps.
DENSITIES = {
    "cuts.apply_cut": lambda m: cuts_apply.apply_cut(m, "kmax:3"),
    "cuts.apply_cut above": lambda m: cuts_apply.apply_cut(m, "above:1e12:random"),
    "cuts.cut_mask": lambda m: cuts_apply.cut_mask(m, "below:1e11"),
    "cuts.fraction_cut": lambda m: cuts_apply.fraction_cut(m, "below:1e11"),
    "cuts.positive_range": cuts_apply.positive_range,
    "embedded.encode gravity": lambda m: pack.encode(m, MAPS),
    "embedded.encode": lambda m: pack.encode(MAPS, m),
    "explorer.attribution_explorer": explored,
    "explorer.scales_explorer": slid("scales_explorer", [1.0, 2.0]),
    "explorer.densities_explorer": slid("densities_explorer", [0.0, 0.5]),
    "fields.underlying_gaussian": gaussian_fields.underlying_gaussian,
    "fields.shell_powers": gaussian_fields.shell_powers,
    "fields.exact_posterior": lambda m: gaussian_fields.exact_posterior(m, TRUTH, points=5),
    "injected.injected_pixels": lambda m: injected_signals.injected_pixels("above", m),
    "injected.injected_share": lambda m: injected_signals.injected_share("above", m, MAPS),
    "plots.density_image": one(lambda m: plots_style.density_image(plt.figure().subplots(), m)),
    "plots.twin_gallery": lambda m: plots_data.twin_gallery(m, MAPS, np.ones((N, 6)), ("a", "b")),
    "plots.scaled_pixels": lambda m: plots_data.scaled_pixels({"log": m}),
    "attribution_gallery": lambda m: plots_attribution.attribution_gallery(MAPS, {"a": m}, "abc"),
    "plots_cuts.cut_gallery": lambda m: plots_cuts.cut_gallery(m, ["none"] * N),
    "plots_results.augmented": plots_training.augmented,
    "scaling.Scaling.apply": LOG.apply,
    "scaling.Scaling.invert": scaling.Scaling("linear", 11.0, 0.5).invert,
    "scaling.fit_scaling": scaling.fit_scaling,
    "spectra.power_spectrum": spectra.power_spectrum,
    "spectra.cross_power": lambda m: spectra.cross_power(MAPS, m),
    "spectra.pixel_pdf": lambda m: spectra.pixel_pdf(m, [10, 11, 12]),
    "spectra.summary_statistics": spectra.summary_statistics,
    "suites.write_suite": lambda m: suites.write_suite(".", "Own", five(m), np.ones((1, 6))),
    "sanity.rank_correlation": lambda m: sanity_checks.rank_correlation(MAPS, m),
    "sanity.correlation": lambda m: sanity_checks.correlation(m, MAPS),
    "summaries.by_value": lambda m: binned.by_value(m, MAPS, EDGES, SIMULATIONS),
    "summaries.by_class": lambda m: binned.by_class(m, MAPS > 0, SIMULATIONS),
    "summaries.over_to_under": lambda m: binned.over_to_under(MAPS, m, SIMULATIONS),
    "summaries.region_share": lambda m: binned.region_share(m, MAPS > 0, SIMULATIONS),
    "summaries.region_sums": lambda m: binned.region_sums(m, MAPS[:1] > 0),
    "summaries.by_band": lambda m: binned.by_band(m, MAPS, EDGES, SIMULATIONS),
    "web.web_classes": cosmic_web.web_classes,
    "web.density_peaks": cosmic_web.density_peaks,
    "web.void_centres": cosmic_web.void_centres,
}
SCALED_MAPS = {
    "attribute": lambda net, m: attribute(net, m, "saliency", 0).values,
    "attribute ig": lambda net, m: attribute(net, m, "integrated_gradients", 1, **PATH).values,
    "attribute baseline": lambda net, m: attribute(net, SCALED, "gradient_shap", 1, baseline=m),
    "occlude": lambda net, m: occlude(net, m, sanity_checks.patches(GRID, 8)),
    "make_baseline": lambda net, m: make_baseline("blurred", m),
    "make_baseline training": lambda net, m: make_baseline("void", SCALED, train_x=m),
    "inputs.network_inputs": lambda net, m: dataset.network_inputs(m),
    "posteriors.network_features": flow_posterior.network_features,
    "moved_attributions": lambda net, m: sanity_checks.moved_attributions(net, m, "saliency", 0),
    "replacement_curve": lambda net, m: curve(net, m, MAPS, 0, **HALF),
    "replacement_curve order": lambda net, m: curve(net, SCALED, m, 0, **HALF),
    "infidelity": lambda net, m: infidelity(net, m, SCALED, "saliency", 0, **FEW),
    "infidelity values": lambda net, m: infidelity(net, SCALED, m, "saliency", 0, **FEW),
    "sensitivity": lambda net, m: sanity_checks.sensitivity(net, m, "saliency", 0, draws=1),
    "training.run_network": lambda net, m: training_fit.run_network(net, m)[0],
}  # fmt: skip
HIGH = MAPS > 1e11
FLAGS = {  # functions of booleans or integers, with valid values
    "web.distance_to": (cosmic_web.distance_to, HIGH),
    "occlude": (lambda r: occlude(build_network("lite", GRID, 1, 0.0, 2), SCALED, r), 1 * HIGH),
    "by_class": (lambda r: binned.by_class(MAPS, r, SIMULATIONS), HIGH.astype(np.uint8)),
    "region_share": (lambda r: binned.region_share(MAPS, r, SIMULATIONS), HIGH),
    "region_sums": (lambda r: binned.region_sums(MAPS, r), HIGH),
}


def spoilt(value):
    def spoil(maps):
        maps = maps.copy()
        maps[1, 2, 3] = value
        return maps

    return spoil


def masked(maps):
    return np.ma.masked_greater(maps, maps.flat[0])


PIXEL = r"in map [015], pixel \(2, 3\)"  # the index depends on the function
BAD = {
    "NaN": (spoilt(np.nan), f"found nan {PIXEL}, expected finite"),
    "a mask": (masked, "found a masked array"),
    "a list of masked maps": (lambda m: list(masked(m)), "found a masked array"),
    "complex numbers": (lambda m: m.astype(complex), "found complex128"),
    "objects": (lambda m: m.astype(object), "found object"),
    "integers": (lambda m: m.astype(np.int64), "found int64"),
}
SHAPES = {
    "oblong maps": (lambda m: m[..., :-1], r"found shape \(.*, 15\)"),
    "one axis": (lambda m: m.ravel(), r"found shape \(768,\)"),
    "two channels": (lambda m: np.stack([m, m], 1), r"found shape \(\d+, 2, 16, 16\)"),
    "no map": (lambda m: m[:0], r"found shape \(0, 16, 16\)"),
    "maps of different shapes": (lambda m: [m[0], m[1, :8]], "found arrays of different shapes"),
}
ANY_SHAPE = {  # pixels in any arrangement
    "plots.scaled_pixels", "scaling.Scaling.invert", "sanity.rank_correlation",
    "sanity.correlation",
}  # fmt: skip


@pytest.mark.parametrize("name", [*DENSITIES, *SCALED_MAPS])
def test_invalid_maps_are_refused(name, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    function = DENSITIES.get(name) or partial(SCALED_MAPS[name], network)
    maps = MAPS if name in DENSITIES else SCALED
    function(maps)  # valid maps are accepted
    for spoil, reason in (BAD if name in ANY_SHAPE else BAD | SHAPES).values():
        plt.close("all")
        spoilt_maps = spoil(maps)
        with pytest.raises(ValueError, match=rf"\A\w.*: {reason}.*\Z"):
            function(spoilt_maps)
    plt.close("all")


@pytest.mark.parametrize("name", FLAGS)
def test_invalid_flags_are_refused(name):
    function, good = FLAGS[name]
    function(good)
    for spoil, found in (
        (masked, "masked array"),
        (lambda r: np.where(r, np.nan, 0), "found float64, expected"),
        (lambda r: r[..., :-1], "found shape"),
    ):
        with pytest.raises(ValueError, match=found):
            function(spoil(good))


def test_a_quantity_may_be_infinite_but_not_nan():
    quantity = np.where(MAPS > 1e11, np.inf, 0.5)
    found = binned.by_value(MAPS, quantity, EDGES, SIMULATIONS)
    assert found["fraction"][0] == pytest.approx((MAPS <= 1e11).mean())
    quantity[2, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"quantity: found nan in map 2, pixel \(0, 1\)"):
        binned.by_value(MAPS, quantity, EDGES, SIMULATIONS)


# ---------------------------------------------------------------------------- forms of valid maps
def on_disk(maps):
    """Return maps as those of a suite under a cut, whose pixels may be negative."""
    place = Path("maps.npy"), Path("params.txt")
    suite = suites.Suite("Lite", "Mtot", "LH", maps, None, 25.0, *place, cut="kmax:4")
    return dataset.MapsOnDisk(suite, np.arange(N), "none")


FORMS = {
    **{kind: partial(np.asarray, dtype=kind) for kind in ("float64", "float16", ">f4")},
    "read-only": lambda m: np.frombuffer(m.tobytes(), np.float32).reshape(m.shape),
    "reversed": lambda m: m[::-1].copy()[::-1],
    "list": list,
    "channel": lambda m: m[:, None],
    "tensor with a gradient": lambda m: torch.from_numpy(m).requires_grad_(),
    "bfloat16 tensor": lambda m: torch.from_numpy(m).bfloat16(),
    "disk": on_disk,
}
SAME = {  # function of scaled maps: the same numbers of every form
    "cross_power": lambda net, m: spectra.cross_power(m, m)[1],
    "apply_cut": lambda net, m: cuts_apply.apply_cut(m, "above:0.3:clamp").reshape(N, GRID, GRID),
    "fraction_cut": lambda net, m: cuts_apply.fraction_cut(m, "above:10"),
    "web_classes": lambda net, m: cosmic_web.web_classes(1 + 0 * arrays.checked_maps(m)[0]),
    **{name: SCALED_MAPS[name] for name in (
        "attribute", "attribute ig", "occlude", "make_baseline", "make_baseline training",
        "posteriors.network_features", "training.run_network", "replacement_curve", "infidelity",
    )},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SAME)
def test_every_form_of_maps_gives_the_same(name, form, network):
    expected, found = (np.asarray(SAME[name](network, m)) for m in (SCALED, FORMS[form](SCALED)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("shape", [(GRID, GRID), (N, GRID, GRID), (N, 1, GRID, GRID)])
def test_results_have_the_shape_of_the_maps(shape):
    maps = np.resize(MAPS, shape)
    per_map = shape[:-2][:1]
    assert cuts_apply.apply_cut(maps, "kmax:3").shape == shape
    assert cuts_apply.apply_cut(maps, "white=0.3:above:1e12").shape == shape
    assert cuts_apply.cut_mask(maps, "above:1e12").shape == shape
    assert cosmic_web.web_classes(maps).shape == cosmic_web.void_centres(maps).shape == shape
    assert scaling.fit_scaling(maps).apply(maps).shape == shape
    assert np.shape(cuts_apply.fraction_cut(maps, "above:1e12")) == per_map
    assert spectra.power_spectrum(maps)[1].shape[:-1] == per_map
    assert spectra.pixel_pdf(maps, [10, 11, 12]).shape == (*per_map, 2)
