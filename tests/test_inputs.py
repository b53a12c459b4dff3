"""Convert the maps of a suite to inputs of a network: in memory, in half precision or on disk."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from cosmolib.cuts.apply import apply_cut
from cosmolib.data import suites
from cosmolib.data.suites import map_indices, open_suite, read_maps, split_simulations, subset
from cosmolib.data.tables import parameter_ranges
from cosmolib.study.profile import load_profile
from cosmolib.training import dataset
from cosmolib.training.dataset import normalise, prepare_data, write_cut_suite
from cosmolib.training.fit import fit, run_network, seeded
from cosmolib.training.networks import build_network


@pytest.fixture(scope="module")
def profile():
    return load_profile("tiny", epochs=2, dropout=0.2)


# -------------------------------------------------------------------------------------- parameters
def test_normalise_maps_each_range_to_zero_and_one(suite):
    edges = [[0.1, 0.6, 0.25, 0.25, 0.5, 0.25], [0.5, 1.0, 4.0, 4.0, 2.0, 4.0]]
    theta = normalise(edges, "Astrid")  # which has a larger range of A_AGN2
    assert theta.dtype == np.float32
    np.testing.assert_allclose(theta, [[0] * 6, [1] * 6], atol=1e-7)
    assert normalise(edges, "SIMBA")[1, 5] == pytest.approx((4 - 0.5) / 1.5)
    one = normalise(suite.params, "Lite", ["sigma_8"])
    mean, std = dataset.denormalise(one, np.full_like(one, 0.1), "Lite", ["sigma_8"])
    np.testing.assert_allclose(mean[:, 0], suite.params[:, 1], rtol=1e-6)
    np.testing.assert_allclose(std, 0.04, rtol=1e-6)


# -------------------------------------------------------------------------------------------- data
def test_every_map_has_its_parameters(suite, data, profile):
    """Inverted maps equal those of the suite and have the right parameters."""
    split = split_simulations(suite.n_simulations, profile.split_seed)
    for name in ("train", "valid", "test"):
        part, x = getattr(split, name), getattr(data, f"{name}_x")
        assert x.shape == (15 * len(part), 1, 32, 32)
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(getattr(data, f"{name}_simulation"), np.repeat(part, 15))
        back = data.scaling.invert(x[:, 0].numpy())
        np.testing.assert_allclose(back, suite.maps[map_indices(part)], rtol=1e-4)
    np.testing.assert_array_equal(data.test_map, map_indices(split.test))
    np.testing.assert_array_equal(data.test_truth, suite.params[data.test_simulation, :2])
    theta = normalise(suite.params, "Lite", profile.targets)
    np.testing.assert_array_equal(data.train_theta, theta[data.train_simulation])
    np.testing.assert_array_equal(data.valid_theta, theta[data.valid_simulation])


# ----------------------------------------------------------------------------------------- storage
@pytest.mark.parametrize("cut", ["none", "kmax:2", "below:2e11:random", "shuffle:above:3e11:mean"])
@pytest.mark.parametrize("scope", ["train", "file"])
def test_storage_and_blocks_do_not_change_the_maps(suite, profile, cut, scope, monkeypatch):
    profile = profile.replace(scaling_scope=scope)
    memory, half, disk = (
        prepare_data(suite, profile.replace(storage=storage), cut)
        for storage in ("float32", "float16", "disk")
    )
    for part in ("train_x", "valid_x", "test_x"):
        expected, kept = getattr(memory, part), getattr(disk, part)
        assert isinstance(kept, dataset.MapsOnDisk)
        assert kept.shape == expected.shape
        assert torch.equal(kept[:], expected)
        assert torch.equal(getattr(half, part), expected.half())
        chosen = torch.tensor([3, 0, 3, 14])
        assert torch.equal(kept[chosen], expected[chosen])
    assert memory.scaling == half.scaling == disk.scaling
    assert memory.value_range == disk.value_range
    if cut.endswith("random"):
        train = map_indices(np.unique(memory.train_simulation))
        raw = suite.maps[train] if scope == "train" else suite.maps
        assert memory.value_range == (raw.min(), raw.max())
    monkeypatch.setattr(dataset, "BLOCK", 7)
    assert torch.equal(prepare_data(suite, profile, cut).train_x, memory.train_x)


def test_training_from_disk_is_training_from_memory(data, suite, profile):
    """Bit by bit; with half precision up to rounding."""
    weights = {}
    for storage in ("float32", "float16", "disk"):
        with seeded(1):
            network = build_network("lite", 32, 1, 0.2, 2)
        held = prepare_data(suite, profile.replace(storage=storage))
        history = fit(network, held, profile, seed=1)
        weights[storage] = network.state_dict()
        mean, _ = run_network(network, held.test_x)
        assert mean.shape == (len(held.test_map), 2)
        assert np.isfinite(history[-1]["valid_loss"])
    for name, value in weights["float32"].items():
        assert torch.equal(weights["disk"][name], value), name
        if value.is_floating_point():
            torch.testing.assert_close(weights["float16"][name], value, rtol=0.05, atol=0.02)


# ----------------------------------------------------------------------------------------- reading
def test_maps_are_read_in_any_order(suite):
    places = np.array([359, 0, 1, 2, 7, 7, 100])
    np.testing.assert_array_equal(read_maps(suite, places), suite.maps[places])
    assert read_maps(suite, []).shape == (0, 32, 32)
    few = subset(suite, 3)
    np.testing.assert_array_equal(read_maps(few, [44, 2]), suite.maps[[44, 2]])
    for places in ([45], [-1]):
        with pytest.raises(IndexError, match="found indices .*, expected 0 to 44"):
            read_maps(few, places)


def test_every_training_pixel_is_checked(suite, profile, tmp_path, monkeypatch):
    """Also pixels that are not checked when a large file is opened."""
    monkeypatch.setattr(suites, "_WHOLE_SCAN_BYTES", 1)
    shutil.copytree(suite.maps_path.parent, tmp_path / "cmd")
    path = tmp_path / "cmd" / suite.maps_path.name
    maps = np.load(path)
    maps[100, 3, 7] = np.nan
    np.save(path, maps)
    opened = open_suite("Lite", data_dir=tmp_path / "cmd")
    for storage in ("float32", "float16"):
        with pytest.raises(ValueError, match=r"found nan in map 100 \(simulation 6\), pixel"):
            prepare_data(opened, profile.replace(storage=storage))


MEMORY = """
import sys
import numpy as np, pandas, torch  # pandas, which reads the table, does not count
from cosmolib.data import suites
from cosmolib.training import dataset
from cosmolib.cuts.apply import apply_cut
from cosmolib.study.profile import load_profile

