"""Optuna studies that several processes share through a journal file on a common disk.

Each worker holds a lock file next to the journal. If a worker dies, its lock is released, and
another worker repeats its trial with the same settings. (Optuna's own heartbeat needs a database.)
"""

import os
import uuid
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.storages import JournalStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from cosmolib.study.io import reason_of
from cosmolib.study.locks import held, is_held

GRACE = timedelta(seconds=60)  # after which a trial without the name of its worker counts as dead
RETRIES = 3  # per trial, so that settings that kill every worker are given up
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(path: str | Path, name: str, pruner) -> optuna.Study:
    """Open a study that minimises, or create it, and silence Optuna's line per trial.

    Parameters
    ----------
    path : path
        ``*.journal``; created with its folder if it is missing.
    name : str
    pruner : optuna.pruners.BasePruner

    Raises
    ------
    ValueError
        The file is not an Optuna journal, or cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    try:
        return optuna.create_study(
            storage=_open_journal(Path(path)), study_name=name, pruner=pruner, load_if_exists=True
        )
    except Exception as error:  # Optuna raises many kinds of errors for other files
        found = f"no usable study ({type(error).__name__}: {reason_of(error)})"
        raise ValueError(f"{path}: found {found}, expected a journal, FILE.journal") from None


def _open_journal(path):
    """Open a journal and remove a partial last line (full disk), to which Optuna would append."""
    if path.suffix != ".journal":
        raise ValueError("another kind of file")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    backend = JournalFileBackend(str(path), lock)  # creates the file
    lock.acquire()
    try:
        records = path.read_bytes()
        if records and not records.startswith(b'{"op_code"'):
            raise ValueError(f"it starts with {records[:20]!r}")
        os.truncate(path, records.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(backend)


def run_trials(study: optuna.Study, path: str | Path, n_trials: int, objective, finished) -> None:
    """Run trials until ``n_trials`` trials of the study are complete or pruned.

    With W workers there can be up to W - 1 more, because each worker completes its current trial.

    Parameters
    ----------
    study : optuna.Study
        From `open_study`.
    path : path
        File of the study.
    n_trials : int
    objective : callable
        ``objective(trial, place)`` returns the value; ``place`` is the number of earlier trials
        that did not fail.
    finished : callable
        ``finished(study, trial)`` is called after each trial of this worker.
    """
    worker = uuid.uuid4().hex[:12]

    def placed(trial):
        trial.set_user_attr("worker", worker)
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        return objective(trial, sum(t.state != TrialState.FAIL for t in earlier))

    def after(study, trial):
        retry_dead(study, path)
        finished(study, trial)

    enough = optuna.study.MaxTrialsCallback(n_trials, FINISHED)
    with held(_lock(path, worker)):
        retry_dead(study, path)
        if len(finished_trials(study)) < n_trials:
            study.optimize(placed, callbacks=[after, enough])


def retry_dead(study: optuna.Study, path: str | Path) -> None:
    """Mark the running trials of dead workers as failed and queue their settings again."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.pop("worker", None)
        # A trial without a name has just begun, or its worker was killed right after the beginning.
        fresh = datetime.now() - trial.datetime_start < GRACE
        if is_held(_lock(path, worker)) if worker else fresh:
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            continue  # another worker was faster

        RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)


def finished_trials(study: optuna.Study) -> list:
    """Return the complete and pruned trials of a study, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def _lock(path, worker):
    return Path(f"{path}.{worker}.lock")
