"""Optuna studies that several processes share: a journal on a disk that all of them reach.

Each worker holds a lock file next to the journal. If it dies, the lock is free, and another worker
retries its trial with the same settings. (Optuna's own heartbeat needs a database server.)
"""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.storages import JournalStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from cosmolib.study.io import reason_of
from cosmolib.study.locks import held, is_held

GRACE = timedelta(seconds=60)  # until a trial that no worker has signed counts as dead
RETRIES = 3  # per trial: settings that kill every worker are given up
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(path: str | Path, name: str, pruner) -> optuna.Study:
    """Open a study that minimises, or create it; silence Optuna's line per trial.

    Parameters
    ----------
    path : path
        ``*.journal``; made with its folder if it is missing.
    name : str
    pruner : optuna.pruners.BasePruner

    Raises
    ------
    ValueError
        The file is no journal of Optuna, or cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    try:
        return optuna.create_study(
            storage=_open_journal(Path(path)), study_name=name, pruner=pruner, load_if_exists=True
        )
    except Exception as error:  # Optuna raises many kinds for files that are not its own
        found = f"no usable study ({type(error).__name__}: {reason_of(error)})"
        raise ValueError(f"{path}: found {found}, expected a journal, FILE.journal") from None


def _open_journal(path):
    """Open a journal; cut off the partial line of a full disk, to which Optuna would append."""
    if path.suffix != ".journal":
        raise ValueError("another kind of file")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    backend = JournalFileBackend(str(path), lock)  # makes the file
    lock.acquire()
    try:
        records = path.read_bytes()
        if records and not records.startswith(b'{"op_code"'):
            raise ValueError(f"it starts with {records[:20]!r}")
        os.truncate(path, records.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(backend)


def run_trials(
    study: optuna.Study, path: str | Path, n_trials: int, objective: Callable, finished: Callable
) -> None:
    """Run trials until the study has ``n_trials`` complete or pruned ones.

    With W workers it ends with up to W - 1 more: each completes the trial that it began.

    Parameters
    ----------
    study, path
        From `open_study`, and its file.
    n_trials : int
    objective : callable
        ``objective(trial, place)`` returns the value; ``place`` counts the earlier trials from 0,
        without those that failed.
    finished : callable
        ``finished(study, trial)``, called after each trial of this worker.
    """
    worker = uuid.uuid4().hex[:12]

    def placed(trial):
        trial.set_user_attr("worker", worker)
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        return objective(trial, sum(t.state != TrialState.FAIL for t in earlier))

    callbacks = [
        lambda study, trial: retry_dead(study, path),
        finished,
        optuna.study.MaxTrialsCallback(n_trials, FINISHED),
    ]
    with held(_lock(path, worker)):
        retry_dead(study, path)
        if len(finished_trials(study)) < n_trials:
            study.optimize(placed, callbacks=callbacks)


def retry_dead(study: optuna.Study, path: str | Path) -> None:
    """Fail the running trials of dead workers, and queue their settings again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.pop("worker", None)
        # Without a name, it was killed before it signed, or is about to sign.
        fresh = datetime.now() - trial.datetime_start < GRACE
        if is_held(_lock(path, worker)) if worker else fresh:
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another worker was first
        RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def finished_trials(study: optuna.Study) -> list:
    """Return the complete and pruned trials of a study, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def _lock(path, worker):
    return Path(f"{path}.{worker}.lock")
