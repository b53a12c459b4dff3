"""What a trained network knows: predictions, scores with errors, and the run that holds them.

Scores are per map unless a name says ``simulation``. Maps of one simulation share their parameters
and much of their structure, so every interval resamples whole simulations. R2 is the share of the
variance of the true parameter over the test maps that is explained: 1 is perfect, 0 is as good as
their mean.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from cosmolib.inputs import Data, denormalise, prepare_data, study_suite
from cosmolib.networks import build_network, published_network
from cosmolib.runs import Profile, Run, atomic_path, provenance, read_json, sha256, write_json
from cosmolib.scaling import Scaling
from cosmolib.suites import simulation_of
from cosmolib.training import (
    fit,
    moment_loss,
    run_network,
    seeded,
    select_device,
)

# Keys of a profile that a single run hangs on: when one of them changes, the run is done anew.
RUN_KEYS = (
    "field", "set", "n_simulations", "train_simulations", "split_seed", "scaling", "scaling_scope",
    "storage", "targets", "hidden", "dropout", "epochs", "batch_size", "max_lr", "weight_decay",
    "betas",
    "schedule", "symmetries", "shifts", "bootstrap_samples",
)  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Scores: each takes the maps' weights, so that a bootstrap is one matrix product
# --------------------------------------------------------------------------------------------------
def _average(values, weights):
    """Average (n, P) over maps: (P,), or (S, P) with a row of weights (S, n) a resampling."""
    if weights is None:
        return values.mean(0)
    return weights @ values / weights.sum(-1, keepdims=True)


def r2(mean, std, truth, weights=None):
    """Coefficient of determination 1 - <(truth - mean)^2> / var(truth); NaN without variance."""
    centred = truth - truth.mean(0)  # keeps the difference of squares exact
    variance = _average(centred**2, weights) - _average(centred, weights) ** 2
    error = _average((truth - mean) ** 2, weights)
    floor = 1e-12 * np.maximum((truth**2).mean(0), 1e-300)  # rounding of equal truths
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > floor, 1 - error / variance, np.nan)


def rmse(mean, std, truth, weights=None):
    """Root mean square error, physical units."""
    return np.sqrt(_average((truth - mean) ** 2, weights))


def relative_error(mean, std, truth, weights=None):
    """Mean of |mean - truth| / truth, as CMD quotes it."""
    return _average(np.abs(mean - truth) / truth, weights)


def bias(mean, std, truth, weights=None):
    """Mean of mean - truth, physical units."""
    return _average(mean - truth, weights)


def chi2(mean, std, truth, weights=None):
    """Mean of ((truth - mean) / std)^2: 1 where the widths are right, more where too narrow."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _average(((truth - mean) / std) ** 2, weights)


def mean_sigma(mean, std, truth, weights=None):
    """Mean predicted standard deviation, physical units."""
    return _average(std, weights)


SCORES = {
    score.__name__: score for score in (r2, rmse, relative_error, bias, chi2, mean_sigma)
}  # fmt: skip


