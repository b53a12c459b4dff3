"""Command line: ``cosmolib download``, ``check`` and ``tune``."""

import argparse
import sys
from functools import partial

from cosmolib import __version__
from cosmolib.data import check as data_check
from cosmolib.data import download as data_download
from cosmolib.study.io import exit_code, redact


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand; each sets ``run``, a function of its options."""
    parser = argparse.ArgumentParser(
        prog="cosmolib", description="Fetch and check suites of maps in CMD's format, and tune."
    )
    parser.add_argument("--version", action="version", version=f"cosmolib {__version__}")
    commands = parser.add_subparsers(required=True)

    def command(name, run, help):
        added = commands.add_parser(name, help=help, description=run.__doc__)
        added.set_defaults(run=run)
        return added.add_argument

    option = command("download", _download, "fetch maps and parameters of CMD")
    option("--suite", required=True, help="e.g. IllustrisTNG, Nbody_IllustrisTNG")
    option("--set", dest="sim_set", default="LH", help="set of simulations (default: LH)")
    option("--field", default="Mtot", help="field of the maps (default: Mtot)")
    option("--data-dir", help="files go to DIR/<suite>/ (default: $COSMOLIB_DATA)", metavar="DIR")
    option("--url", default=data_download.CMD_URL, help="holds 2D_maps/ (default: CMD's folder)")
    option("--retries", type=int, default=10, help="attempts without a new byte (default: 10)")
    option("--timeout", type=float, default=60.0, help="seconds without a byte (default: 60)")

    option = command("check", _check, "check every pixel of a suite")
    option("path", help="a file Maps_*.npy or params_*.txt, or a folder of them")
    option("--suite", help="only this suite, e.g. IllustrisTNG (default: all)")
    option("--set", dest="sim_set", help="only this set, e.g. LH (default: all)")

    option = command("tune", _tune, "search the hyper-parameters of a profile")
    option("profile", help="name of a file in configs/, or a path to one")
    option("--workers", type=int, default=1, help="processes to start (default: 1)")
    option("--storage", help="FILE.journal on a disk that all of them reach, see above")
    option("--trials", type=int, help="trials in all (default: of the profile)")
    option("--seed", type=int, default=1, help="of sampler and trainings (default: 1)")
    option("--runs-dir", default="runs", help="folder of the runs (default: runs)")
    option("--data-dir", help="folder of CMD files (default: of the profile)")
    return parser


def _download(**options) -> None:
    """Fetch the maps and parameters of one suite, set and field of CMD.

    The same command resumes an interrupted download and verifies complete files without network.
    """
    data_download.download(**options, report=lambda line: print(redact(line), flush=True))


def _check(path, **options) -> None:
    """Describe CMD maps and check every pixel against the table of parameters.

    Exit code 2 and one line if something is wrong.
    """
    reports = data_check.check_path(path, **options)
    print(*reports, sep="\n")
    if problems := [report.problem for report in reports if report.problem]:
        raise ValueError("; ".join(problems))


def _tune(profile, *, workers, storage, trials, seed, runs_dir, data_dir) -> None:
    """Run trials of a profile's tuning study until it is complete.

    Any number of these commands, on any machines that reach the storage, share one study. A killed
    one loses its current trial. The storage is FILE.journal on a disk that all of them reach; by
    default $COSMOLIB_STUDY, else a file below the runs. Chapter 04 shows the result.
    """
    from cosmolib.study.profile import load_profile
    from cosmolib.training.devices import select_device
    from cosmolib.tuning import search as tuning

    given = {"data_dir": data_dir} if data_dir else {}
    search = tuning.prepare_search(load_profile(profile, **given), seed)
    tuning.run_study(
        search,
        storage or tuning.default_storage(runs_dir, search.profile),
        n_trials=trials,
        device=select_device(),
        workers=workers,
        progress=partial(print, flush=True),
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input is one line on stderr and exit code 2."""
    options = vars(build_parser().parse_args(argv))
    return exit_code("cosmolib", partial(options.pop("run"), **options))


if __name__ == "__main__":
    sys.exit(main())
