"""The gallery: what it holds, and that it stands alone."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from cosmolib.explorer import MAX_SIDE, explorer

LIMITS = (1e10, 1e12)


def gallery(n=2, grid=8, **options):
    rng = np.random.default_rng(0)
    density = 10 ** rng.uniform(10, 12, (n, grid, grid))
    entries = {
        ("Omega m", "Saliency", "none"): rng.standard_normal((n, grid, grid)),
        ("Omega m", "Integrated Gradients", "blurred </script> map"): np.zeros((n, grid, grid)),
    }
    text = explorer(density, entries, [f"map {i}" for i in range(n)], 25.0, LIMITS, **options)
    return density, entries, text


def data_of(text):
    return json.loads(re.search(r'json">(.*?)</script>', text, flags=re.S).group(1))


def pixels(encoded, grid):
    """Back to (N, N) from 0 to 1, the first row below as in the maps."""
    return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(grid, grid)[::-1] / 255


def test_the_maps_are_in_it():
    density, entries, text = gallery()
    data = data_of(text)
    assert data["titles"] == ["map 0", "map 1"]
    for one, encoded in zip(density, data["density"], strict=True):
        np.testing.assert_allclose(10 + 2 * pixels(encoded, 8), np.log10(one), atol=0.005)
    first, second = data["entries"]
    assert second["baseline"] == "blurred </script> map"
    values = entries["Omega m", "Saliency", "none"]
    for one, encoded, scale in zip(values, first["values"], first["scales"], strict=True):
        assert scale == pytest.approx(np.quantile(np.abs(one), 0.99), rel=0.01)
        shown = scale * (2 * pixels(encoded, 8) - 1)
        np.testing.assert_allclose(shown, np.clip(one, -scale, scale), atol=0.01 * scale)
    assert set(second["scales"]) == {0.0}
    assert len(base64.b64decode(data["lut"]["values"])) == 3 * 256


def test_it_stands_alone_and_is_light():
    _, _, text = gallery(6, 256)
    assert not re.search(r"https?://|src=|href=|@import|url\(", text)
    assert "<noscript>" in text
    assert data_of(text)["grid"] == MAX_SIDE
    assert len(text) < 200_000  # three times six maps of 64 x 64
    assert "<\\/script> map" in text  # a name cannot end the script


def test_large_maps_are_averaged():
    maps = np.kron(np.arange(4).reshape(1, 2, 2) + 1.0, np.ones((64, 64))) * 1e11
    data = data_of(explorer(maps, {("a", "b", "c"): maps}, ["one"], 25.0, LIMITS))
    shown = 10 + 2 * pixels(data["density"][0], MAX_SIDE)
    corners = 10 ** shown[[0, 0, -1, -1], [0, -1, 0, -1]] / 1e11
    np.testing.assert_allclose(corners, [1, 2, 3, 4], rtol=0.03)


def test_what_does_not_fit_is_an_error():
    maps = np.ones((2, 8, 8))
    with pytest.raises(ValueError, match=r"b: found \(1, 8, 8\) attributions and 2 titles"):
        explorer(maps, {("a", "b", "c"): maps[:1]}, ["one", "two"], 25.0, LIMITS)
    with pytest.raises(ValueError, match=r"maps: found shape \(8, 8\)"):
        explorer(maps[0], {}, ["one"], 25.0, LIMITS)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to read the script")
def test_the_script_is_one(tmp_path):
    _, _, text = gallery()
    script = re.search(r"<script>\n(.*?)</script>", text, flags=re.S).group(1)
    assert "$" not in script  # no name is left to be filled in
    (tmp_path / "script.js").write_text(script)
    done = subprocess.run(
        ["node", "--check", str(tmp_path / "script.js")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
