"""Test that interactive figures show the results of the package and need no other file."""

import base64
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from book.explorer import explorer as made
from cosmolib.cuts.apply import apply_cut, cut_mask
from cosmolib.data.spectra import power_spectrum
from cosmolib.plots.style import DENSITY_RANGE

LIMITS = (1e10, 1e12)
ALT = "Words of forty characters or more for readers who cannot see it"


def explorer(*arguments, alt=ALT):
    return made.attribution_explorer(*arguments, still=plt.figure(), alt=alt)


def some_map(grid=32):
    rng = np.random.default_rng(1)
    return (10 ** rng.normal(11.2, 0.4, (grid, grid))).astype(np.float32)


def gallery(n=2, grid=8):
    rng = np.random.default_rng(0)
    density = 10 ** rng.uniform(10, 12, (n, grid, grid))
    entries = {
        ("Omega m", "Saliency", "none"): rng.standard_normal((n, grid, grid)),
        ("Omega m", "Integrated Gradients", "blurred </script> map"): np.zeros((n, grid, grid)),
    }
    text = explorer(density, entries, [f"map {i}" for i in range(n)], 25.0, LIMITS)
    return density, entries, text


def data_of(text):
    return json.loads(re.search(r'json">(.*?)</script>', text, flags=re.S).group(1))


def levels_of(encoded, grid):
    """Decode bytes (N, N), with the first row at the bottom as in the maps."""
    return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(grid, grid)[::-1]


def test_the_gallery_contains_the_maps():
    density, entries, text = gallery()
    data = data_of(text)
    assert data["titles"] == ["map 0", "map 1"]
    for one, encoded in zip(density, data["density"], strict=True):
        np.testing.assert_allclose(10 + levels_of(encoded, 8) / 127.5, np.log10(one), atol=0.005)
    first, second = data["entries"]
    assert second["baseline"] == "blurred </script> map"
    values = entries["Omega m", "Saliency", "none"]
    for one, encoded, scale in zip(values, first["values"], first["scales"], strict=True):
        assert scale == pytest.approx(np.quantile(np.abs(one), 0.99), rel=0.01)
        shown = scale * (levels_of(encoded, 8) / 127.5 - 1)
        np.testing.assert_allclose(shown, np.clip(one, -scale, scale), atol=0.01 * scale)
    assert set(second["scales"]) == {0.0}
    assert len(base64.b64decode(data["lut"]["values"])) == 3 * 256


def test_it_is_self_contained_and_small():
    _, _, text = gallery(6, 256)
    # The name of the SVG standard is not fetched.
    bare = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|src=\"(?!data:)|href=|@import|url\(", bare)
    assert f'alt="{ALT}"' in text
    assert data_of(text)["grid"] == made.MAX_SIDE
    assert len(text) < 300_000  # holds 18 maps of 64 x 64
    assert "<\\/script> map" in text  # a label cannot end the script


def test_large_maps_are_averaged():
    maps = np.kron(np.arange(4).reshape(1, 2, 2) + 1.0, np.ones((64, 64))) * 1e11
    data = data_of(explorer(maps, {("a", "b", "c"): maps}, ["one"], 25.0, LIMITS))
    shown = 10 + levels_of(data["density"][0], made.MAX_SIDE) / 127.5
    corners = 10 ** shown[[0, 0, -1, -1], [0, -1, 0, -1]] / 1e11
    np.testing.assert_allclose(corners, [1, 2, 3, 4], rtol=0.03)


def test_bad_input_is_an_error():
    maps = np.ones((2, 8, 8))
    with pytest.raises(ValueError, match=r"b: attributions of shape \(1, 8, 8\) and 2 titles"):
        explorer(maps, {("a", "b", "c"): maps[:1]}, ["one", "two"], 25.0, LIMITS)
    with pytest.raises(ValueError, match="'map' has fewer than 40 characters"):
        explorer(maps, {("a", "b", "c"): maps}, ["one", "two"], 25.0, LIMITS, alt="map")


def test_every_position_of_the_slider_is_a_cut():
    density, edges = some_map(), [0.7, 2.0, 5.5]
    data = data_of(made.scales_explorer(density, edges, plt.figure(), ALT))
    k, before = power_spectrum(density)
    np.testing.assert_allclose(data["spectrum"]["k"], k, rtol=1e-3)
    np.testing.assert_allclose(data["spectrum"]["before"], before.ravel(), rtol=1e-3)
    for i, edge in enumerate(edges):
        cut = apply_cut(density, f"kmax:{edge}")
        after = power_spectrum(cut)[1].ravel()
        np.testing.assert_allclose(data["spectrum"]["after"][i], after, rtol=1e-3, atol=1e-12)
        levels = levels_of(data["frames"][i], 32)
        np.testing.assert_array_equal(levels == 255, cut <= 0)
        low, high = np.log10(DENSITY_RANGE)
        shown = low + (high - low) * levels / 254
        inside = (cut > DENSITY_RANGE[0]) & (cut < DENSITY_RANGE[1])
        np.testing.assert_allclose(shown[inside], np.log10(cut[inside]), atol=0.01)
        share = cut.var(dtype=float) / density.var(dtype=float)
        assert f"below {edge:.3g} h/Mpc: {share:.1%}" in data["texts"][i]


def test_the_threshold_selects_the_pixels_of_the_cut():
    density, edges = some_map(), np.arange(-0.6, 0.9, 0.1)
    data = data_of(made.densities_explorer(density, edges, plt.figure(), ALT))
    passed = levels_of(data["passed"], 32)
    assert sum(data["pdf"]) <= density.size
    above, below = data["sides"]
    for step in range(len(edges)):
        mask = cut_mask(density, above["names"][step])
        np.testing.assert_array_equal(passed > step, mask)  # as the script draws it
        np.testing.assert_array_equal(passed <= step, cut_mask(density, below["names"][step]))
        mass = density[mask].sum(dtype=float) / density.sum(dtype=float)
        assert f"{mask.mean():.1%} of the pixels and {mass:.1%} of the mass" in above["texts"][step]
        # The filled bars contain the pixels beyond the threshold, within the chart.
        beyond = (density / density.mean(dtype=float) < 10 ** data["edges"][-1]) & mask
        assert abs(sum(data["pdf"][step:]) - beyond.sum()) <= 2  # because edges are rounded


def test_the_scores_are_those_of_the_table():
    whole, partial = ({"value": 0.51234, "low": 0.4, "high": high} for high in (0.6, None))
    rows = [{"suite": "Lite", "cut": "none", "r2": {"a": whole, "b": partial, "c": None}}]
    data = data_of(
        made.scores_explorer(rows, list("abc"), {"r2": "R2"}, str.upper, plt.figure(), ALT)
    )
    scores = {"a": [0.5123, 0.4, 0.6], "b": [0.5123]}
    assert data["rows"] == [{"suite": "LITE", "cut": "none", "r2": scores}]
