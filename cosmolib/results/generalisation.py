"""Test trained networks on other suites of simulations.

No network is tested on a region on which it was trained. For suites with the same initial
conditions, of any size, only its own test simulations are predicted; an unrelated suite has a
separate test part, and Nbody_other contains nothing else. Predictions are in units of the parameter
ranges of the training suite.
"""

import itertools

import numpy as np

from cosmolib.data.cmd_format import BOX_SIZE, MAPS_PER_SIMULATION, regions_of
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.suites import Suite, available_suites, map_indices, open_suite, simulation_of
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import MapsOnDisk, denormalise, fill_range, study_split, truth_of
from cosmolib.training.devices import select_device
from cosmolib.training.fit import run_network
from cosmolib.training.predictions import as_predictions, read_predictions
from cosmolib.training.run import load_run
from cosmolib.training.scores import bias_of, r2_of

TEST_SUITES = ("Nbody_other",)  # suites on which no network may be trained
SCALINGS_FROM = ("trained", "tested")  # suites whose scaling the tested maps can have


def cross_evaluate(run: Run, suite: Suite, *, scaling: str = "trained") -> dict:
    """Predict maps of another suite or simulation set with the network and the cut of a run.

    Parameters
    ----------
    run : Run
        A complete run.
    suite : Suite
        Of any size. `unseen_simulations` are predicted if it has the same simulation set as the
        run, and all simulations otherwise.
    scaling : {"trained", "tested"}
        "trained" applies the scaling of the network; "tested" fits a scaling (and the range of
        random fills) to the tested suite. The latter, as if each suite were prepared separately,
        hides differences in mean and contrast from the network.

    Returns
    -------
    dict
        As from `cosmolib.training.predictions.predict`.

    Raises
    ------
    ValueError
        The maps have another grid or box, the scaling is unknown, or the network was trained on all
        simulations.
    """
    if scaling not in SCALINGS_FROM:
        raise ValueError(f"scaling: found {scaling!r}, expected one of {', '.join(SCALINGS_FROM)}")
    network, own_scaling, config = load_run(run)
    profile = Profile.model_construct(**config["profile"])  # its plugins need not be loaded here
    # Older runs do not have the key box_size; all of them used this box.
    _check(suite, grid=config["network"]["size"], box_size=config.get("box_size", BOX_SIZE))
    maps = fitted = np.arange(len(suite.maps))
    if suite.sim_set == profile.sim_set:
        test, train = unseen_simulations(run, suite, profile), study_split(suite, profile).train
        maps = map_indices(test)
        if profile.scaling_scope != "file":
            train = train[~np.isin(train, test)]
            fitted = map_indices(train) if len(train) else maps
    else:
        profile = profile.model_copy(update={"scaling_scope": "file"})
    value_range = config["value_range"]
    if scaling == "tested":
        value_range = fill_range(suite, profile, run.cut)
        own_scaling = fit_scaling(MapsOnDisk(suite, fitted, run.cut, value_range), profile.scaling)
    x = MapsOnDisk(suite, maps, run.cut, value_range, own_scaling)
    outputs = run_network(network, x, device=select_device(), symmetries=profile.average_symmetries)
    mean, std = denormalise(*outputs, run.suite, profile.targets)
    return as_predictions(mean, std, truth_of(suite, maps, profile.targets), maps, profile.targets)


def _check(suite, **expected):
    """Raise ``ValueError`` if a property of a suite differs from the expected one."""
    for what, value in expected.items():
        if (found := getattr(suite, what)) != value:
            raise ValueError(f"{suite.maps_path}: found {what} {found}, expected {value}")


def unseen_simulations(run: Run, suite: Suite, profile: Profile) -> np.ndarray:
    """Return the simulations (n,) of a suite on which the network of a run can be tested.

    The split depends on the number of simulations: the test part of 500 simulations contains some
    of the training part of 1000. Simulation i of a suite and of its twins is the same region.
    Therefore the test simulations of the run are used for its own suite and for the twins, as far
    as the suite contains them.

    Raises
    ------
    ValueError
        The suite contains none of them.
    """
    if suite.name in TEST_SUITES:
        return np.arange(suite.n_simulations)
    if regions_of(suite.name) != regions_of(run.suite):
        return study_split(suite, profile).test
    tested = read_predictions(run.path("predictions.npz"))["map"]
    own = simulation_of(tested[::MAPS_PER_SIMULATION])
    shared = own[own < suite.n_simulations]
    if not len(shared):
        raise ValueError(
            f"{suite.maps_path}: found {suite.n_simulations} simulations, expected at least "
            f"{own.min() + 1}, because none of them is a test simulation of {run.folder}"
        )
    return shared


def other_suite(name: str, sim_set: str, like: Suite, profile: Profile) -> Suite:
    """Open a suite or set that a study does not require.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or its grid, cut or box differs from that of `like`.
    """
    suite = open_suite(name, profile.data_dir, profile.field, sim_set)
    if sim_set == profile.sim_set:
        study_split(suite, profile)  # raises an error if a part of the split is empty
    _check(suite, grid=like.grid, cut=like.cut, box_size=like.box_size)
    return suite


def suites_to_test(studied: dict, profile: Profile) -> tuple[dict, list[str]]:
    """Return the suites of a study and all comparable suites in its data folder.

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
        One sentence for each suite that cannot be read or compared.
    """
    suites, left_out, like = dict(studied), [], next(iter(studied.values()))
    others = available_suites(profile.data_dir, profile.field, profile.sim_set)
    for name in (name for name in others if name not in studied):
        try:
            suites[name] = other_suite(name, profile.sim_set, like, profile)
        except (OSError, ValueError) as error:
            left_out.append(f"{name}, set {profile.sim_set}: left out: {error}")
    return suites, left_out


def cross_table(found: dict, own: dict, tested: dict, profile: Profile) -> list[dict]:
    """Test networks on all suites, under the cut with which they were trained.

    Networks of uncut maps are tested with both scalings of the maps, the others with their own.

    Parameters
    ----------
    found : dict
        {(suite, cut): complete runs, one per seed}.
    own : dict
        {(suite, cut): predictions of these runs for their own test maps}.
    tested : dict
        {name: Suite}, see `suites_to_test`.
    profile : Profile

    Returns
    -------
    list of dict
        The entry ``cross`` of the results table.
    """
    options, table = {"n_bootstrap": profile.bootstrap_samples}, []
    for (name, suite), ((trained, cut), runs) in itertools.product(tested.items(), found.items()):
        for scaling in SCALINGS_FROM[: 1 if trained == name or cut != "none" else 2]:
            predicted, home = own[trained, cut], own.get((name, cut), [])
            if trained != name:
                predicted = [cross_evaluate(run, suite, scaling=scaling) for run in runs]
            # Twins of different sizes may have been tested on different simulations.
            paired = home and np.array_equal(home[0]["map"], predicted[0]["map"])
            row = {"trained": trained, "tested": name, "cut": cut, "scaling": scaling}
            row |= {
                "n_test_simulations": len(np.unique(predicted[0]["simulation"])),
                "r2": r2_of(predicted, **options),
                "bias": bias_of(predicted, in_sigma=False, **options),
                "bias_sigma": bias_of(predicted, in_sigma=True, **options),
                "difference": r2_of(predicted, home, **options) if paired else {},
            }
            table.append(row)
    return table
