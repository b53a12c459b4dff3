"""Optuna studies that several processes share.

Three kinds of storage: ``*.db``, a SQLite file for one process; ``*.journal``, a log on a disk that
all workers reach; ``postgresql://...`` or another address, a database for many machines. The trial
of a worker that died is retried with the same settings. A worker of a file is dead when the lock
that it held is free, one of a database when Optuna's heartbeat stops.
"""

from __future__ import annotations

import os
import re
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from cosmolib.study.io import reason_of, redact
from cosmolib.study.locks import held, is_held

HEARTBEAT = 15  # [s] between two signs of life
GRACE = 60  # [s] without one until a worker counts as dead
RETRIES = 3  # per trial: settings that kill every worker are given up


class SharedStudy:
    """One worker's view of a study; made by `open_study`."""

    def __init__(self, study, storage: str | Path, retry: Callable):
        self.study, self.storage, self.kind, self.retry = study, storage, kind_of(storage), retry
        self.worker = uuid.uuid4().hex[:12]

    def run(self, n_trials: int, objective: Callable, finished: Callable | None = None) -> None:
        """Run trials until the study has ``n_trials`` complete or pruned ones.

        With W workers it ends with up to W - 1 more: each completes the trial that it began.

        Parameters
        ----------
        n_trials : int
        objective : callable
            ``objective(trial, place)`` returns the value; ``place`` counts the earlier trials from
            0, without those that failed.
        finished : callable, optional
            ``finished(trial)``, called after each trial of this worker.
        """
        import optuna

        def placed(trial):
            trial.set_user_attr("worker", self.worker)
            trials = self.study.get_trials(deepcopy=False)[: trial.number]
            return objective(trial, sum(t.state.name != "FAIL" for t in trials))

        def after(study, trial):
            self.retry_dead()
            if finished is not None:
                finished(trial)

        self.retry_dead()
        if len(finished_trials(self.study)) >= n_trials:
            return
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        callbacks = [after, optuna.study.MaxTrialsCallback(n_trials, states)]
        lock = nullcontext()
        if self.kind == "journal":
            lock = held(_lock(self.storage, self.worker), wait=False)
        with lock:
            self.study.optimize(placed, callbacks=callbacks)

    def retry_dead(self) -> None:
        """Fail the running trials of dead workers of a file, and queue their settings again."""
        import optuna

        if self.kind == "database":
            return  # Optuna does it, by the heartbeat
        for trial in self.study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if not self._is_dead(trial):
                continue
            try:
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # another worker was first
            trial.user_attrs.pop("worker", None)
            self.retry(self.study, trial)

    def _is_dead(self, trial):
        if self.kind == "sqlite":
            return True  # a SQLite file is locked by this process
        worker = trial.user_attrs.get("worker")
        if worker is None:  # killed before it signed, or about to sign
            return datetime.now() - trial.datetime_start > timedelta(seconds=GRACE)
        return not is_held(_lock(self.storage, worker))