def peak():  # not ru_maxrss, which includes the parent process
    status = open("/proc/self/status").read()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

profile = load_profile("camels", storage=sys.argv[2], n_simulations=None)
apply_cut(np.ones((2, 256, 256), np.float32), "kmax:10")  # allocates the library's workspace
base = peak()
suite = suites.open_suite("IllustrisTNG", data_dir=sys.argv[1])
dataset.write_cut_suite(suite, "kmax:10", sys.argv[1] + "/cut")
data = dataset.prepare_data(suite, profile)
data.train_x[:128]
print((peak() - base) / suite.maps.nbytes, peak() - base)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("storage", "limit"), [("float32", 1.0), ("float16", 0.5), ("disk", 0.0)])
def test_a_file_is_never_in_memory_more_than_once(tmp_path, storage, limit):
    """Opening, cutting and scaling need at most one copy of the maps, and 180 MB for blocks."""
    n, grid = 80, 256
    rng = np.random.default_rng(0)
    tile = rng.lognormal(25.5, 1.0, (15, grid, grid)).astype(np.float32)
    path = tmp_path / "Maps_Mtot_IllustrisTNG_LH_z=0.00.npy"
    maps = np.lib.format.open_memmap(path, "w+", np.float32, (15 * n, grid, grid))
    for i in range(n):
        maps[15 * i : 15 * i + 15] = tile * np.float32(1 + i / n)
    size = maps.nbytes
    del maps
    low, high = parameter_ranges("IllustrisTNG").T
    np.savetxt(tmp_path / "params_LH_IllustrisTNG.txt", rng.uniform(low, high, (n, 6)))
    command = [sys.executable, "-c", MEMORY, str(tmp_path), storage]
    output = subprocess.check_output(command, cwd=ROOT, text=True)
    assert float(output.split()[0]) < limit + 1.8e8 / size


