"""Test trained networks on other suites of simulations.

A network is never tested on a region that it was trained on: of its suite and of the
index-matched twin, of whatever size, only the simulations that it was tested on when it was trained
are predicted; an unrelated suite has its own test part. Predictions are in units of the parameter
ranges of the training.
"""

from __future__ import annotations

import numpy as np

from cosmolib.data.cmd_format import BOX_SIZE, MAPS_PER_SIMULATION
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.suites import (
    Suite,
    available_suites,
    map_indices,
    open_suite,
    simulation_of,
)
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import MapsOnDisk, denormalise, fill_range, study_split, truth_of
from cosmolib.training.devices import select_device
from cosmolib.training.fit import run_network
from cosmolib.training.predictions import as_predictions, read_predictions
from cosmolib.training.run import load_run
from cosmolib.training.scores import bias_of, r2_of

SCALINGS_FROM = ("trained", "tested")  # suite that the scaling of the tested maps comes from


def cross_evaluate(
    run: Run, suite: Suite, *, scaling: str = "trained", device: str | None = None
) -> dict:
    """Predict maps of another suite or set with a run's network and cut.

    Parameters
    ----------
    run : Run
        Complete.
    suite : Suite
        Of any size, with maps of the network's grid. Of the run's set of simulations,
        `unseen_simulations` are predicted; of any other set, all.
    scaling : {"trained", "tested"}
        The network's own scaling; or one fitted to the tested suite, with its range of random
        fills, as when every suite is prepared by itself, which hides from the network how the
        suites differ in mean and contrast.
    device : str, optional

    Returns
    -------
    dict
        As `cosmolib.training.predictions.predict`.

    Raises
    ------
    ValueError
        Maps of another grid or box, an unknown scaling, or no simulation that is new to the
        network.
    """
    if scaling not in SCALINGS_FROM:
        raise ValueError(f"scaling: found {scaling!r}, expected one of {', '.join(SCALINGS_FROM)}")
    network, own_scaling, config = load_run(run)
    profile = Profile.model_construct(**config["profile"])  # its plugins need not be loaded here
    if suite.grid != config["network"]["size"]:
        size = config["network"]["size"]
        raise ValueError(f"{suite.maps_path}: found {suite.grid}^2 maps, expected {size}^2")
    box_size = config.get("box_size", BOX_SIZE)  # not in older runs, which all had this one
    if suite.box_size != box_size:
        raise ValueError(
            f"{suite.maps_path}: found boxes of {suite.box_size:g} Mpc/h, expected {box_size:g} as "
            f"in the maps that {run.folder} was trained on"
        )
    everything = np.arange(len(suite.maps))
    if suite.sim_set == profile.sim_set:
        test, train = unseen_simulations(run, suite, profile), study_split(suite, profile).train
        maps, fitted = map_indices(test), map_indices(train[~np.isin(train, test)])
        scope = profile.scaling_scope
    else:
        maps = fitted = everything
        scope = "file"
    value_range = config["value_range"]
    if scaling == "tested":
        value_range = fill_range(
            suite, profile.model_copy(update={"scaling_scope": scope}), run.cut
        )
        fitted = everything if scope == "file" else fitted
        own_scaling = fit_scaling(MapsOnDisk(suite, fitted, run.cut, value_range), profile.scaling)
    x = MapsOnDisk(suite, maps, run.cut, value_range, own_scaling)
    outputs = run_network(
        network, x, device=device or select_device(), symmetries=profile.average_symmetries
    )
    mean, std = denormalise(*outputs, run.suite, profile.targets)
    return as_predictions(mean, std, truth_of(suite, maps, profile.targets), maps, profile.targets)


def unseen_simulations(run: Run, suite: Suite, profile: Profile) -> np.ndarray:
    """Return the simulations (n,) of a suite that a run's network can be tested on.

    The split depends on the number of simulations: the test part of 500 contains simulations of the
    training part of 1000. Where the suite is the run's own or its twin, in which simulation i is
    the same region, the run's own test simulations are taken, as far as the suite has them.

    Raises
    ------
    ValueError
        The suite has none of them.
    """
    if suite.name.removeprefix("Nbody_") != run.suite.removeprefix("Nbody_"):
        return study_split(suite, profile).test
    tested = read_predictions(run.path("predictions.npz"))["map"]
    own = simulation_of(tested[::MAPS_PER_SIMULATION])
    shared = own[own < suite.n_simulations]
    if not len(shared):
        raise ValueError(
            f"{suite.maps_path}: found {suite.n_simulations} simulations, expected at least "
            f"{own.min() + 1}: none of them is a test simulation of {run.folder}"
        )
    return shared


def other_suite(name: str, sim_set: str, like: Suite, profile: Profile) -> Suite:
    """Open a suite that a study can do without.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or its grid, cut or box differs from that of `like`.
    """
    suite = open_suite(name, profile.data_dir, profile.field, sim_set)
    if sim_set == profile.sim_set:
        study_split(suite, profile)  # has every part
    for what in ("grid", "cut", "box_size"):
        found, expected = getattr(suite, what), getattr(like, what)
        if found != expected:
            raise ValueError(f"{suite.maps_path}: found {what} {found}, expected {expected}")
    return suite


def suites_to_test(studied: dict, profile: Profile) -> tuple[dict, list[str]]:
    """Return the suites of a study and all comparable ones in its data folder.

    Parameters
    ----------
    studied : dict
        {name: Suite}
    profile : Profile

    Returns
    -------
    suites : dict
        {name: Suite}
    left_out : list of str
        A sentence for each suite that cannot be read or compared: it must not stop a study that
        does not need it.
    """
    suites, left_out = dict(studied), []
    for name in available_suites(profile.data_dir, profile.field, profile.sim_set):
        if name not in suites:
            try:
                like = next(iter(studied.values()))
                suites[name] = other_suite(name, profile.sim_set, like, profile)
            except (OSError, ValueError) as error:
                left_out.append(f"{name}, set {profile.sim_set}: left out: {error}")
    return suites, left_out


def cross_table(uncut: dict, tested: dict, profile: Profile) -> list[dict]:
    """Test the networks of uncut maps of each suite on each suite, in both scalings.

    Parameters
    ----------
    uncut : dict
        {suite: complete runs, one a seed}.
    tested : dict
        {name: Suite}, see `suites_to_test`.
    profile : Profile

    Returns
    -------
    list of dict
        ``cross`` of the results table.
    """
    options = {"n_bootstrap": profile.bootstrap_samples}
    own = {
        name: [read_predictions(run.path("predictions.npz")) for run in runs]
        for name, runs in uncut.items()
    }
    table = []
    for name, suite in tested.items():
        for trained, runs in uncut.items():
            for scaling in SCALINGS_FROM[: 1 if trained == name else 2]:
                found = own[trained]
                if trained != name:
                    found = [cross_evaluate(run, suite, scaling=scaling) for run in runs]
                # Twins of different size may have been tested on different simulations.
                paired = name in own and np.array_equal(own[name][0]["map"], found[0]["map"])
                table.append(
                    {
                        "trained": trained,
                        "tested": name,
                        "scaling": scaling,
                        "n_test_simulations": len(np.unique(found[0]["simulation"])),
                        "r2": r2_of(found, **options),
                        "bias": bias_of(found, in_sigma=False, **options),
                        "bias_sigma": bias_of(found, in_sigma=True, **options),
                        "difference": r2_of(found, own[name], **options) if paired else {},
                    }
                )
    return table
