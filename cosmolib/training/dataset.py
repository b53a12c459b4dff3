"""Turn the maps of a suite under a cut into network inputs for training, validation and test.

A file of 4 GB is held in memory at most once. Its maps are read and cut in blocks. They are either
kept (as float32, or as float16 in half the memory) or left on disk and prepared for each batch.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cosmolib.cuts.apply import cut_stack, positive_range
from cosmolib.cuts.grammar import Cut
from cosmolib.data import suites
from cosmolib.data.arrays import checked_maps, in_parallel
from cosmolib.data.cmd_format import MAPS_PER_SIMULATION, PARAMETERS, cut_note, cut_of
from cosmolib.data.scaling import Scaling, fit_scaling
from cosmolib.data.suites import Split, Suite, map_indices, read_maps, simulation_of
from cosmolib.data.tables import parameter_ranges
from cosmolib.study.io import atomic_path, sweep, write_json
from cosmolib.study.locks import LOCK, held
from cosmolib.study.profile import Profile
from cosmolib.training.devices import select_device

BLOCK = 64  # maps that are read, cut or scaled at once: 16 MB of 256 x 256 pixels


# --------------------------------------------------------------------------------------------------
# Parameters
# --------------------------------------------------------------------------------------------------
def normalise(params, suite_name: str, targets=PARAMETERS) -> np.ndarray:
    """Convert parameters (n, 6) in CMD's order to targets (n, P) in units of their ranges."""
    low, width = _ranges(suite_name, targets)
    params = np.asarray(params, np.float64)[..., _columns(targets)]
    return ((params - low) / width).astype(np.float32)


def denormalise(mean, std, suite_name: str, targets=PARAMETERS) -> tuple[np.ndarray, np.ndarray]:
    """Convert network outputs (n, P) to physical means and standard deviations, float64."""
    low, width = _ranges(suite_name, targets)
    return low + width * np.asarray(mean, np.float64), width * np.asarray(std, np.float64)


def truth_of(suite: Suite, maps: np.ndarray, targets) -> np.ndarray:
    """Return the true targets (n, P) of maps (n,) of a suite in physical units."""
    return suite.params[simulation_of(maps)][:, _columns(targets)]


def _ranges(suite_name, targets):
    """Return lower edges and widths of the ranges of the targets, both (P,)."""
    low, high = parameter_ranges(suite_name)[_columns(targets)].T
    return low, high - low


def _columns(targets):
    return [PARAMETERS.index(name) for name in targets]