@contextmanager
def open_study(storage: str | Path, name: str, pruner) -> Iterator[SharedStudy]:
    """Open a study that minimises, or create it.

    Parameters
    ----------
    storage : path or address
        See the head of this module. A ``sqlite:///`` address counts as its file.
    name : str
    pruner : optuna.pruners.BasePruner

    Raises
    ------
    cosmolib.study.locks.Busy
        Another process uses the SQLite file.
    ValueError
        The address cannot be read or reached, its driver is missing, or the file does not hold a
        study; also if the storage fails inside the block. The message contains no password.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    lock, kind = nullcontext(), kind_of(storage)
    if kind != "database":
        if re.match(r"(?!sqlite:///)[a-z][a-z0-9+]+:/?[^/]", str(storage)):  # not a drive letter
            raise ValueError(
                f"{redact(storage, storage)}: found neither a file nor an address, expected "
                "FILE.db, FILE.journal or postgresql://USER@HOST/DATABASE"
            )
        storage = Path(str(storage).removeprefix("sqlite:///")).resolve()
        storage.parent.mkdir(parents=True, exist_ok=True)
        if kind == "sqlite":
            lock = held(_lock(storage), wait=False)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # Optuna prints a line per trial otherwise
    store, study = None, None
    try:
        with lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
            store = _open_storage(storage, kind, retry)
            study = optuna.create_study(
                storage=store,
                study_name=name,
                direction="minimize",
                load_if_exists=True,
                pruner=pruner,
            )
            yield SharedStudy(study, storage, retry)
    except OSError:
        raise
    except Exception as error:
        # Until the study is open: of SQLAlchemy, of a driver, of Optuna reading other records.
        if study is None or isinstance(
            error, (SQLAlchemyError, optuna.exceptions.StorageInternalError)
        ):
            raise _unusable(storage, error) from None
        raise
    finally:
        optuna.logging.set_verbosity(verbosity)
        if kind == "database" and store is not None:  # connections are few
            store.remove_session()
            store.engine.dispose()


def _unusable(storage, error):
    """Return the ValueError of a storage that does not work, without its password."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, ModuleNotFoundError):
        extra = "; pip install -e '.[postgres]'" if "psycopg" in str(cause.name) else ""
        reason = f"no module {cause.name!r}, expected the driver of this database{extra}"
    else:
        kinds = {
            "journal": "a journal of Optuna",
            "sqlite": "an SQLite file of Optuna",
            "database": "a database that can be reached",
        }
        said = reason_of(getattr(cause, "orig", None) or cause)
        if not isinstance(cause, ValueError) and type(cause).__module__ == "builtins":
            said = f"Optuna cannot read it, {type(cause).__name__}: {said}"
        reason = f"no usable study ({said}), expected {kinds[kind_of(storage)]}"
    return ValueError(redact(f"{storage}: found {reason}", storage))


def finished_trials(study) -> list:
    """Return the complete and pruned trials of a study, in order."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name in ("COMPLETE", "PRUNED")]


def kind_of(storage: str | Path) -> str:
    """Return "sqlite", for one process, or "journal" or "database", for several."""
    if "://" in str(storage) and not str(storage).startswith("sqlite:///"):
        return "database"
    return "journal" if Path(storage).suffix == ".journal" else "sqlite"


def _lock(path, worker=""):
    return path.with_name(f"{path.name}.{worker}.lock".replace("..", "."))


def _open_storage(storage, kind, retry):
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError

    if kind == "journal":
        journal = optuna.storages.journal
        lock = journal.JournalFileOpenLock(str(storage))
        _mend(storage, lock)
        return optuna.storages.JournalStorage(journal.JournalFileBackend(str(storage), lock))
    if kind == "sqlite":
        return f"sqlite:///file:{quote(str(storage))}?uri=true"  # a path may hold braces or a ?
    try:
        bad = "@" in (make_url(storage).host or "")  # the rest of a password with an "@" in it
    except (ValueError, ArgumentError):  # they quote parts of it
        bad = True
    if bad:
        raise ValueError("not an address; in a password, @ is written %40 and / is written %2F")
    for attempt in range(5):
        try:
            return optuna.storages.RDBStorage(
                str(storage).replace("postgresql://", "postgresql+psycopg://", 1),
                engine_kwargs={"pool_pre_ping": True},  # reconnect after a restart of the server
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=retry,
            )
        except (IntegrityError, ProgrammingError):  # another worker is creating the tables
            if attempt == 4:
                raise
            time.sleep(0.5)


def _mend(path, lock):
    """Check the records of a journal and cut off the partial line that a full disk can leave."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        *lines, rest = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not (line.startswith(b"{") and b'"op_code"' in line):
                raise ValueError(f"line {number} is {line[:40]!r}, not a record")
        if rest:
            os.truncate(path, path.stat().st_size - len(rest))
    finally:
        lock.release()
