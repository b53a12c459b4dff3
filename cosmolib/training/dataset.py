"""Inputs: maps of one suite under one cut -> what a network is trained, validated and tested on.

Maps of 4 GB are never held twice. They are read from the file in blocks, cut, and either kept once
in memory (float32, or float16 for half of it) or left on disk and made anew for each batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cosmolib.cuts.apply import cut_stack, positive_range
from cosmolib.cuts.grammar import Cut
from cosmolib.data.arrays import checked_maps, in_parallel
from cosmolib.data.cmd_format import cut_note, cut_of
from cosmolib.data.scaling import Scaling, fit_scaling, scale_in_place
from cosmolib.data.suites import (
    MAPS_PER_SIMULATION,
    PARAMETERS,
    Split,
    Suite,
    map_indices,
    open_suite,
    parameter_ranges,
    read_maps,
    simulation_of,
    split_simulations,
    subset,
)
from cosmolib.study.io import atomic_path, sweep, write_json
from cosmolib.study.locks import LOCK, held
from cosmolib.study.profile import Profile
from cosmolib.training.devices import select_device

BLOCK = 64  # maps read, cut or scaled at once: 16 MB of 256 x 256


# --------------------------------------------------------------------------------------------------
# Parameters
# --------------------------------------------------------------------------------------------------
def target_ranges(suite_name: str, targets) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower edge and the width of each target's range in a suite, both (P,)."""
    ranges = parameter_ranges(suite_name)[_columns(targets)]
    return ranges[:, 0], ranges[:, 1] - ranges[:, 0]


def normalise(params, suite_name: str, targets=PARAMETERS) -> np.ndarray:
    """Parameters (n, 6), in the order of CMD, to their targets (n, P) in units of their ranges."""
    params = np.asarray(params, dtype=np.float64)
    low, width = target_ranges(suite_name, targets)
    return ((params[..., _columns(targets)] - low) / width).astype(np.float32)


