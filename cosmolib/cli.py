"""Run the commands ``cosmolib download``, ``check`` and ``tune``."""

import argparse
import sys
from functools import partial

from cosmolib import __version__
from cosmolib.data import check as data_check
from cosmolib.data import download as data_download
from cosmolib.study.io import exit_code, redact


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; each subcommand sets ``run``, a function of its options."""
    description = "Download and check suites of maps in CMD's format, and tune networks."
    parser = argparse.ArgumentParser(prog="cosmolib", description=description)
    parser.add_argument("--version", action="version", version=f"cosmolib {__version__}")
    commands = parser.add_subparsers(required=True)

    def command(name, run, help):
        added = commands.add_parser(name, help=help, description=run.__doc__)
        added.set_defaults(run=run)
        return added.add_argument

    option = command("download", _download, "download maps and parameters of CMD")
    option("--suite", required=True, help="e.g. IllustrisTNG, Nbody_IllustrisTNG")
    option("--set", dest="sim_set", default="LH", help="set of simulations (default: LH)")
    option("--field", default="Mtot", help="field of the maps (default: Mtot)")
    option("--data-dir", metavar="DIR", help="write to DIR/<suite>/ (default: $COSMOLIB_DATA)")
    option("--url", default=data_download.CMD_URL, help="parent of 2D_maps/ (default: CMD)")
    option("--retries", type=int, default=10, help="attempts without progress (default: 10)")
    option("--timeout", type=float, default=60.0, help="seconds without data (default: 60)")

    option = command("check", _check, "check every pixel of a suite")
    option("path", help="a file Maps_*.npy or a folder of them")
    option("--suite", help="only this suite, e.g. IllustrisTNG (default: all)")
    option("--set", dest="sim_set", help="only this set, e.g. LH (default: all)")

    option = command("tune", _tune, "search the hyper-parameters of a profile")
    option("profile", help="name of a file in configs/, or a path")
    option("--workers", type=int, default=1, help="number of processes (default: 1)")
    option("--storage", help="FILE.journal on a shared disk, see above")
    option("--trials", type=int, help="total number of trials (default: as in the profile)")
    option("--seed", type=int, default=1, help="seed of sampler and trainings (default: 1)")
    option("--runs-dir", default="runs", help="folder of the runs (default: runs)")
    option("--data-dir", help="folder of CMD files (default: as in the profile)")
    return parser


def _download(**options) -> None:
    """Download the maps and parameters of one suite, set and field of CMD.

    The same command resumes an interrupted download, and verifies complete files without network
    access.
    """
    data_download.download(**options, report=lambda line: print(redact(line), flush=True))


def _check(path, **options) -> None:
    """Describe CMD maps and check every pixel and the table of parameters.

    If there is a fault, the exit code is 2, and one line on stderr describes it.
    """
    reports = data_check.check_path(path, **options)
    print(*reports, sep="\n")
    if problems := [report.problem for report in reports if report.problem]:
        raise ValueError("; ".join(problems))


def _tune(profile, *, workers, storage, trials, seed, runs_dir, data_dir) -> None:
    """Run trials of a profile's tuning study until it is complete.

    Several commands, on one or more machines, can work on the same study. A command that is killed
    loses only its current trial. The storage is a FILE.journal on a disk that all of them share; by
    default $COSMOLIB_STUDY or a file in the folder of the runs. Chapter 04 shows the result.
    """
    from cosmolib.study.profile import load_profile
    from cosmolib.training.devices import select_device
    from cosmolib.tuning import search as tuning

    given = {"data_dir": data_dir} if data_dir else {}
    search = tuning.prepare_search(load_profile(profile, **given), seed)
    storage = storage or tuning.default_storage(runs_dir, search.profile)
    options = {"n_trials": trials, "workers": workers, "progress": partial(print, flush=True)}
    tuning.run_study(search, storage, device=select_device(), **options)


def main(argv: list[str] | None = None) -> int:
    """Run a command; bad input gives one line on stderr and exit code 2."""
    options = vars(build_parser().parse_args(argv))
    return exit_code("cosmolib", partial(options.pop("run"), **options))


if __name__ == "__main__":
    sys.exit(main())