def bootstrap(
    statistic: Callable, arrays, simulations, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of a statistic, by resampling whole simulations.

    Parameters
    ----------
    statistic : callable
        ``statistic(*arrays, weights=w)`` with w (S, n) -> (S, ...): how often each of S resamplings
        holds each map.
    arrays : sequence of (n, ...) arrays
    simulations : (n,) int
        Simulation of each map.
    n : int
        Number of resamplings.
    seed : int

    Returns
    -------
    low, high : arrays
        2.5 and 97.5 % of the resamplings in which the statistic is defined; NaN with fewer than two
        simulations, where nothing is known of the scatter between them.
    """
    numbers, place = np.unique(simulations, return_inverse=True)
    if len(numbers) < 2:
        once = statistic(*arrays, weights=np.ones((1, len(place))))
        nothing = np.full(np.shape(once)[1:], np.nan)
        return nothing, nothing
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=n)
    values = np.asarray(statistic(*arrays, weights=counts[:, place].astype(float)))
    flat = values.reshape(n, -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    for column in range(flat.shape[1]):
        defined = flat[~np.isnan(flat[:, column]), column]
        if len(defined):
            bounds[:, column] = np.percentile(defined, (2.5, 97.5))
    return tuple(bounds.reshape(2, *values.shape[1:]))


def simulation_average(predictions: dict) -> dict:
    """Average predictions over the maps of each simulation, in ascending order of simulations.

    The std is the maps' mean one: maps of a simulation are not independent, so that it does not
    fall with their number.
    """
    numbers, place, count = np.unique(
        predictions["simulation"], return_inverse=True, return_counts=True
    )
    averaged = {"simulation": numbers, "parameters": predictions["parameters"]}
    for key in ("mean", "std", "truth"):
        total = np.zeros((len(numbers), predictions[key].shape[1]))
        np.add.at(total, place, predictions[key])
        averaged[key] = total / count[:, None]
    return averaged


def metrics(predictions: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return every score of some predictions, with its 95 % interval.

    Parameters
    ----------
    predictions : dict
        Of `predict_test` or ``predictions.npz``.
    n_bootstrap, seed : int

    Returns
    -------
    dict
        ``n_maps``, ``n_simulations`` and ``parameters``: {name: {score, score_low, score_high, and
        the same as score_simulation for predictions averaged over a simulation's maps}}. A score
        that is not defined, such as R2 or an interval with one simulation, is None.
    """
    averaged = simulation_average(predictions)
    scores = {str(name): {} for name in predictions["parameters"]}
    for suffix, table in (("", predictions), ("_simulation", averaged)):
        arrays = [np.asarray(table[key], np.float64) for key in ("mean", "std", "truth")]
        for key, score in SCORES.items():
            value = score(*arrays)
            low, high = bootstrap(score, arrays, table["simulation"], n_bootstrap, seed)
            for p, entry in enumerate(scores.values()):
                for end, found in (("", value), ("_low", low), ("_high", high)):
                    entry[f"{key}{suffix}{end}"] = _number(found[p])
    return {
        "n_maps": len(predictions["simulation"]),
        "n_simulations": len(averaged["simulation"]),
        "parameters": scores,
    }


def _number(value):
    """Return a float, or None where JSON would have none."""
    return float(value) if np.isfinite(value) else None


def paired_difference(a: dict, b: dict, n_bootstrap: int = 1000, seed: int = 0) -> dict:
    """Return R2(a) - R2(b) of each parameter, on the same test maps, with its 95 % interval.

    Both are resampled together, so that what they share (easy and hard simulations) cancels.

    Returns
    -------
    dict
        {parameter: {"value", "low", "high"}}

    Raises
    ------
    ValueError
        The predictions are not of the same maps, parameters and true values.
    """
    for key in ("parameters", "simulation", "map", "truth"):
        if not np.array_equal(a[key], b[key]):
            raise ValueError(f"paired difference: {key} differs, expected the same test maps twice")

    def difference(mean_a, mean_b, truth, weights=None):
        return r2(mean_a, None, truth, weights) - r2(mean_b, None, truth, weights)

    arrays = [np.asarray(x, np.float64) for x in (a["mean"], b["mean"], a["truth"])]
    value = difference(*arrays)
    low, high = bootstrap(difference, arrays, a["simulation"], n_bootstrap, seed)
    return {
        str(name): {"value": _number(v), "low": _number(lo), "high": _number(hi)}
        for name, v, lo, hi in zip(a["parameters"], value, low, high, strict=True)
    }


# --------------------------------------------------------------------------------------------------
# Predictions
# --------------------------------------------------------------------------------------------------
def predict(
    network, x, batch_size: int | None = None, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised mean and std, both (n, P), of scaled maps x (n, 1, N, N), in eval mode."""
    x = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
    mean, std = run_network(network, x, batch_size, device)
    return mean.numpy(), std.numpy()


def predict_test(network, data: Data, device: str = "cpu") -> dict:
    """Predict the test maps of `data`, in physical units.

    Returns
    -------
    dict
        mean, std, truth (n, P), simulation (n,), map (n,), parameters (P,) names.
    """
    outputs = predict(network, data.test_x, device=device)
    mean, std = denormalise(*outputs, data.suite, data.targets)
    return as_predictions(mean, std, data.test_truth, data.test_map, data.targets)


def as_predictions(mean, std, truth, maps, targets) -> dict:
    """Return predictions in the form of ``predictions.npz``, see `predict_test`."""
    return {
        "mean": mean,
        "std": std,
        "truth": truth,
        "simulation": simulation_of(maps),
        "map": maps,
        "parameters": np.array(targets),
    }


def read_predictions(path: str | Path) -> dict:
    """Read a ``predictions.npz``."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


# --------------------------------------------------------------------------------------------------
# One run
# --------------------------------------------------------------------------------------------------
def train_run(
    run: Run,
    profile: Profile,
    *,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
    data: Data | None = None,
) -> dict:
    """Do one run from its maps to its ``metrics.json``, or read that where it is done already.

    The folder fills in the order config.yaml, checkpoint.pt (removed at the end), history.csv,
    weights.pt, predictions.npz, provenance.json, metrics.json. A run that was killed goes on from
    its checkpoint. A run done with other settings or data than now is done anew.

    Parameters
    ----------
    run : Run
    profile : Profile
    device : str, optional
        By default a GPU where there is one.
    progress : callable, optional
        Called with a line of text an epoch.
    data : Data, optional
        What `prepare_data` gives for this run, where several seeds share it.

    Returns
    -------
    dict
        As `metrics`, with ``best_epoch`` and ``valid_loss``.
    """
    started = time.perf_counter()
    device = device or select_device()
    suite = study_suite(run.suite, profile)
    config = _config(run, profile, suite)
    if _done(run, config):
        return read_json(run.path("metrics.json"))
    if data is None:
        data = prepare_data(suite, profile, run.cut)
    elif (data.suite, data.cut, data.fingerprint) != (run.suite, run.cut, suite.fingerprint):
        raise ValueError(
            f"{run.folder}: found data of {data.suite}, cut {data.cut}, expected {run.suite}, "
            f"cut {run.cut}, of {suite.maps_path}"
        )
    _write_config(run, config, data)
    with seeded(run.seed):
        network = build_network(**config["network"])
    history = fit(
        network,
        data,
        profile,
        seed=run.seed,
        checkpoint=run.path("checkpoint.pt"),
        device=device,
        progress=progress,
    )
    with (
        atomic_path(run.path("history.csv")) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, history[0], lineterminator="\n")
        table.writeheader()
        table.writerows(history)
    best = min(history, key=lambda row: row["valid_loss"])
    result = {"best_epoch": best["epoch"], "valid_loss": best["valid_loss"]}
    training_seconds = sum(row["seconds"] for row in history)  # also those before a restart
    result = _finish(
        run, profile, network, data, device, started, result, training_seconds=training_seconds
    )  # fmt: skip
    run.path("checkpoint.pt").unlink(missing_ok=True)
    return result


def adopted_name(profile: Profile, weights_path: str | Path) -> str:
    """Profile name of a run that `adopt_run` makes: no trained run's folder is ever mixed with."""
    return f"{profile.name}-{Path(weights_path).stem}"


def adopt_run(
    run: Run, profile: Profile, weights_path: str | Path, *, device: str | None = None
) -> dict:
    """Make a run of a network that was trained elsewhere, or read it where it is made already.

    The file is a state dict of the published code. The run is judged on the test maps of its suite,
    scaled as the profile says for this suite; it is complete but for a ``history.csv``. Another
    file, other settings or other data than now make it anew.

    Parameters
    ----------
    run : Run
        Of the profile `adopted_name` and the architecture "o3".
    profile : Profile
        Its data, its scaling, its targets; the network's shapes are those of the file.
    weights_path : path
    device : str, optional
        By default a GPU where there is one.

    Returns
    -------
    dict
        As `train_run`; the best epoch is not known.

    Raises
    ------
    ValueError
        The file is no such network, or run, maps or targets do not fit it.
    """
    started = time.perf_counter()
    network = published_network(weights_path)
    suite = study_suite(run.suite, profile)
    stem, targets = Path(weights_path).stem, profile.targets
    for what, found, expected in (
        ("architecture of the run", run.architecture, "o3"),
        ("profile of the run", run.profile, f"{run.profile.removesuffix(f'-{stem}')}-{stem}"),
        (f"maps of {suite.maps_path}", f"{suite.grid}^2", f"{network.size}^2, as the network"),
        (f"targets {targets}", len(targets), f"{network.n_parameters}, as the network"),
    ):
        if found != expected and not str(expected).startswith(f"{found},"):
            raise ValueError(f"{weights_path}: {what}: found {found}, expected {expected}")
    return network
def _config(run, profile, suite):
    """What fixes a run; `train_run` adds the scaling that came out."""
    return {
        "run": {key: getattr(run, key) for key in ("suite", "cut", "architecture", "seed")},
        "profile": asdict(profile),
        "fingerprint": suite.fingerprint,
        "network": {
            "name": run.architecture,
            "size": suite.grid,
            "hidden": profile.hidden,
            "dropout": profile.dropout,
            "n_parameters": len(profile.targets),
        },
    }


def _same_run(old, new):
    def relevant(config):
        return {
            **{key: config[key] for key in ("run", "fingerprint", "network")},
            "profile": {key: config["profile"].get(key) for key in RUN_KEYS},
        }

    return old is not None and relevant(old) == relevant(new)


def _write_config(run, config):
    plain = dict(config)
    if plain["value_range"] is not None:
        plain["value_range"] = [float(edge) for edge in plain["value_range"]]
    with atomic_path(run.path("config.yaml")) as temporary:
        temporary.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def _read_config(run):
    """Return a run's config.yaml, None where there is none or it is not one."""
    path = run.path("config.yaml")
    if not path.is_file():
        return None
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    keys = {"run", "profile", "fingerprint", "network", "scaling", "value_range"}
    known = {field.name for field in fields(Profile)}  # else made by another version
    whole = isinstance(config, dict) and keys <= config.keys() and known == config["profile"].keys()
    return config if whole else None


def load_run(run: Run) -> tuple[torch.nn.Module, Scaling, dict]:
    """Return the trained network of a run, in eval mode on the CPU, its scaling and its config.

    Raises
    ------
    ValueError
        The run is not complete.
    """
    config = _read_config(run)
    if not run.complete or config is None:
        raise ValueError(f"{run.folder}: found no complete run, expected one: train it first")
    with seeded(0):  # the initial weights are replaced: leave torch's state alone
        network = build_network(**config["network"])
    state = torch.load(run.path("weights.pt"), map_location="cpu", weights_only=True)
    network.load_state_dict(state)
    return network.eval(), Scaling(**config["scaling"]), config