def denormalise(mean, std, suite_name: str, targets=PARAMETERS) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a network (n, P) to physical means and standard deviations, float64."""
    low, width = target_ranges(suite_name, targets)
    return low + width * np.asarray(mean, np.float64), width * np.asarray(std, np.float64)


def _columns(targets):
    unknown = [name for name in targets if name not in PARAMETERS]
    if unknown or not targets:
        found = unknown[0] if unknown else list(targets)
        raise ValueError(f"targets: found {found!r}, expected some of {', '.join(PARAMETERS)}")
    return [PARAMETERS.index(name) for name in targets]


# --------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Data:
    """Network inputs of one suite under one cut, split by simulation."""

    train_x: torch.Tensor | MapsOnDisk  # (n, 1, N, N), cut and scaled, as the profile stores it
    train_theta: torch.Tensor  # (n, P) float32, normalised
    valid_x: torch.Tensor | MapsOnDisk
    valid_theta: torch.Tensor
    test_x: torch.Tensor | MapsOnDisk
    test_truth: np.ndarray  # (m, P) float64, physical
    train_simulation: np.ndarray  # (n,) simulation of each map, in the suite's numbering
    valid_simulation: np.ndarray
    test_simulation: np.ndarray
    test_map: np.ndarray  # (m,) place of each map in the suite
    scaling: Scaling
    cut: str  # canonical
    value_range: tuple[float, float] | None  # of random fills [(Msun/h)/(Mpc/h)^2]
    suite: str
    targets: tuple[str, ...]
    fingerprint: str  # of the suite


def study_suite(name: str, profile: Profile) -> Suite:
    """Open a suite as a profile says, with the first ``n_simulations`` of it."""
    suite = open_suite(name, profile.data_dir, field=profile.field, sim_set=profile.sim_set)
    n = profile.n_simulations
    return suite if n is None else subset(suite, n)


def study_split(suite: Suite, profile: Profile) -> Split:
    """Split a suite as a profile says, with at most ``train_simulations`` to train on.

    Validation and test parts stay whole, so that a short training is judged on as many simulations
    as a long one, and on the same.
    """
    split = split_simulations(suite.n_simulations, profile.split_seed)
    return replace(split, train=split.train[: profile.train_simulations])


def prepare_data(suite: Suite, profile: Profile, cut="none") -> Data:
    """Split a suite by simulation, cut its maps, scale them, normalise its parameters.

    Mean and std of the scaling, and the range of random fills, come from the training maps alone
    (``scaling_scope: train``) or, as published, from the whole file with its test maps (``file``),
    in the published order and arithmetic.

    The profile's ``storage`` says where the maps are kept: ``float32`` or ``float16`` in memory,
    once, or ``disk``: they are read, cut and scaled batch by batch, and none is kept. For float32
    the file is read once; else the scaling takes two passes over the maps that it is fitted to.

    With the profile's ``shuffle_labels`` the parameters are permuted among the training and among
    the validation simulations, so that there is nothing to be learnt; the test set stays as it is.

    Parameters
    ----------
    suite : Suite
        All of it is used; see `study_suite`.
    profile : Profile
    cut : str or Cut

    Raises
    ------
    ValueError
        A pixel that no map can have, see `cosmolib.data.suites.read_maps`.
    """
    cut = Cut.parse(cut)
    split = study_split(suite, profile)
    parts = (split.train, split.valid, split.test)
    maps = map_indices(np.concatenate(parts))  # (15 n,) the training maps come first
    edges = np.cumsum([0, *(len(map_indices(part)) for part in parts)])
    value_range = fill_range(suite, profile, cut)
    kind = scaling_kind(profile, cut)
    if profile.storage == "float32":
        x = cut_maps(suite, maps, cut, value_range)  # (15 n, N, N)
        scaling = scale_in_place(x, kind, _scaling_order(maps, edges, profile))
        x = torch.from_numpy(x)[:, None]  # (15 n, 1, N, N)
    else:
        scope = maps[_scaling_order(maps, edges, profile)]
        scaling = fit_scaling(MapsOnDisk(suite, scope, cut, value_range), kind)
        x = MapsOnDisk(suite, maps, cut, value_range, scaling)
        if profile.storage == "float16":
            x = x.to_memory(torch.float16)

    labels = list(parts)
    if profile.shuffle_labels:
        rng = np.random.default_rng(profile.split_seed)
        labels[:2] = [rng.permutation(part) for part in parts[:2]]
    theta = [normalise(suite.params, suite.name, profile.targets)[part] for part in labels]
    theta = [torch.from_numpy(part.repeat(MAPS_PER_SIMULATION, 0)) for part in theta]
    simulation = simulation_of(maps)
    train, valid, test = (slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True))
    in_memory = isinstance(x, torch.Tensor)
    train_x, valid_x, test_x = (x[p] if in_memory else x.part(p) for p in (train, valid, test))
    return Data(
        train_x=train_x,
        train_theta=theta[0],
        valid_x=valid_x,
        valid_theta=theta[1],
        test_x=test_x,
        test_truth=truth_of(suite, maps[test], profile.targets),
        train_simulation=simulation[train],
        valid_simulation=simulation[valid],
        test_simulation=simulation[test],
        test_map=maps[test],
        scaling=scaling,
        cut=str(cut),
        value_range=value_range,
        suite=suite.name,
        targets=tuple(profile.targets),
        fingerprint=suite.fingerprint,
    )


def scaling_kind(profile: Profile, cut) -> str:
    """Return the transform of the maps under a cut: the profile's, but asinh for noisy ones.

    Noise makes pixels of zero or below, where the signed log of nearly equal densities lies 22 dex
    apart. Noise of level 0 is scaled like any other, as their reference.
    """
    noisy = Cut.parse(cut).noise is not None
    return "asinh" if noisy and profile.scaling == "log" else profile.scaling


def _scaling_order(maps, edges, profile):
    """Places among ``maps`` that the scaling is fitted to, in the order in which it sums them."""
    if profile.scaling_scope == "file":
        return np.argsort(maps)  # as they lie in the file: rounding hangs on the order
    return np.arange(edges[1])


class MapsOnDisk:
    """Maps of a suite that are read, cut and scaled when they are asked for.

    Takes the place of a tensor (n, 1, N, N) in `cosmolib.training.fit.fit` where the maps do not
    fit into memory: ``x[chosen]`` with a slice or a tensor of places is a float32 tensor. As an
    array (``numpy.asarray``) it is read whole, so that every function of maps takes it.

    Parameters
    ----------
    suite : Suite
    maps : (n,) int
        Places in the suite.
    cut : str or Cut
    value_range : (float, float), optional
        Of random fills.
    scaling : Scaling, optional
        None leaves them cut and unscaled.
    """

    device = torch.device("cpu")

    def __init__(self, suite: Suite, maps, cut, value_range=None, scaling: Scaling | None = None):
        self.suite, self.maps, self.cut = suite, np.asarray(maps), Cut.parse(cut)
        self.value_range, self.scaling = value_range, scaling

    @property
    def shape(self):
        """(n, 1, N, N)."""
        return torch.Size((len(self.maps), 1, self.suite.grid, self.suite.grid))

    def __len__(self):
        return len(self.maps)

    def __call__(self, start, stop):
        """Maps (stop - start, N, N) as an array, for `fit_scaling`."""
        return cut_maps(self.suite, self.maps[start:stop], self.cut, self.value_range)

    def __getitem__(self, chosen) -> torch.Tensor:
        maps = self.maps[chosen if isinstance(chosen, slice) else np.asarray(chosen)]
        order = np.argsort(maps)  # neighbours are read in one go, and the disk goes forward only
        x = np.empty((len(maps), self.suite.grid, self.suite.grid), np.float32)
        x[order] = cut_maps(self.suite, maps[order], self.cut, self.value_range)
        if self.scaling is not None:
            self.scaling.apply(x, out=x)
        return torch.from_numpy(x)[:, None]

    def __array__(self, dtype=None, copy=None):
        return self[:].numpy().astype(dtype or np.float32, copy=False)

    def part(self, chosen: slice) -> MapsOnDisk:
        """Return the same for some of the maps."""
        return MapsOnDisk(self.suite, self.maps[chosen], self.cut, self.value_range, self.scaling)

    def to_memory(self, dtype: torch.dtype) -> torch.Tensor:
        """Return all maps as a tensor (n, 1, N, N) of a type."""
        out = torch.empty(self.shape, dtype=dtype)
        for start in range(0, len(self), BLOCK):
            out[start : start + BLOCK] = self[start : start + BLOCK]
        return out


def network_inputs(x, name="maps") -> torch.Tensor:
    """Return scaled maps as a network takes them, a float32 tensor (n, 1, N, N), detached.

    Parameters
    ----------
    x : tensor, array or `MapsOnDisk`
        (N, N), (n, N, N) or (n, 1, N, N) of any floating type; a tensor stays on its device.
    name : str
        What errors call it, see `cosmolib.data.arrays.checked_maps`.
    """
    stack, _ = checked_maps(x, name)
    stack = np.require(stack, np.dtype(np.float32), ("C", "W"))
    return torch.from_numpy(stack)[:, None].to(getattr(x, "device", "cpu"))


def cut_maps(suite: Suite, maps: np.ndarray, cut, value_range=None) -> np.ndarray:
    """Return maps (n,) of a suite under a cut, new, (n, N, N) float32, read in blocks."""
    out = np.empty((len(maps), suite.grid, suite.grid), np.float32)
    cut, device = Cut.parse(cut), select_device()

    def one(start):
        block = maps[start : start + BLOCK]
        # Threads also share what costs most in a large file: the first touch of new memory.
        read = read_maps(suite, block, out[start : start + BLOCK] if cut.is_identity else None)
        if not cut.is_identity:
            out[start : start + BLOCK] = cut_stack(  # `read_maps` has checked them
                read, cut, suite.box_size, 0, value_range, block, device=device
            )

    starts = range(0, len(maps), BLOCK)
    if cut.is_fourier:  # torch's transforms take all threads by themselves
        for start in starts:
            one(start)
    else:
        in_parallel(one, starts)
    return out


def write_cut_suite(
    suite: Suite, cut, out: str | Path, progress: Callable[[str], None] | None = None
) -> Suite:
    """Write a suite under a cut to a new file of the same name, block by block, and open it.

    For cuts that many trainings share. ``out/<suite>/`` then holds maps and parameters under CMD's
    names, and a note of what was cut, which `open_suite` reads: the maps of a Fourier cut may be
    negative.

    Parameters
    ----------
    suite : Suite
    cut : str or Cut
        Random fills take the whole file's range, as published.
    out : path
    progress : callable, optional
        Called with a line of text now and then.

    Raises
    ------
    ValueError
        The suite was cut already, or raw maps of this name lie there, its own or others.
    """
    cut = Cut.parse(cut)
    if suite.cut != "none":
        raise ValueError(f"{suite.maps_path}: found maps cut by {suite.cut}, expected raw ones")
    folder = Path(out) / suite.name
    maps_path = folder / suite.maps_path.name
    if maps_path.is_file() and cut_of(maps_path) == "none":
        raise ValueError(f"{maps_path}: found the raw maps there, expected another folder")
    with held(folder / LOCK, progress=progress):
        sweep(folder)  # of a killed process: gigabytes
        _write_cut(suite, cut, maps_path, progress)
    return open_suite(suite.name, data_dir=out, field=suite.field, sim_set=suite.sim_set)


def _write_cut(suite, cut, maps_path, progress):
    """Write table, note and maps, in this order, in a folder that is this process's own."""
    folder, count = maps_path.parent, len(suite.maps)
    value_range = _positive_range(suite, np.arange(count)) if cut.fill == "random" else None
    maps_path.unlink(missing_ok=True)  # of another cut, which the note would soon not be of
    with atomic_path(folder / f"params_{suite.sim_set}_{suite.name}.txt") as temporary:
        shutil.copyfile(suite.params_path, temporary)
    write_json(
        cut_note(maps_path),
        {"cut": str(cut), "source": suite.fingerprint, "value_range": value_range},
    )
    with atomic_path(maps_path) as temporary, open(temporary, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": suite.maps.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, BLOCK):
            maps = np.arange(start, min(start + BLOCK, count))
            file.write(cut_maps(suite, maps, cut, value_range).data)
            if progress is not None and start // BLOCK % 10 == 0:
                progress(f"{maps_path.name}, {cut}: {maps[-1] + 1} of {count} maps")


def fill_range(suite: Suite, profile: Profile, cut) -> tuple[float, float] | None:
    """Return the range of random fills, that of the training maps or (published) of the file.

    None where the cut has no random fill.
    """
    if Cut.parse(cut).fill != "random":
        return None
    train = study_split(suite, profile).train
    maps = np.arange(len(suite.maps)) if profile.scaling_scope == "file" else map_indices(train)
    return _positive_range(suite, maps)


def _positive_range(suite: Suite, maps: np.ndarray) -> tuple[float, float]:
    """Smallest and largest positive pixel of some maps of a suite, read in blocks."""
    blocks = [maps[start : start + BLOCK] for start in range(0, len(maps), BLOCK)]
    low, high = zip(*(positive_range(read_maps(suite, block)) for block in blocks), strict=True)
    return min(low), max(high)


def truth_of(suite: Suite, maps: np.ndarray, targets) -> np.ndarray:
    """Return the true targets (n, P) of maps (n,) of a suite, physical units."""
    return suite.params[simulation_of(maps)][:, _columns(targets)]