# -------------------------------------------------------------------------------- cutting to a file
@pytest.mark.parametrize("cut", ["kmax:2", "kmin:1@log", "above:3e11:clamp", "below:2e11:random"])
def test_a_cut_file_contains_the_result_of_apply_cut(suite, profile, tmp_path, cut, monkeypatch):
    monkeypatch.setattr(dataset, "BLOCK", 50)
    suite = subset(suite, suite.n_simulations - 1)
    written = write_cut_suite(suite, cut, tmp_path)
    assert written.maps_path == tmp_path / "Lite" / suite.maps_path.name
    np.testing.assert_array_equal(written.maps, apply_cut(suite.maps, cut))
    np.testing.assert_array_equal(written.params, suite.params)
    # The inputs are the same as with the cut.
    profile = profile.replace(scaling_scope="file")
    on_the_fly, from_file = prepare_data(suite, profile, cut), prepare_data(written, profile)
    assert torch.equal(on_the_fly.train_x, from_file.train_x)
    assert on_the_fly.scaling == from_file.scaling


def test_raw_maps_are_not_overwritten_and_cut_maps_not_cut_again(suite, tmp_path):
    folder = tmp_path / "Lite"
    folder.mkdir()
    for path in (suite.maps_path, suite.params_path):
        shutil.copy(path, folder)
    own = open_suite("Lite", data_dir=tmp_path)
    for raw in (own, suite):  # both copies are raw
        with pytest.raises(ValueError, match="these are raw maps; choose another folder"):
            write_cut_suite(raw, "kmax:2", tmp_path)
        assert open_suite("Lite", data_dir=tmp_path).cut == "none"
    cut = write_cut_suite(own, "kmax:2", tmp_path / "cut")
    with pytest.raises(ValueError, match="the maps are already cut by kmax:2"):
        write_cut_suite(cut, "kmax:1", tmp_path / "again")


KILLED = """
import os, signal, sys
from cosmolib.training import dataset
from cosmolib.data.suites import open_suite
dataset.BLOCK = 50
cut_maps, calls = dataset.cut_maps, []
def counted(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return cut_maps(*arguments)
dataset.cut_maps = counted
dataset.write_cut_suite(open_suite("Lite", data_dir=sys.argv[1]), "kmax:2", sys.argv[2])
"""


def test_a_killed_cut_leaves_no_maps_with_a_wrong_note(suite, tmp_path):
    """If it is killed while it replaces a cut, the note must not describe the older maps."""
    write_cut_suite(suite, "kmax:1", tmp_path)
    command = [sys.executable, "-c", KILLED, str(suite.maps_path.parent), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with pytest.raises(FileNotFoundError, match="found no maps"):
        open_suite("Lite", data_dir=tmp_path)
    (stale,) = tmp_path.rglob(".Maps_*.npy")
    os.utime(stale, (0, 0))
    written = write_cut_suite(suite, "kmax:2", tmp_path)
    np.testing.assert_array_equal(written.maps, apply_cut(suite.maps, "kmax:2"))
    assert not stale.exists()
