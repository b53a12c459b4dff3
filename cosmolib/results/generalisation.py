"""What a network that was trained on one suite says of other suites, and of other sets of its own.

A network is never tested on a region that it was trained on: of its own suite and of the
index-matched twin, of whatever size, only the simulations that it was tested on when it was trained
are predicted; an unrelated suite has a test part of its own. The network speaks in units of the
ranges that it was trained with. Sets such as CV, 1P and EX are test data from the first map to the
last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmolib.data.cmd_format import BOX_SIZE, MAPS_PER_SIMULATION, PARAMETERS
from cosmolib.data.scaling import fit_scaling
from cosmolib.data.suites import Suite, map_indices, open_suite, simulation_of, subset
from cosmolib.data.tables import off_fiducial
from cosmolib.study.profile import Profile
from cosmolib.study.run import Run
from cosmolib.training.dataset import MapsOnDisk, denormalise, fill_range, study_split, truth_of
from cosmolib.training.devices import select_device
from cosmolib.training.fit import run_network
from cosmolib.training.predictions import as_predictions, read_predictions
from cosmolib.training.run import load_run

SCALINGS_FROM = ("trained", "tested")  # suite that the scaling of the tested maps comes from


def cross_evaluate(
    run: Run,
    other: Suite | str,
    *,
    scaling: str = "trained",
    sim_set: str | None = None,
    device: str | None = None,
) -> dict:
    """Predict maps of another suite or set with a run's network and cut.

    Parameters
    ----------
    run : Run
        Complete.
    other : Suite or str
        A suite, or the name of one; of any size, with maps of the network's grid.
    scaling : {"trained", "tested"}
        The network's own scaling; or one fitted to the tested suite, with its range of random
        fills, as one gets by preparing every suite by itself, which hides from the network how the
        suites differ in mean and contrast.
    sim_set : str, optional
        By default that of the run, of which `unseen_simulations` are predicted. Of any other set,
        all are.
    device : str, optional

    Returns
    -------
    dict
        As `cosmolib.training.predictions.predict_test`.

    Raises
    ------
    ValueError
        Maps of another grid or box, an unknown scaling, or nothing that the network has not seen.
    """
    if scaling not in SCALINGS_FROM:
        raise ValueError(f"scaling: found {scaling!r}, expected one of {', '.join(SCALINGS_FROM)}")
    network, own_scaling, config = load_run(run)
    profile = Profile.model_construct(**config["profile"])  # its plugins need not be loaded here
    suite = other
    if isinstance(other, str):
        suite = open_suite(
            other, profile.data_dir, field=profile.field, sim_set=sim_set or profile.sim_set
        )
        if suite.sim_set == profile.sim_set and (profile.n_simulations or 0) < suite.n_simulations:
            suite = subset(suite, profile.n_simulations)
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
    outputs = run_network(network, x, device=device or select_device())
    mean, std = denormalise(*outputs, run.suite, profile.targets)
    return as_predictions(mean, std, truth_of(suite, maps, profile.targets), maps, profile.targets)


def unseen_simulations(run: Run, suite: Suite, profile: Profile) -> np.ndarray:
    """Return the simulations (n,) of a suite that a run's network can be tested on.

    The split hangs on the number of simulations: the test part of 500 holds simulations of the
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


# --------------------------------------------------------------------------------------------------
# 1P: one parameter at a time
# --------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Response:
    """Predictions against one parameter that is varied while all others are fiducial."""

    varied: str
    values: np.ndarray  # (m,) of the varied parameter, ascending, the fiducial one among them
    maps: np.ndarray  # (m, 15, P) predicted means, the same 15 places in each simulation
    targets: tuple[str, ...]

    @property
    def mean(self) -> np.ndarray:
        """Mean prediction of a simulation's maps, (m, P)."""
        return self.maps.mean(1)

    @property
    def error(self) -> np.ndarray:
        """Standard error of that mean over the 15 maps, (m, P)."""
        return self.maps.std(1, ddof=1) / np.sqrt(self.maps.shape[1])

    def slope(self, n_bootstrap: int = 1000, seed: int = 0) -> np.ndarray:
        """Least-squares slope d(prediction) / d(varied), with 95 % limits, (P, 3).

        The simulations of a 1P set share their initial phases, so that the places of the 15 maps
        are drawn anew together in all of them: what the phases do to every point cancels.
        """
        offset = self.values - self.values.mean()
        weights = offset / np.sum(offset**2)  # (m,)
        slopes = np.einsum("m,mip->ip", weights, self.maps)  # (15, P)
        return _mean_of_places(slopes, n_bootstrap, seed)

    def shift(self, n_bootstrap: int = 1000, seed: int = 0) -> np.ndarray:
        """Prediction at the highest minus at the lowest value, with 95 % limits as `slope`, (P, 3).

        Of a feedback parameter: how much the prediction hangs on what is marginalised over.
        """
        return _mean_of_places(self.maps[-1] - self.maps[0], n_bootstrap, seed)


def _mean_of_places(values, n_bootstrap, seed):
    """Mean of (15, P) over the places of the maps, with 95 % limits, (P, 3)."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(n_bootstrap, len(values)))
    limits = np.percentile(values[drawn].mean(1), (2.5, 97.5), axis=0)
    return np.stack([values.mean(0), *limits], axis=-1)


def fiducial_rows(suite: Suite) -> np.ndarray:
    """Simulations (k,) of a suite at the fiducial parameters, all columns of its table counted."""
    return np.flatnonzero(~off_fiducial(suite.params, suite.others).any(1))


def responses(suite: Suite, predictions: dict) -> list[Response]:
    """Sort the predictions of a 1P set by the parameter that is varied, whatever the order of rows.

    Rows in which a parameter beyond the six leaves its fiducial value belong to no curve, and a
    single point is none.

    Parameters
    ----------
    suite : Suite
    predictions : dict
        Of all its maps.
    """
    off = off_fiducial(suite.params, suite.others)  # (n, 6 or 28)
    fiducial = fiducial_rows(suite)[:1]
    by_simulation = predictions["mean"].reshape(
        -1, MAPS_PER_SIMULATION, len(predictions["parameters"])
    )
    curves = []
    for column, name in enumerate(PARAMETERS):
        rows = np.flatnonzero((off.sum(1) == 1) & off[:, column])
        rows = np.concatenate([rows, fiducial])
        if len(np.unique(suite.params[rows, column])) < 2:
            continue
        rows = rows[np.argsort(suite.params[rows, column], kind="stable")]
        targets = tuple(str(target) for target in predictions["parameters"])
        curves.append(Response(name, suite.params[rows, column], by_simulation[rows], targets))
    return curves


# --------------------------------------------------------------------------------------------------
# EX: extreme feedback
# --------------------------------------------------------------------------------------------------
def describe(params) -> str:
    """Say in which parameters a row of a table leaves the fiducial model.

    Examples
    --------
    >>> describe([0.3, 0.8, 100, 1, 1, 1]), describe([0.3, 0.8, 1, 1, 1, 1])
    ('A_SN1 = 100', 'fiducial')
    >>> describe([0.3, 0.8, 0, 0, 0, 0])
    'no feedback'
    """
    params = np.asarray(params, float)
    away = np.flatnonzero(off_fiducial(params))
    if len(away) == 4 and not params[2:].any():
        return "no feedback"
    return ", ".join(f"{PARAMETERS[i]} = {params[i]:g}" for i in away) or "fiducial"
