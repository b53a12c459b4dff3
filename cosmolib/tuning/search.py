"""Hyper-parameter search: an Optuna study that can be killed, resumed, and shared.

Published (arXiv:2504.17839 and its code): TPE, 50 trials, the first ten of them random, the four
ranges of `SEARCH_SPACE`, the best validation loss as the value, no pruning, SQLite. Ours: pruning
at the median after five random trials, and a seed per trial, so that a study that was killed and
resumed gives the result of an uninterrupted one. Several workers can share a study
(`cosmolib.tuning.shared_study`); its trials after the random ones then depend on their timing.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from cosmolib.data.suites import Suite
from cosmolib.study.identity import digest, identity
from cosmolib.study.io import redact
from cosmolib.study.profile import Profile
from cosmolib.study.registry import load_plugins
from cosmolib.training.dataset import Data, prepare_data, study_suite
from cosmolib.training.devices import visible_gpus
from cosmolib.training.fit import fit, seeded
from cosmolib.training.networks import build_network
from cosmolib.tuning.shared_study import finished_trials, kind_of, open_study

STARTUP_TRIALS = 5  # drawn at random before TPE and the pruner take over


@dataclass(frozen=True)
class Range:
    """Range of one hyper-parameter."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


# As published. "lite" has the same ranges, though its pool regularises: expect little dropout.
SEARCH_SPACE = {
    "max_lr": Range(1e-5, 5e-3, log=True),
    "weight_decay": Range(1e-8, 1e-1, log=True),
    "dropout": Range(0.0, 0.9),
    "hidden": Range(6, 12, integer=True),
}


@dataclass(frozen=True)
class Search:
    """Data and settings of a study."""

    suite: Suite
    data: Data
    profile: Profile  # with the number of simulations of the search
    name: str  # of the study


def default_storage(runs_dir: str | Path, profile: Profile, workers: int = 1) -> str | Path:
    """Return the default storage of a profile's study.

    ``$COSMOLIB_STUDY``; otherwise a SQLite file, or a journal if it has or had several workers.
    """
    if os.environ.get("COSMOLIB_STUDY"):
        return os.environ["COSMOLIB_STUDY"]
    folder = Path(runs_dir) / profile.name / "tuning"
    journal = folder / "study.journal"
    return journal if workers > 1 or journal.exists() else folder / "study.db"


def prepare_search(profile: Profile, seed: int = 1) -> Search:
    """Prepare the uncut maps of a profile's ``tuning_suite`` and name the study.

    The name ends in a digest of everything that the trials depend on (`cosmolib.study.identity`):
    a change starts a new study; more trials continue the old one. If the first trial has the
    profile's own settings, they are part of it.
    """
    profile = profile.replace(n_simulations=profile.tuning_simulations or profile.n_simulations)
    suite = study_suite(profile.tuning_suite, profile)
    data = prepare_data(suite, profile, "none")
    first = {key: getattr(profile, key) for key in SEARCH_SPACE} if _inside(profile) else None
    now = identity(
        "tuning", profile, fingerprint=suite.fingerprint, suite=suite.name,
        architecture=profile.architecture, seed=seed, first=first,
    )  # fmt: skip
    return Search(suite, data, profile, f"{profile.architecture}-{suite.name}-{digest(now)}")


