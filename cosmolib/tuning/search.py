"""Hyper-parameter search: an Optuna study that can be interrupted, resumed and shared.

Published (arXiv:2504.17839 and its code): TPE, 50 trials of which the first ten are random, the
four ranges of `SEARCH_SPACE`, the best validation loss as objective, no pruning, SQLite. Additions
of this package: median pruning after five random trials, and a seed per trial, so that a resumed
study gives the result of an uninterrupted one. Several workers can share a study
(`cosmolib.tuning.shared_study`); its trials after the random ones then depend on timing.
"""

import math
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import optuna
import torch
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import PartialFixedSampler, TPESampler
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from cosmolib.data.suites import Suite
from cosmolib.study.identity import digest, identity
from cosmolib.study.profile import Profile
from cosmolib.study.registry import load_plugins
from cosmolib.training.dataset import Data, prepare_data, study_suite
from cosmolib.training.fit import fit, seeded
from cosmolib.training.networks import build_network
from cosmolib.tuning.shared_study import finished_trials, open_study, run_trials

STARTUP_TRIALS = 5  # random trials before TPE and the pruner start
# As published.
SEARCH_SPACE = {
    "max_lr": FloatDistribution(1e-5, 5e-3, log=True),
    "weight_decay": FloatDistribution(1e-8, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
    "hidden": IntDistribution(6, 12),
}


def search_space(profile: Profile) -> dict:
    """Return the range of each hyper-parameter: as published, but narrower widths of "lite"."""
    widths = {"hidden": IntDistribution(2, 8)} if profile.architecture == "lite" else {}
    return SEARCH_SPACE | widths


@dataclass(frozen=True)
class Search:
    """Data and settings of a tuning study."""

    suite: Suite | None
    data: Data
    profile: Profile  # with the number of simulations of the search
    name: str
    seed: int = 1  # seed of the sampler and of every training


def default_storage(runs_dir: str | Path, profile: Profile) -> str | Path:
    """Return ``$COSMOLIB_STUDY``, by default a journal in the folder of the profile's runs."""
    journal = Path(runs_dir) / profile.name / "tuning" / "study.journal"
    return os.environ.get("COSMOLIB_STUDY") or journal


def prepare_search(profile: Profile, seed: int = 1) -> Search:
    """Prepare the uncut maps of a profile's ``tuning_suite`` and name the study.

    The name ends in a digest of everything that the trials depend on (`cosmolib.study.identity`),
    so that a change starts a new study, while more trials continue the existing one. The settings
    of the profile are included if they are those of the first trial.
    """
    profile = profile.replace(n_simulations=profile.tuning_simulations or profile.n_simulations)
    suite = study_suite(profile.tuning_suite, profile)
    now = identity(
        "tuning", profile, fingerprint=suite.fingerprint, suite=suite.name,
        architecture=profile.architecture, seed=seed, first=_own_settings(profile) or None,
    )  # fmt: skip
    name = f"{profile.architecture}-{suite.name}-{digest(now)}"
    return Search(suite, prepare_data(suite, profile, "none"), profile, name, seed)


def run_study(
    search: Search, path: str | Path, *, n_trials: int | None = None, device: str = "cpu",
    workers: int = 1, progress=print,
) -> optuna.Study:  # fmt: skip
    """Search the hyper-parameters of `SEARCH_SPACE` for the lowest validation loss.

    All trials share initial weights, order of the maps and augmentation, as far as their shapes
    allow. The first trial has the profile's own settings if they lie within the ranges. Only
    missing trials are run.

    Parameters
    ----------
    search : Search
        From `prepare_search`. Trials have ``tuning_epochs`` epochs and all settings of its profile
        that are not searched.
    path : path
        ``*.journal``, see `cosmolib.tuning.shared_study`. A missing file is created with its
        folder.
    n_trials : int, optional
        Total number of complete and pruned trials; by default the profile's ``tuning_trials``.
    device : str
        With several GPUs, "cuda" assigns them to the workers in turn.
    workers : int
        Processes to start on this machine; other machines can join the study.
    progress : callable
        Called with a line of text per trial.

    Raises
    ------
    ValueError
        The file cannot be used.
    ChildProcessError
        A worker failed; contains its message. The study keeps its finished trials.
    """
    n_trials = n_trials or search.profile.tuning_trials
    profile = search.profile.replace(epochs=search.profile.tuning_epochs)

    def objective(trial, place):
        own = _own_settings(profile) if place == 0 else {}
        trial.set_user_attr("profile", bool(own))
        # One seed per place, so that any worker draws the same values after any restart. Optuna
        # uses the sampler only when a value is suggested, so it can be set here.
        seed = search.seed + 1000 * place
        tpe = TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed, constant_liar=True)
        study.sampler = PartialFixedSampler(own, tpe)
        chosen, losses = profile.replace(**_suggested(trial, profile)), []

        def report(row):
            losses.append(row["valid_loss"])
            trial.report(row["valid_loss"], row["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        size, n = search.data.train_x.shape[-1], len(chosen.targets)
        with seeded(search.seed):
            network = build_network(chosen.architecture, size, chosen.hidden, chosen.dropout, n)
        options = {"seed": search.seed, "device": device, "epoch_callback": report}
        started = time.perf_counter()
        try:
            fit(network, search.data, chosen, **options)
        except FloatingPointError:  # a learning rate that is too high is a result, not a failure
            raise optuna.TrialPruned from None
        finally:
            trial.set_user_attr("seconds", time.perf_counter() - started)
        return min(losses)

    def finished(study, trial):
        value = "pruned" if trial.state.name == "PRUNED" else f"{trial.value:.3f}"
        settings = "  ".join(f"{key} {trial.params[key]:.3g}" for key in SEARCH_SPACE)
        done = len(finished_trials(study))
        progress(f"trial {done:3d}/{n_trials}  validation {value:>8}  {settings}")

    warmup = math.ceil(profile.epochs / 3)
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=warmup)
    study = open_study(path, search.name, pruner)
    if workers > 1:
        options = {"path": path, "n_trials": n_trials, "device": device}
        _run_workers(workers, search, options, progress)
    run_trials(study, path, n_trials, objective, finished)
    return study


def _own_settings(profile):
    """Return a profile's own values of the hyper-parameters; {} if any is outside its range."""
    space = search_space(profile)
    own = {key: getattr(profile, key) for key in space}
    inside = all(span.low <= own[key] <= span.high for key, span in space.items())
    return own if inside else {}


def _suggested(trial, profile):
    suggest = {IntDistribution: trial.suggest_int, FloatDistribution: trial.suggest_float}
    spans = search_space(profile).items()
    return {key: suggest[type(x)](key, x.low, x.high, log=x.log) for key, x in spans}


def _run_workers(workers, search, options, progress):
    """Run worker processes until the study is complete; raise the first error of a worker.

    A killed worker is only reported, because another worker repeats its trial.
    """
    gpus = []
    if options["device"] == "cuda":
        every = ",".join(map(str, range(torch.cuda.device_count())))
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", every).replace(" ", "").split(",")
    threads = max(1, torch.get_num_threads() // workers)
    work = (replace(search, suite=None), options, threads, gpus)  # workers share the maps
    context = torch.multiprocessing.spawn(_work, work, workers, join=False)
    try:
        for process in context.processes:
            process.join()
        context.join()  # raises
    except ProcessExitedException as error:
        progress(f"{error}; the others continue")
    except ProcessRaisedException as error:  # its message is a traceback
        name = f"worker {error.error_index + 1} of {workers}"
        raise ChildProcessError(f"{name}: {str(error).splitlines()[-1]}") from None
    finally:  # an interruption may have reached only this process
        for process in context.processes:
            process.terminate()


def _work(index, search, options, threads, gpus):
    if gpus:  # must be set before this process uses CUDA
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    load_plugins(search.profile.plugins)  # in a new process nothing is registered
    torch.set_num_threads(threads)
    run_study(search, **options, progress=partial(print, file=sys.stderr, flush=True))


def study_table(study: optuna.Study) -> list[dict]:
    """Return one row per finished trial, for tables and figures.

    Returns
    -------
    list of dict
        ``number`` (from 0, without unfinished trials), ``value`` (lowest validation loss; for a
        pruned trial the last one reported, or None), ``pruned``, ``profile`` (whether it has the
        profile's own settings), ``seconds``, and every hyper-parameter.
    """
    rows = []
    for number, trial in enumerate(finished_trials(study)):
        row = {"number": number, "value": trial.value, "pruned": trial.state.name == "PRUNED"}
        row |= {key: trial.user_attrs[key] for key in ("profile", "seconds")}
        rows.append(row | {key: trial.params[key] for key in SEARCH_SPACE})
    return rows


def boundary_flags(study: optuna.Study, margin: float = 0.05) -> list[dict]:
    """Return the hyper-parameters of the best trial that lie at an edge of their range.

    An optimum at an edge means that the range is too narrow (or, for a dropout of 0, that dropout
    is not needed). The edge is the outermost share `margin` of the range, on the scale on which the
    hyper-parameter is sampled.

    Returns
    -------
    list of dict
        ``parameter``, ``value``, ``edge`` ("low" or "high").
    """
    flags = []
    for key, span in study.best_trial.distributions.items():
        value = study.best_params[key]
        scale = math.log if span.log else float
        place = (scale(value) - scale(span.low)) / (scale(span.high) - scale(span.low))  # 0 to 1
        if not margin < place < 1 - margin:
            edge = "low" if place < 0.5 else "high"
            flags.append({"parameter": key, "value": value, "edge": edge})
    return flags


def importances(study: optuna.Study, seed: int = 0) -> dict[str, float]:
    """Compute the share of the variance of the loss that each hyper-parameter explains (fANOVA).

    See Hutter et al. 2014. It is empty for fewer than two different losses of complete trials.
    """

    complete = [t for t in finished_trials(study) if t.state.name == "COMPLETE"]
    if len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
