"""Test web classes, peaks, voids and distances on fields where they are known."""

import numpy as np
from test_cuts import lognormal_maps

from cosmolib.interpretation import cosmic_web

# ---------------------------------------------------------------- web classes


def separation(grid, y, x):
    """Return the distance of each pixel of a periodic map to one of them [pixels]."""
    i = np.arange(grid)
    dy, dx = (np.roll(np.minimum(i, grid - i), place) for place in (y, x))
    return np.hypot(dy[:, None], dx)


def blob(grid, y, x, width):
    return np.exp(-0.5 * (separation(grid, y, x) / width) ** 2)


def test_a_clump_is_a_halo_a_ridge_a_filament_and_the_rest_void():
    ridge = np.zeros((64, 64))
    ridge[:, 16] = 1
    maps = 0.1 + ridge + 30 * blob(64, 32, 48, 1)
    classes = cosmic_web.web_classes(maps, smoothing=0.5)
    assert classes.dtype == np.uint8
    assert classes[32, 48] == 2
    assert (classes[:, 16] == 1).all()
    assert (classes[:10, 28:36] == 0).all()
    assert (cosmic_web.web_classes(maps.T, smoothing=0.5) == classes.T).all()
    moved = cosmic_web.web_classes(np.roll(maps, (5, 40), (0, 1)))
    assert (moved == np.roll(classes, (5, 40), (0, 1))).all()
    assert (cosmic_web.web_classes(np.ones((2, 16, 16), np.float32)) == 0).all()


def test_eigenvalues_add_up_to_the_smoothed_overdensity():
    # Both eigenvalues exceed t only if delta > 2 t, and neither does only if delta <= 2 t.
    maps = lognormal_maps(3, 33).astype(np.float64)
    delta = maps / maps.mean(axis=(1, 2), keepdims=True) - 1
    k = 2 * np.pi * np.hypot(np.fft.fftfreq(33, 25 / 33)[:, None], np.fft.rfftfreq(33, 25 / 33))
    smooth = np.fft.irfft2(np.fft.rfft2(delta) * np.exp(-0.5 * (k * 0.7) ** 2), s=(33, 33))
    for threshold in (0.0, 0.3):
        classes = cosmic_web.web_classes(maps, smoothing=0.7, threshold=threshold)
        assert smooth[classes == 2].min() > 2 * threshold
        assert smooth[classes == 0].max() <= 2 * threshold
    assert (cosmic_web.web_classes(maps, smoothing=0.7, threshold=1e3) == 0).all()


def test_a_diagonal_ridge_is_a_filament():
    # Its two second derivatives are equal; only the mixed one distinguishes it from a halo.
    for grid in (32, 33):
        classes = cosmic_web.web_classes(0.1 + np.eye(grid), smoothing=0.8)
        assert (np.diag(classes) == 1).all()
        assert (np.diag(np.roll(classes, grid // 2, axis=1)) == 0).all()


# ---------------------------------------------------------------- peaks, voids, distances


def test_peaks_are_where_the_clumps_are():
    heights = {(5, 40): 40, (30, 2): 60, (50, 63): 50}
    maps = 1 + sum(a * blob(64, y, x, 1.5) for (y, x), a in heights.items())
    peaks = cosmic_web.density_peaks(maps, smoothing=0.5, minimum=2.0)
    assert set(map(tuple, np.argwhere(peaks).tolist())) == set(heights)
    assert not cosmic_web.density_peaks(maps, smoothing=0.5, minimum=1e3).any()
    twice = cosmic_web.density_peaks(np.stack([maps, np.roll(maps, (9, 20), (0, 1))]))
    assert (twice[1] == np.roll(twice[0], (9, 20), (0, 1))).all()
    assert not cosmic_web.density_peaks(np.ones((8, 8)), minimum=-1).any()  # constant: no peak


def test_voids_are_the_holes_with_their_radii():
    maps = np.ones((64, 64))
    for place, radius in (((20, 20), 4.0), ((60, 50), 2.0)):
        maps[separation(64, *place) * 25 / 64 <= radius] = 0.02
    found = cosmic_web.void_centres(maps, radii=(4.0, 3.0, 2.0, 1.0), threshold=-0.9)
    assert (found[20, 20], found[60, 50], (found >= 2).sum()) == (4.0, 2.0, 2)
    assert not cosmic_web.void_centres(np.ones((16, 16))).any()


def test_voids_do_not_overlap_and_are_empty():
    maps = lognormal_maps(2, 64)
    found = cosmic_web.void_centres(maps)
    for one, radii in zip(maps, found, strict=True):
        places = np.argwhere(radii)
        assert len(places) > 3
        for y, x in places:
            disc = separation(64, y, x) * 25 / 64
            assert (one / one.mean() - 1)[disc <= radii[y, x]].mean() < -0.5 + 1e-6
            for v, u in places:
                if (v, u) != (y, x):
                    assert disc[v, u] >= radii[y, x] + radii[v, u] - 1e-5
    assert set(np.unique(found)) <= {0.0, *cosmic_web.VOID_RADII}
    assert np.array_equal(cosmic_web.void_centres(maps[1]), found[1])


def test_distance_is_periodic():
    places = np.zeros((2, 16, 16), bool)
    places[0, 1, 15] = True
    distance = cosmic_web.distance_to(places, box_size=8.0)
    np.testing.assert_allclose(distance[0], 0.5 * separation(16, 1, 15))
    assert np.isinf(distance[1]).all()
