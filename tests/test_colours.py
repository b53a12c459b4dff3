"""Test that neighbouring colours of figures differ for every kind of colour vision."""

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from book.explorer import explorer
from cosmolib.plots import cuts, style

# Machado, Oliveira & Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1, on linear RGB.
VISION = {
    "usual": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
SEEN = 10  # in CIELAB, where a difference of about 2 is just visible


def lab(rgb, vision):
    """Convert sRGB colours (n, 3) to CIELAB (D65) as seen with a kind of colour vision."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(VISION[vision]), 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    a, b = 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    return np.stack([116 * f[:, 1] - 16, a, b], axis=1)


def closest(colours, vision):
    """Return the smallest difference between any two colours."""
    seen = lab([to_rgb(colour) for colour in colours], vision)
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


STYLE = Path(style.__file__).with_name("book.mplstyle")
CYCLE = mpl.rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"].by_key()
PALETTES = {
    "suites": CYCLE["color"][:5:2], "methods": CYCLE["color"][:3], "explorer": explorer.SERIES,
    "parts": list(style.PART_COLOURS.values()), "cuts": cuts.CUT_COLOURS,
    "groups": style.ORDERED_COLOURS, "signs": mpl.colormaps["RdBu_r"]([0.1, 0.5, 0.9]),
}  # fmt: skip


@pytest.mark.parametrize("vision", VISION)
def test_colours_side_by_side_can_be_told_apart(vision):
    found = {name: closest(colours, vision) for name, colours in PALETTES.items()}
    assert {name: value for name, value in found.items() if value <= SEEN} == {}


@pytest.mark.parametrize("vision", VISION)
def test_density_colours_get_lighter_and_differ_from_negative_pixels(vision):
    densities = lab(mpl.colormaps["inferno"](np.linspace(0, 1, 64))[:, :3], vision)
    assert np.all(np.diff(densities[:, 0]) > 0)
    (mark,) = lab([to_rgb(style.NOT_POSITIVE)], vision)
    assert np.linalg.norm(densities - mark, axis=1).min() > SEEN