def run_study(
    data: Data,
    profile: Profile,
    *,
    storage: str | Path,
    n_trials: int | None = None,
    seed: int = 1,
    name: str = "tuning",
    device: str = "cpu",
    workers: int = 1,
    progress: Callable[[str], None] | None = None,
):
    """Search the hyper-parameters of `SEARCH_SPACE` for the least validation loss.

    All trials share initial weights, order of the maps and augmentation, as far as their shapes
    allow. The profile's own settings are the first trial if they lie within the ranges. Only
    missing trials are run: a complete study returns at once.

    Parameters
    ----------
    data : Data
        Of the profile's ``tuning_suite``, with its ``tuning_simulations``.
    profile : Profile
        Trials have its ``tuning_epochs`` and all settings that are not searched.
    storage : path or URL
        SQLite file for one process; ``*.journal``, or the URL of a database, for many: see
        `cosmolib.tuning.shared_study`. A missing file is created with its folder.
    n_trials : int, optional
        Total of complete and pruned trials; by default the profile's ``tuning_trials``.
    seed : int
        Of the sampler and of every training.
    name : str
        Of the study in its storage.
    device : str
        With several GPUs, "cuda" gives each worker one in turn.
    workers : int
        Processes to start on this machine; other machines may work at the study too.
    progress : callable, optional
        Called with a line of text per trial.

    Returns
    -------
    optuna.study.Study

    Raises
    ------
    ValueError
        Several workers for a SQLite file, or a storage that cannot be used.
    ChildProcessError
        A worker failed, with its message. The study keeps its finished trials.
    """
    import optuna

    n_trials = profile.tuning_trials if n_trials is None else n_trials
    profile = profile.replace(epochs=profile.tuning_epochs)
    if workers > 1:
        if kind_of(storage) == "sqlite":
            raise ValueError(
                f"{redact(storage, storage)}: found SQLite for {workers} workers, expected a "
                ".journal file or the address of a database"
            )
        options = {"storage": storage, "n_trials": n_trials, "seed": seed, "name": name}
    size = data.train_x.shape[-1]

    def objective(trial, place):
        # A seed per place: any worker, after any restart, draws the same. (Optuna uses the sampler
        # only when a value is suggested, so that it can be set here.)
        own = place == 0 and _inside(profile)
        study.sampler = _sampler(profile if own else None, seed + 1000 * place)
        if own:
            trial.set_user_attr("profile", True)
        suggested = {
            key: trial.suggest_int(key, span.low, span.high)
            if span.integer
            else trial.suggest_float(key, span.low, span.high, log=span.log)
            for key, span in SEARCH_SPACE.items()
        }
        chosen, losses = profile.replace(**suggested), []

        def report(row):
            losses.append(row["valid_loss"])
            trial.report(row["valid_loss"], row["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        with seeded(seed):
            network = build_network(
                chosen.architecture, size, chosen.hidden, chosen.dropout, len(chosen.targets)
            )
        started = time.perf_counter()
        try:
            fit(network, data, chosen, seed=seed, device=device, epoch_callback=report)
        except FloatingPointError as error:  # too high a learning rate is a result, not a failure
            trial.set_user_attr("diverged", str(error))
            raise optuna.TrialPruned from None
        finally:  # not by the clock of the storage, which may be set back
            trial.set_user_attr("seconds", time.perf_counter() - started)
        return min(losses)

    def finished(trial):
        if progress is not None and trial.state.name in ("COMPLETE", "PRUNED"):
            progress(_line(trial, len(finished_trials(study)), n_trials))

    pruner = optuna.pruners.MedianPruner(
        STARTUP_TRIALS, n_warmup_steps=math.ceil(profile.epochs / 3)
    )
    with open_study(storage, name, pruner) as shared:
        study = shared.study
        if workers > 1:
            _start_workers(workers, (data, profile), options, device, progress)
        shared.run(n_trials, objective, finished)
    return study


def _sampler(profile, seed):
    """Return TPE, or a sampler of a profile's own settings."""
    import optuna

    sampler = optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS,
        seed=seed,
        constant_liar=True,  # running trials count as bad, so that workers keep apart
    )
    if profile is None:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        settings = {key: getattr(profile, key) for key in SEARCH_SPACE}
        return optuna.samplers.PartialFixedSampler(settings, sampler)


def _start_workers(workers, work, options, device, progress):
    """Run worker processes until the study is complete; raise the first error of one of them.

    A worker that is killed is only reported: others take over its trial.
    """
    context = torch.multiprocessing.get_context("spawn")  # shares the maps' memory
    gpus = visible_gpus() if device == "cuda" else []
    options = {**options, "device": device}
    threads, processes = max(1, torch.get_num_threads() // workers), []
    errors = context.SimpleQueue()
    names = [f"worker {i} of {workers}" for i in range(1, workers + 1)]
    for i, name in enumerate(names):
        gpu = gpus[i % len(gpus)] if gpus else None
        process = context.Process(target=_work, args=(*work, options, threads, gpu, name, errors))
        process.start()
        processes.append(process)
    try:
        for process in processes:
            process.join()
    except BaseException:  # an interruption that only this process received
        for process in processes:
            process.terminate()
        raise
    if not errors.empty():
        raise ChildProcessError(errors.get())
    for name, process in zip(names, processes, strict=True):
        if process.exitcode > 0:  # it printed a traceback
            raise RuntimeError(f"{name} ended with exit code {process.exitcode}")
        if process.exitcode and progress is not None:
            progress(f"{name} was killed by signal {-process.exitcode}; the others continue")


def _work(data, profile, options, threads, gpu, name, errors):
    if gpu is not None:  # before this process uses CUDA
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        load_plugins(profile.plugins)  # this process is a new one
        torch.set_num_threads(threads)
        say = partial(print, file=sys.stderr, flush=True)
        run_study(data, profile, progress=say, **options)
    except (ValueError, OSError) as error:  # for the process that the user sees
        errors.put(f"{name}: {error}")
    except KeyboardInterrupt:  # it reached all processes of the terminal
        sys.exit(130)


def study_table(study) -> list[dict]:
    """Return one row per finished trial, for tables and figures.

    Returns
    -------
    list of dict
        ``number`` (from 0, without unfinished trials), ``value`` (least validation loss; of a
        pruned trial the last one reported, or None), ``pruned``, ``profile`` (whether it has the
        profile's own settings), ``seconds``, and every hyper-parameter.
    """
    rows = []
    for number, trial in enumerate(finished_trials(study)):
        pruned = trial.state.name == "PRUNED"
        last = trial.intermediate_values.get(trial.last_step) if pruned else trial.value
        rows.append(
            {
                "number": number,
                "value": last,
                "pruned": pruned,
                "profile": bool(trial.user_attrs.get("profile", False)),
                "seconds": trial.user_attrs.get("seconds", 0.0),
                **{key: trial.params[key] for key in SEARCH_SPACE},
            }
        )
    return rows


def boundary_flags(study, margin: float = 0.05) -> list[dict]:
    """Return the hyper-parameters of the best trial that lie at an edge of their range.

    An optimum at an edge means that the range is too narrow (or, for a dropout of 0, that none is
    needed). "At" means within `margin` of the range, in its logarithm if it is searched in that.

    Returns
    -------
    list of dict
        ``parameter``, ``value``, ``edge`` ("low" or "high"), ``low``, ``high``.
    """
    flags = []
    for key, span in SEARCH_SPACE.items():
        value = study.best_params[key]
        low, high, at = (
            math.log(x) if span.log else float(x) for x in (span.low, span.high, value)
        )
        place = (at - low) / (high - low)  # 0 to 1
        if not margin < place < 1 - margin:
            edge = "low" if place < 0.5 else "high"
            flags.append(
                {"parameter": key, "value": value, "edge": edge, "low": span.low, "high": span.high}
            )
    return flags


def importances(study, seed: int = 0) -> dict[str, float]:
    """Return the share of the loss's variance that each hyper-parameter explains (fANOVA).

    Hutter et al. 2014. Empty with fewer than two complete trials or if all losses are equal.
    """
    import optuna

    complete = [t for t in finished_trials(study) if t.state.name == "COMPLETE"]
    if len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(value) for key, value in found.items()}


def _inside(profile):
    return all(span.low <= getattr(profile, k) <= span.high for k, span in SEARCH_SPACE.items())


def _line(trial, done, n_trials):
    values = "  ".join(f"{key} {trial.params[key]:.3g}" for key in SEARCH_SPACE)
    value = "pruned" if trial.state.name == "PRUNED" else f"{trial.value:.3f}"
    return f"trial {done:3d}/{n_trials}  validation {value:>8}  {values}"