# --------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class MapsOnDisk:
    """Maps of a suite that are read, cut and scaled on access.

    It replaces a tensor (n, 1, N, N) in `cosmolib.training.fit.fit` if the maps do not fit into
    memory: ``x[chosen]``, with a slice or a tensor of indices, is a float32 tensor. Conversion to
    an array (``numpy.asarray``) reads all maps, so that every function of maps accepts it.
    """

    suite: Suite
    maps: np.ndarray  # (n,) indices into the suite
    cut: str | Cut
    value_range: tuple[float, float] | None = None  # range of random fills
    scaling: Scaling | None = None  # None for cut maps without scaling
    device = torch.device("cpu")

    @property
    def shape(self):
        """(n, 1, N, N)."""
        return torch.Size((len(self.maps), 1, self.suite.grid, self.suite.grid))

    def __len__(self):
        return len(self.maps)

    def __call__(self, start, stop):
        """Return maps (stop - start, N, N) as an array, for `fit_scaling`."""
        return cut_maps(self.suite, self.maps[start:stop], self.cut, self.value_range)

    def __getitem__(self, chosen) -> torch.Tensor:
        maps = self.maps[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        order = np.argsort(maps)  # read the file in one direction, neighbours together
        x = np.empty((len(maps), self.suite.grid, self.suite.grid), np.float32)
        x[order] = cut_maps(self.suite, maps[order], self.cut, self.value_range)
        if self.scaling is not None:
            self.scaling.apply(x, out=x)
        return torch.from_numpy(x)[:, None]

    def __array__(self, dtype=None, copy=None):
        return self[:].numpy().astype(dtype or np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Data:
    """Network inputs of one suite under one cut, split by simulation."""

    train_x: torch.Tensor | MapsOnDisk  # (n, 1, N, N), cut and scaled
    valid_x: torch.Tensor | MapsOnDisk
    test_x: torch.Tensor | MapsOnDisk
    train_theta: torch.Tensor  # (n, P) float32, normalised
    valid_theta: torch.Tensor
    test_truth: np.ndarray  # (m, P) float64, physical
    train_simulation: np.ndarray  # (n,) simulation of each map, as numbered in the suite
    valid_simulation: np.ndarray
    test_simulation: np.ndarray
    test_map: np.ndarray  # (m,) index of each map in the suite
    scaling: Scaling
    cut: str  # in canonical form
    value_range: tuple[float, float] | None  # range of random fills [(Msun/h)/(Mpc/h)^2]
    suite: str
    targets: tuple[str, ...]
    fingerprint: str  # `Suite.fingerprint`


def study_suite(name: str, profile: Profile) -> Suite:
    """Open a suite with the data_dir, field, set and number of simulations of a profile."""
    source = {"data_dir": profile.data_dir, "field": profile.field, "sim_set": profile.sim_set}
    return suites.subset(suites.open_suite(name, **source), profile.n_simulations)


def study_split(suite: Suite, profile: Profile) -> Split:
    """Split a suite, with at most ``train_simulations`` of the profile for training.

    Validation and test parts are never reduced, so that networks trained on few simulations are
    tested on the same ones as all others.
    """
    split = suites.split_simulations(suite.n_simulations, profile.split_seed)
    return split._replace(train=split.train[: profile.train_simulations])


def prepare_data(suite: Suite, profile: Profile, cut="none", seed: int = 1) -> Data:
    """Split a suite by simulation, cut and scale its maps, and normalise its parameters.

    The scaling and the range of random fills are fitted to the training maps only
    (``scaling_scope: train``) or, as published, to the whole file including its test maps
    (``file``), in the published order and arithmetic. Maps with noise are scaled by asinh instead
    of log, also at noise level 0, which is their reference: noise makes some pixels zero or
    negative, where the signed logs of nearly equal densities can differ by 22 dex.

    The profile key ``storage`` keeps the maps in memory as ``float32`` or ``float16``, or leaves
    them on ``disk``, where they are read, cut and scaled batch by batch. With float32 the file is
    read once; otherwise the scaling takes two passes over the maps that it is fitted to.

    The profile key ``shuffle_labels`` permutes the parameters among the training and among the
    validation simulations, so that nothing can be learnt; the test set does not change.

    Parameters
    ----------
    suite : Suite
        From `study_suite`.
    profile : Profile
    cut : str or Cut
    seed : int
        Of the permutation of labels. Networks need different ones, because each permutation of n
        labels correlates with the true ones by chance, by about 1 / sqrt(n).

    Raises
    ------
    ValueError
        A pixel is invalid, see `cosmolib.data.suites.read_maps`.
    """
    cut = Cut.parse(cut)
    split = study_split(suite, profile)
    parts = [map_indices(part) for part in split]
    maps = np.concatenate(parts)  # (15 n,)
    value_range = fill_range(suite, profile, cut)
    kind = "asinh" if cut.noise is not None and profile.scaling == "log" else profile.scaling
    # The whole file in its own order, because rounding depends on the order of summation.
    scope = np.argsort(maps) if profile.scaling_scope == "file" else np.arange(len(parts[0]))
    if profile.storage == "float32":
        x = cut_maps(suite, maps, cut, value_range)  # (15 n, N, N)
        scaling = fit_scaling(x, kind, scope)
        scaling.apply(x, out=x)
        inputs = torch.from_numpy(x)[:, None].split([*map(len, parts)])  # (n, 1, N, N) each
    else:
        scaling = fit_scaling(MapsOnDisk(suite, maps[scope], cut, value_range), kind)
        inputs = [MapsOnDisk(suite, part, cut, value_range, scaling) for part in parts]
        if profile.storage == "float16":
            inputs = [stored(x, torch.float16) for x in inputs]
    rng, theta = np.random.default_rng([profile.split_seed, seed]), []
    for part in (split.train, split.valid):
        part = rng.permutation(part) if profile.shuffle_labels else part
        part = normalise(suite.params[part], suite.name, profile.targets)
        theta.append(torch.from_numpy(part.repeat(MAPS_PER_SIMULATION, 0)))
    return Data(
        *inputs, *theta, truth_of(suite, parts[2], profile.targets), *map(simulation_of, parts),
        test_map=parts[2], scaling=scaling, cut=str(cut), value_range=value_range,
        suite=suite.name, targets=tuple(profile.targets), fingerprint=suite.fingerprint,
    )  # fmt: skip


def stored(x, dtype: torch.dtype, device="cpu") -> torch.Tensor:
    """Copy maps to a device in another precision, block by block to limit the memory."""
    out = torch.empty(x.shape, dtype=dtype, device=device)
    for start in range(0, len(x), BLOCK):
        out[start : start + BLOCK] = x[start : start + BLOCK].to(dtype)
    return out


def network_inputs(x, name="maps") -> torch.Tensor:
    """Convert scaled maps to the input of a network, a detached float32 tensor (n, 1, N, N).

    Parameters
    ----------
    x : tensor, array or `MapsOnDisk`
        (N, N), (n, N, N) or (n, 1, N, N) of any floating type; a tensor stays on its device.
    name : str
        Name of the maps in errors, see `cosmolib.data.arrays.checked_maps`.
    """
    stack, _ = checked_maps(x, name)
    stack = np.require(stack, np.dtype(np.float32), ("C", "W"))
    return torch.from_numpy(stack)[:, None].to(getattr(x, "device", "cpu"))


def cut_maps(suite: Suite, maps: np.ndarray, cut, value_range=None) -> np.ndarray:
    """Read maps (n,) of a suite in blocks and cut them; return (n, N, N) float32."""
    out = np.empty((len(maps), suite.grid, suite.grid), np.float32)
    cut, device = Cut.parse(cut), select_device()

    def one(start):
        block, target = maps[start : start + BLOCK], out[start : start + BLOCK]
        # Threads share also the most expensive part of a large file, the first access to memory.
        pixels = read_maps(suite, block, target if cut.is_identity else None)  # checks the pixels
        if not cut.is_identity:
            target[:] = cut_stack(pixels, cut, suite.box_size, 0, value_range, block, device=device)

    # The Fourier transforms of torch already use all threads.
    list((map if cut.is_fourier else in_parallel)(one, range(0, len(maps), BLOCK)))
    return out


def write_cut_suite(suite: Suite, cut, out: str | Path) -> Suite:
    """Write a suite under a cut to a new file of the same name, block by block, and open it.

    This saves time if many trainings share a cut. The folder ``out/<suite>/`` contains maps and
    parameters under CMD's names, and a note of the cut. `open_suite` reads this note, because maps
    after a Fourier cut may be negative.

    Parameters
    ----------
    suite : Suite
    cut : str or Cut
        Random fills use the range of the whole file, as published.
    out : path

    Raises
    ------
    ValueError
        The suite is already cut, or the folder contains raw maps of this name.
    """
    cut = Cut.parse(cut)
    if suite.cut != "none":
        raise ValueError(f"{suite.maps_path}: the maps are already cut by {suite.cut}")
    folder = Path(out) / suite.name
    maps_path = folder / suite.maps_path.name
    if maps_path.is_file() and cut_of(maps_path) == "none":
        raise ValueError(f"{maps_path}: these are raw maps; choose another folder")
    count = len(suite.maps)
    value_range = _positive_range(suite, np.arange(count)) if cut.fill == "random" else None
    note = {"cut": str(cut), "source": suite.fingerprint, "value_range": value_range}
    with held(folder / LOCK):
        sweep(folder)  # gigabytes that a killed process left
        maps_path.unlink(missing_ok=True)  # the new note must not describe maps of another cut
        with atomic_path(folder / f"params_{suite.sim_set}_{suite.name}.txt") as temporary:
            header = f"box_size = {suite.box_size:g} Mpc/h\n{' '.join(PARAMETERS)}"
            np.savetxt(temporary, suite.params, fmt="%s", header=header)  # exact
        write_json(cut_note(maps_path), note)
        with atomic_path(maps_path) as temporary, open(temporary, "wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": suite.maps.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, BLOCK):
                maps = np.arange(start, min(start + BLOCK, count))
                file.write(cut_maps(suite, maps, cut, value_range).data)
    return suites.open_suite(suite.name, data_dir=out, field=suite.field, sim_set=suite.sim_set)


def fill_range(suite: Suite, profile: Profile, cut) -> tuple[float, float] | None:
    """Return the range of random fills, that of the training maps or (published) of the file.

    It is None for a cut without random fills.
    """
    if Cut.parse(cut).fill != "random":
        return None
    train, whole = study_split(suite, profile).train, np.arange(suite.n_simulations)
    return _positive_range(suite, map_indices(whole if profile.scaling_scope == "file" else train))


def _positive_range(suite, maps):
    """Return the smallest and the largest positive pixel of maps (n,), read in blocks."""
    blocks = [maps[start : start + BLOCK] for start in range(0, len(maps), BLOCK)]
    low, high = zip(*(positive_range(read_maps(suite, block)) for block in blocks), strict=True)
    return min(low), max(high)
