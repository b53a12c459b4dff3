"""Cuts: grammar, Fourier cuts compared with Pylians, density cuts, controls, noise and means."""

import math

import numpy as np
import pytest

from cosmolib.cuts.apply import apply_cut, cut_mask, fraction_cut, positive_range
from cosmolib.cuts.grammar import Cut
from cosmolib.cuts.noise import REFERENCE_DENSITY
from cosmolib.data import arrays
from cosmolib.data.cmd_format import mean_surface_density
from cosmolib.study.profile import load_profile
from cosmolib.training.dataset import prepare_data

FUNDAMENTAL = 2 * np.pi / 25.0  # [h/Mpc]
DENSITY = [
    "above:1e12", "below:1e11:random", "above:delta=1:mean", "mask:below:1e11",
    "maskmean:above:delta=0", "moved:above:delta=0", "nologmean:below:1e11",
    "shuffle:above:1e12:random", "shuffle:below:delta=-0.5",
]  # fmt: skip
FOURIER = ["kmax:1.5", "kmin:1", "band:1,2", "kmax:1.5@log", "kmin:1@log", "kmax:1.5@delta"]


def lognormal_maps(n, grid, seed=0, dtype=np.float32):
    """Return smooth log-normal maps with the mean and width of log10 Mtot, (n, N, N)."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(grid)[:, None], np.fft.rfftfreq(grid)) * grid
    modes = np.fft.rfft2(rng.normal(size=(n, grid, grid))) / (1 + k) ** 1.2
    field = np.fft.irfft2(modes, s=(grid, grid))
    field *= 0.45 / field.std(axis=(1, 2), keepdims=True)
    return (10 ** (11.1 + field)).astype(dtype)


@pytest.fixture(scope="module")
def maps():
    return lognormal_maps(6, 32)


# ---------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("none", "none"), ("kmax:10", "kmax:10"), ("kmax:1e1@linear", "kmax:10"),
        ("kmin:2@log", "kmin:2@log"), ("band:2.50,8@delta", "band:2.5,8@delta"),
        ("above:1e12", "above:1e12:clamp"), ("above:1000000000000", "above:1e12:clamp"),
        ("below:1e11:random", "below:1e11:random"),
        ("below:delta=-0.5:random", "below:delta=-0.5:random"),
        ("mask:above:1e12", "mask:above:1e12"), ("shuffle:above:1e12", "shuffle:above:1e12:clamp"),
        ("shuffle:below:delta=-.5:mean", "shuffle:below:delta=-0.5:mean"),
        ("white=0.30:none", "white=0.3:none"),
        ("shot=1e1:above:delta=0", "shot=10:above:delta=0:clamp"),
        ("nomean:kmax:4@log", "nomean:kmax:4@log"),
        ("nomean:white=0:mask:above:1e12", "nomean:white=0:mask:above:1e12"),
    ],
)  # fmt: skip
def test_canonical_name(text, canonical):
    cut = Cut.parse(text)
    assert str(cut) == canonical
    assert Cut.parse(canonical) == cut
    assert Cut.parse(cut) is cut


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("KMAX:3", "unknown part 'KMAX'"), ("none:1", "takes 0 number"), ("kmax", "takes 1 number"),
        ("kmax:1_0", "unknown part '1_0'"), ("kmax:1e999", "must be finite"),
        ("kmax:0", "0 <= kmin < kmax"), ("kmin:-1", "0 <= kmin < kmax"),
        ("band:2,3,4", "takes 2 number"), ("band:8,2", "0 <= kmin < kmax"),
        ("kmax:3:clamp", "only a density cut has a fill"),
        ("above:0", "positive"), ("above:delta=-1", "above delta=-1"),
        ("above:1e12:zero", "unknown part 'zero'"),
        ("above:1e12@log", "only a Fourier cut has a field"),
        ("mask:kmax:3", "another order"), ("maskmean:above:1e12:mean", "a mask has no fill"),
        ("left:1", "unknown cut 'left'"), ("white=1:nomean:none", "another order"),
        ("nomean=2:none", "unknown part"), ("white=1e999:none", "must be finite"),
        ("white=-1:none", "0 or more"), ("shot=0:none", "are positive"),
    ],
)  # fmt: skip
def test_an_invalid_string_is_quoted_with_the_grammar(text, reason):
    with pytest.raises(ValueError, match="cannot read cut") as caught:
        Cut.parse(text)
    for part in (repr(text), reason, "allowed: none; kmax:K"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="a cut is a string"):
        Cut.parse(10)


# ---------------------------------------------------------------- every cut


@pytest.mark.parametrize("cut", ["none", *DENSITY, *FOURIER])
def test_layout_in_memory_and_blocks_do_not_matter(maps, cut, monkeypatch):
    expected = apply_cut(maps, cut)
    assert np.array_equal(expected, maps) == (cut == "none")
    mask = None if Cut.parse(cut).is_fourier else cut_mask(maps, cut)
    given = {"value_range": positive_range(maps)}
    assert np.array_equal(apply_cut(maps[0], cut, **given), expected[0])
    read_only = np.frombuffer(maps.tobytes(), maps.dtype).reshape(maps.shape)  # like a memory map
    others = np.asfortranarray(maps), maps[::-1].copy()[::-1], maps.astype(">f4"), read_only
    for other in (*others, maps.astype(np.float64)):
        out = apply_cut(other, cut)
        assert (type(out), out.shape, out.dtype) == (np.ndarray, maps.shape, other.dtype)
        assert out.dtype == np.float64 or np.array_equal(out, expected)
        np.testing.assert_allclose(out, expected, rtol=1e-3)
        assert out.flags.writeable
        assert out.flags.c_contiguous
        assert not np.shares_memory(out, other)
    for pixels in (32 * 32 * 4, 1):  # 6 maps: a block of 4, one of 2; less than a map
        monkeypatch.setattr(arrays, "BLOCK_PIXELS", pixels)
        assert np.array_equal(apply_cut(maps, cut), expected)
        assert mask is None or np.array_equal(cut_mask(maps, cut), mask)


# ---------------------------------------------------------------- Fourier cuts


@pytest.mark.parametrize("grid", [15, 16, 64])
@pytest.mark.parametrize(
    "cut", ["kmax:1", "kmax:4", "kmin:2", "kmin:0.3", "band:1,3", "kmax:90", "kmax:3@log",
            "kmin:2@log", "kmax:3@delta", "band:1,3@delta"],
)  # fmt: skip
def test_torch_and_the_pylians_backend_agree_with_pylians(cut, grid):
    """For the overdensity as for the density: the filter is linear and keeps the mean."""
    smoothing_library = pytest.importorskip("smoothing_library")
    maps = lognormal_maps(4, grid, seed=grid)
    field = np.log10 if "log" in cut else np.asarray
    kmin, kmax = Cut.parse(cut).k_range
    window = smoothing_library.FT_filter_2D(25.0, 0.0, grid, "Top-Hat-k", 1, kmin, min(kmax, 1e3))
    published = [smoothing_library.field_smoothing_2D(one, window, 1) for one in field(maps)]
    for backend in ("torch", "pylians"):
        error = field(apply_cut(maps, cut, backend=backend)) - published
        assert (abs(error) < 2e-5 * field(maps).std(axis=(1, 2), keepdims=True)).all()


def plane_wave(grid, i, j, dtype=np.float64):
    x = 2 * np.pi * np.arange(grid) / grid
    return np.cos(i * x[:, None] + j * x).astype(dtype)


@pytest.mark.parametrize("grid", [15, 16])
@pytest.mark.parametrize("mode", [(1, 0), (0, 3), (2, -2), (3, 4)])
def test_a_plane_wave_is_kept_or_removed(grid, mode):
    wave = 5 + plane_wave(grid, *mode)
    k = FUNDAMENTAL * math.hypot(*mode)
    mean = np.full_like(wave, 5)
    below, beyond = 0.99 * k, 1.01 * k
    for cut, expected in [
        (f"kmax:{beyond}", wave), (f"kmax:{below}", mean), (f"kmin:{beyond}", mean),
        (f"kmin:{below}", wave), (f"band:{below},{beyond}", wave), (f"band:{beyond},{2 * k}", mean),
    ]:  # fmt: skip
        np.testing.assert_allclose(apply_cut(wave, cut), expected, atol=1e-12)
        # In a box of twice the size, k is half as large.
        kind, edges = cut.split(":")
        doubled = f"{kind}:{','.join(str(float(edge) / 2) for edge in edges.split(','))}"
        np.testing.assert_allclose(apply_cut(wave, doubled, box_size=50.0), expected, atol=1e-12)


@pytest.mark.parametrize("mode", [(5, 0), (3, 4), (0, 7), (6, 8)])
def test_a_mode_on_the_edge(mode):
    # kmin <= k < kmax, independent of the rounding of 2 pi / L
    wave = 5 + plane_wave(32, *mode, dtype=np.float32)
    for box_size in (25.0, 2 * np.pi, 1000.0, 7.3):
        for rounding in (1 - 1e-9, 1, 1 + 1e-9):
            k = float(2 * np.pi / box_size * math.hypot(*mode) * rounding)
            for cut, expected in ((f"kmax:{k!r}", 5), (f"kmin:{k!r}", wave)):
                found = apply_cut(wave, cut, box_size=box_size)
                np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("field", ["linear", "log", "delta"])
@pytest.mark.parametrize("grid", [15, 16])
def test_filter_that_keeps_all_is_the_identity(field, grid, dtype):
    maps = lognormal_maps(2, grid, dtype=dtype)
    corner = FUNDAMENTAL * (grid // 2) * math.sqrt(2)
    for cut in (f"kmax:{1.01 * corner}", "kmin:0", f"kmin:{0.5 * FUNDAMENTAL}", "band:0,1e6"):
        out = apply_cut(maps, f"{cut}@{field}")
        assert np.array_equal(out, maps)
        assert not np.shares_memory(out, maps)
    assert not np.array_equal(apply_cut(maps, f"kmax:{0.99 * corner}@{field}"), maps)


def test_fields_that_are_filtered(maps):
    maps = maps.astype(np.float64)
    log = apply_cut(maps, "kmax:1.5@log")
    assert (log > 0).all()
    np.testing.assert_allclose(np.log10(log), apply_cut(np.log10(maps), "kmax:1.5"), rtol=1e-12)
    linear = apply_cut(maps, "kmax:1.5")
    assert not np.allclose(log, linear, rtol=0.01)
    # The filter is linear and keeps the mean, so the overdensity gives the same result.
    np.testing.assert_allclose(apply_cut(maps, "kmax:1.5@delta"), linear, atol=1e-9 * maps.std())


def test_log_of_a_pixel_that_is_not_positive():
    maps = np.ones((2, 8, 8), np.float32)
    maps[1, 2, 3] = 0
    maps[0, 1, 1] = -5
    with pytest.raises(ValueError, match="'kmax:1@log' filters the log.* 2 pixels"):
        apply_cut(maps, "kmax:1@log")
    assert np.isfinite(apply_cut(maps, "kmax:1")).all()
    with pytest.raises(ValueError, match="positive mean"):
        apply_cut(maps - 1, "kmax:1@delta")


# ---------------------------------------------------------------- density cuts


@pytest.fixture
def ramp():
    """Return a map of the values 1 ... 16 times 1e11."""
    return np.arange(1, 17, dtype=np.float32).reshape(4, 4) * np.float32(1e11)


def test_values_of_cut_pixels_and_the_threshold_itself(ramp):
    np.testing.assert_array_equal(apply_cut(ramp, "above:1e12"), np.minimum(ramp, 1e12))
    np.testing.assert_array_equal(apply_cut(ramp, "below:1e12"), np.maximum(ramp, 1e12))
    assert [cut_mask(ramp, f"{kind}:1e12").sum() for kind in ("above", "below")] == [6, 9]
    out = apply_cut(np.stack([ramp, 2 * ramp]), "above:1e12:mean")
    assert set(out[0][ramp > 1e12]) == {np.float32(8.5e11)}
    assert set(out[1][2 * ramp > 1e12]) == {np.float32(17e11)}
    np.testing.assert_array_equal(out[0][ramp <= 1e12], ramp[ramp <= 1e12])


def test_overdensity_threshold_follows_each_map(ramp):
    stack = np.stack([ramp, 3 * ramp])  # means 8.5e11 and 25.5e11
    mask = cut_mask(stack, "above:delta=0.5")
    np.testing.assert_array_equal(mask[0], ramp > 1.5 * 8.5e11)
    np.testing.assert_array_equal(mask[0], mask[1])
    np.testing.assert_allclose(
        apply_cut(stack, "above:delta=0.5")[1][mask[1]], 1.5 * 25.5e11, rtol=1e-6
    )
    assert not np.array_equal(*cut_mask(stack, "above:1e12"))
    np.testing.assert_array_equal(cut_mask(ramp, "below:delta=-0.5"), ramp < 0.5 * 8.5e11)


@pytest.mark.parametrize("cut", ["above:1e3", "below:1e30"])
def test_cutting_every_pixel(maps, cut):
    threshold = Cut.parse(cut).threshold
    assert (apply_cut(maps, cut) == np.float32(threshold)).all()
    assert (fraction_cut(maps, cut) == 1).all()
    mean = maps.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    assert (apply_cut(maps, cut + ":mean") == mean).all()
    assert (apply_cut(maps, f"mask:{cut}") == 10).all()
    assert (apply_cut(maps, f"shuffle:{cut}") == np.float32(threshold)).all()
    filled = apply_cut(maps, cut + ":random")
    assert maps.min() <= filled.min()
    assert filled.max() <= maps.max()


@pytest.mark.parametrize("cut", ["above:1e30", "below:1e3", "below:delta=-0.999999"])
@pytest.mark.parametrize("fill", ["clamp", "random", "mean"])
def test_cutting_no_pixel(maps, cut, fill):
    assert np.array_equal(apply_cut(maps, f"{cut}:{fill}"), maps)
    assert np.array_equal(apply_cut(maps, f"shuffle:{cut}:{fill}"), maps)
    assert (apply_cut(maps, f"mask:{cut}") == 1).all()


def test_random_fills_span_the_range_of_the_data_or_a_given_one():
    """For their distribution see tests/test_recipe.py."""
    maps = lognormal_maps(20, 32)
    hidden = cut_mask(maps, "below:1e11")
    for low, high in (positive_range(maps), (1e3, 1e6)):
        given = None if high == maps.max() else (low, high)
        out = apply_cut(maps, "below:1e11:random", value_range=given)
        np.testing.assert_array_equal(out[~hidden], maps[~hidden])
        assert low <= out[hidden].min() < 2 * low
        assert high / 2 < out[hidden].max() <= high


@pytest.mark.parametrize(
    "cut",
    ["above:1e11:random", "shuffle:above:1e11:random", "shuffle:below:1e11:clamp",
     "white=0.5:none", "shot=5:above:delta=0:clamp"],
)  # fmt: skip
def test_random_streams_belong_to_the_map_not_to_the_batch(maps, cut):
    given = {"seed": 3, "value_range": (1e10, 1e13)}
    whole = apply_cut(maps, cut, **given)
    parts = [apply_cut(maps[i : i + 2], cut, indices=range(i, i + 2), **given) for i in (0, 2, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    order = np.array([4, 0, 5])
    assert np.array_equal(apply_cut(maps[order], cut, indices=order, **given), whole[order])
    assert np.array_equal(apply_cut(maps[4], cut, indices=4, **given), whole[4])
    assert not np.array_equal(apply_cut(maps, cut, **{**given, "seed": 4}), whole)
    repeated = np.stack([maps[0]] * 2)  # the same map with another index: other numbers
    one, other = apply_cut(repeated, cut, **given)
    assert not np.array_equal(one, other)


def test_random_fill_ignores_pixels_that_have_no_log():
    maps = np.array([[-3, 0], [1, 100]], np.float32)
    assert positive_range(maps) == (1, 100)
    out = apply_cut(maps, "above:50:random")
    assert 1 <= out[1, 1] <= 100


@pytest.mark.parametrize(
    ("option", "values", "reason"),
    [
        ("box_size", [0, math.nan, math.inf], "box_size must be positive"),
        ("value_range", [(0, 1), (2, 1), (1, math.inf), (math.nan, 1)], "0 < low <= high"),
        ("indices", [[0, 1], np.arange(6.0), np.arange(-1, 5)], "found .*, expected 6 integers"),
    ],
)
def test_bad_options(maps, option, values, reason):
    for value in values:
        with pytest.raises(ValueError, match=reason):
            apply_cut(
                maps, "kmax:3" if option == "box_size" else "above:1e11:random", **{option: value}
            )


# ---------------------------------------------------------------- controls


def test_mask_maps_show_the_mask_and_the_mean_only(maps):
    mask = cut_mask(maps, "mask:above:1e12")
    out = apply_cut(maps, "mask:above:1e12")
    assert 0 < mask.mean() < 1
    np.testing.assert_array_equal(mask, maps > 1e12)
    np.testing.assert_array_equal(np.log10(out), mask)  # as in the published log scaling
    brighter = np.where(mask, 2 * maps, maps)  # other values with the same mask
    np.testing.assert_array_equal(apply_cut(brighter, "mask:above:1e12"), out)
    with_mean = apply_cut(maps, "maskmean:above:1e12")
    np.testing.assert_allclose(with_mean, out * maps.mean(axis=(1, 2), keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("base", ["above:1e12", "below:1e11", "above:delta=2"])
def test_shuffle_cuts_as_many_pixels_elsewhere(maps, base):
    mask, shuffled = cut_mask(maps, base), cut_mask(maps, f"shuffle:{base}", seed=2)
    np.testing.assert_array_equal(mask.sum(axis=(1, 2)), shuffled.sum(axis=(1, 2)))
    assert not np.array_equal(mask, shuffled)
    out = apply_cut(maps, f"shuffle:{base}:mean", seed=2)
    np.testing.assert_array_equal(out[~shuffled], maps[~shuffled])
    mean = maps.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    assert (out == mean)[shuffled].all()


def test_shuffled_places_are_uniform():
    # The ten brightest pixels are in one row; the shuffled pixels are uniform over all rows.
    maps = np.ones((400, 10, 10), np.float32)
    maps[:, 0] = 9
    rows = cut_mask(maps, "shuffle:above:5").sum(axis=(0, 2))
    assert rows.sum() == 4000
    assert abs(rows - 400).max() < 5 * math.sqrt(400 * 0.9)


def test_fraction_cut(ramp):
    stack = np.stack([ramp, -ramp])
    np.testing.assert_array_equal(fraction_cut(stack, "above:1.2e12"), [4 / 16, 0])
    assert fraction_cut(ramp, "above:1.2e12") == 0.25
    assert (fraction_cut(stack, "none") == 0).all()
    with pytest.raises(ValueError, match="'kmax:3' has no mask of pixels"):
        cut_mask(ramp, "kmax:3")


def test_moved_mask_is_the_same_mask_half_a_box_away(maps):
    mask, moved = cut_mask(maps, "above:delta=1"), cut_mask(maps, "moved:above:delta=1")
    half = maps.shape[-1] // 2
    place = np.arange(maps.shape[-1]) - half  # origin of each pixel of the mask
    np.testing.assert_array_equal(moved, mask[:, place][:, :, place])
    out = apply_cut(maps, "moved:above:delta=1:mean")
    np.testing.assert_array_equal(out[~moved], maps[~moved])
    mean = maps.mean(axis=(1, 2), keepdims=True) + 0 * maps
    np.testing.assert_allclose(out[moved], mean[moved], rtol=1e-6)


def test_log_mean_is_subtracted_as_in_the_published_code(maps):
    log = np.log10(maps.astype(np.float64))
    out = np.log10(apply_cut(maps, "nologmean:none"))
    expected = log - log.mean(axis=(1, 2), keepdims=True) + np.log10(REFERENCE_DENSITY)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    with pytest.raises(ValueError, match="nologmean: found a map of mean"):
        apply_cut(np.where(maps == maps.max(), 0, maps), "nologmean:none")


# ---------------------------------------------------------------- steps before a cut


def test_white_noise_has_the_stated_size_and_does_not_follow_the_map(maps):
    for factor in (1, 10):
        noise = apply_cut(maps * np.float32(factor), "white=0.5:none") - maps * np.float32(factor)
        assert noise.std() == pytest.approx(0.5 * REFERENCE_DENSITY, rel=0.02)
        assert abs(noise.mean()) < 0.02 * REFERENCE_DENSITY
    assert mean_surface_density(0.3) == REFERENCE_DENSITY


def test_white_noise_of_another_level_is_the_same_scaled(maps):
    low, high = (apply_cut(maps, f"white={x}:none") - maps for x in (0.1, 0.2))
    np.testing.assert_allclose(high, 2 * low, atol=1e-4 * REFERENCE_DENSITY)
    np.testing.assert_array_equal(apply_cut(maps, "white=0:none"), maps)


def test_shot_noise_has_the_variance_of_counts():
    flat = np.full((4, 64, 64), REFERENCE_DENSITY, np.float32)
    noisy = apply_cut(flat, "shot=10:none") / REFERENCE_DENSITY
    assert noisy.mean() == pytest.approx(1, abs=0.01)
    assert noisy.var() == pytest.approx(0.1, rel=0.05)  # 1 / n
    np.testing.assert_allclose(noisy * 10, np.rint(noisy * 10), atol=1e-4)
    # proportional to the density
    dense = apply_cut(4 * flat, "shot=10:none") / REFERENCE_DENSITY
    assert dense.mean() == pytest.approx(4, rel=0.01)
    assert dense.var() == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("cut", ["nomean:none", "nomean:white=1:none", "nomean:shot=10:none"])
def test_maps_without_their_mean_do_not_depend_on_it(maps, cut):
    """Nor does the level of noise, which would reveal it."""
    np.testing.assert_array_equal(apply_cut(maps, cut), apply_cut(maps * np.float32(2), cut))


def test_nomean_hides_the_mean_and_nothing_else(maps):
    found = apply_cut(maps, "nomean:none")
    np.testing.assert_allclose(found.mean((1, 2)), REFERENCE_DENSITY, rtol=1e-6)
    ratio = found / maps
    np.testing.assert_allclose(ratio, ratio[:, :1, :1].repeat(32, 1).repeat(32, 2), rtol=1e-6)


def test_the_cut_acts_on_the_noisy_map(maps):
    noisy = apply_cut(maps, "white=0.5:none")
    for cut in ("above:delta=0:clamp", "shuffle:below:4e11:mean", "kmax:2", "mask:above:4e11"):
        np.testing.assert_array_equal(apply_cut(maps, f"white=0.5:{cut}"), apply_cut(noisy, cut))
    mask = cut_mask(maps, "white=0.5:above:4e11")
    np.testing.assert_array_equal(mask, noisy > np.float32(4e11))
    assert (mask != (maps > 4e11)).any()


def test_maps_that_cannot_be_observed_are_refused(maps):
    with pytest.raises(ValueError, match="none below 0"):
        apply_cut(-maps, "shot=1:none")
    with pytest.raises(ValueError, match="expected above 0"):
        apply_cut(-maps, "nomean:none")


def test_noisy_maps_are_scaled_smoothly_through_zero(suite):
    profile = load_profile("tiny")
    assert prepare_data(suite, profile, "nomean:kmax:4").scaling.kind == "log"
    data = prepare_data(suite, profile, "white=1:none")
    assert data.scaling.kind == "asinh"
    assert data.train_x.abs().max() < 20  # the signed log would give -22
    assert data.train_x.std() == pytest.approx(1, abs=0.01)
