"""Simulation of Lite: tracers, projection, feedback proxy."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cosmolib.data import lite
from cosmolib.data.cmd_format import BOX_SIZE
from lite import generate, simulate

REDUCED = Path(__file__).parent / "data" / "reduced_LH_0.npz"
SMALL = simulate.SimulationSettings(particles=16, mesh=32, grid=16)
needs_pysco = pytest.mark.skipif(
    importlib.util.find_spec("pysco") is None, reason="needs the extra simulate"
)
needs_pylians = pytest.mark.skipif(
    importlib.util.find_spec("MAS_library") is None, reason="needs Pylians"
)


@pytest.fixture(scope="module")
def displacement():
    """Return a smooth periodic displacement with collapsed and empty regions, (16, 16, 16, 3)."""
    lattice = (np.arange(16) + 0.5) / 16 * 2 * np.pi
    x, y, z = np.meshgrid(lattice, lattice, lattice, indexing="ij")
    field = np.stack([-np.sin(x), -np.sin(y + z), -np.sin(z - x)], axis=-1)
    return (3.0 * field).astype(np.float32)


def test_refined_tracers_follow_the_continuous_field(displacement):
    settings = simulate.SimulationSettings(particles=16, refinement=3, lattice_shift=0.5)
    found = simulate.refine(displacement, settings)
    lattice = ((np.arange(48) + 0.5) / 3 + 0.5) / 16 * BOX_SIZE
    q = np.stack(np.meshgrid(lattice, lattice, lattice, indexing="ij"), -1).reshape(-1, 3)
    x, y, z = (q * 2 * np.pi / BOX_SIZE).T
    exact = q + 3.0 * np.stack([-np.sin(x), -np.sin(y + z), -np.sin(z - x)], -1)
    offset = found - exact
    offset -= BOX_SIZE * np.rint(offset / BOX_SIZE)
    assert np.abs(offset).max() < 0.01  # of an amplitude of 3 Mpc/h
    assert found.min() >= 0
    assert found.max() < BOX_SIZE


def test_projection_keeps_mass_and_uses_cmd_order():
    # The map of a single tracer gives its axis and slab, the pixel its other coordinates.
    position = np.array([[12.0, 3.0, 21.0]], np.float32)
    maps = simulate.project(position, 25)  # pixels of 1 Mpc/h, centres at half integers
    filled = [5 * 0 + 2, 5 * 1 + 0, 5 * 2 + 4]
    assert [i for i in range(15) if maps[i].sum() > 0] == filled
    for index, pixel in zip(filled, [(3, 21), (12, 21), (12, 3)], strict=True):
        # A cloud on the corner of a pixel is shared by four pixels.
        i, j = pixel
        np.testing.assert_allclose(maps[index][i - 1 : i + 1, j - 1 : j + 1], 0.25 * 5 * 625)
    np.testing.assert_allclose(maps.reshape(3, -1).mean(axis=1), 1.0)
    edge = simulate.project(np.array([[0.1, 0.0, 24.9]], np.float32), 25)[0]  # pixels of (y, z)
    np.testing.assert_allclose(edge[[0, 0], [24, 0]], edge[[24, 24], [24, 0]])
    assert edge.sum() == pytest.approx(5 * 625)


@needs_pylians
def test_no_feedback_moves_nothing_and_the_extreme_stays_in_the_box(displacement):
    settings = simulate.SimulationSettings(particles=16, mesh=64)
    position = simulate.refine(displacement, settings)
    density = simulate.density_mesh(position, 64)
    none, ordinary, extreme = (
        simulate.feedback_displacement(density, position, np.array([0.3, 0.8, *a]))
        for a in ((0, 0, 0, 0), (1, 1, 1, 1), (100, 1, 1, 1))
    )
    assert not none.any()
    assert np.isfinite(extreme).all()
    assert np.abs(extreme).max() < BOX_SIZE
    farther = np.linalg.norm(extreme, axis=1).max() / np.linalg.norm(ordinary, axis=1).max()
    assert 5 < farther < 100**0.45  # the SN term grows by this factor, the AGN term does not


@needs_pylians
def test_feedback_out_of_the_box_is_refused(displacement, monkeypatch):
    monkeypatch.setattr(simulate, "run_nbody", lambda *args: displacement)
    for alpha in (1e3, np.nan):
        with pytest.raises(ValueError, match=r"'A_SN1': 1.0.* expected less than the box, 25"):
            simulate.simulate_one(
                [0.3, 0.8, 1, 1, 1, 1], 0, SMALL, simulate.FeedbackProxy(sn_alpha=alpha)
            )


@needs_pysco
@needs_pylians
def test_rows_that_differ_in_feedback_only_share_their_particles():
    """The last N-body run is cached, so that 16 of the 25 rows of 1P need none."""
    simulate.run_nbody.cache_clear()
    maps = [
        simulate.simulate_one([0.3, 0.8, a_sn1, 1, 1, 1], seed, SMALL)
        for a_sn1, seed in ((1, 5), (4, 5), (1, 6))
    ]
    assert simulate.run_nbody.cache_info()[:2] == (1, 2)  # hits, misses
    np.testing.assert_array_equal(maps[0]["nbody"], maps[1]["nbody"])
    assert not np.array_equal(maps[0]["hydro"], maps[1]["hydro"])
    assert not np.array_equal(maps[0]["nbody"], maps[2]["nbody"])
    simulate.run_nbody.cache_clear()
    again = simulate.simulate_one([0.3, 0.8, 4, 1, 1, 1], 5, SMALL)
    np.testing.assert_array_equal(again["hydro"], maps[1]["hydro"])


@needs_pysco
@needs_pylians
@pytest.mark.parametrize("part", ["LH", "strong", "other"])
def test_a_reduced_simulation_is_reproduced(tmp_path, part):
    """A run with 16^3 particles gives the maps that were stored when its suite was made."""
    settings = dataclasses.replace(generate.SETTINGS[part], particles=16, grid=16)
    settings = dataclasses.replace(settings, mesh=settings.mesh // 4)
    arguments = tmp_path, lite.DATA / lite.table_name(part), [0]
    options = {"part": part, "settings": settings, "progress": lambda line: None}
    assert generate.simulate_shards(*arguments, **options) == 1
    with np.load(generate.shard_path(tmp_path, 0, part)) as found, np.load(REDUCED) as stored:
        expected = {"LH": [0.309, 0.979], "strong": [0.309, 0.979], "other": [0.4926, 0.7422]}[part]
        assert found["params"][:2].tolist() == expected
        for name in ("nbody", "hydro")[: 1 if part == "other" else 2]:
            saved = stored[name if part == "LH" else f"{part}_{name}"]
            difference = np.log10(found[name] / saved)
            assert np.abs(difference).max() < 0.02, name  # rounding errors of 100 steps
        assert not np.array_equal(found["nbody"], found["hydro"])
    assert generate.simulate_shards(*arguments, **options) == 0  # the shard exists
