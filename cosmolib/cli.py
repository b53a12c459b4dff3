"""Command line: ``cosmolib download``, ``check`` and ``tune``."""

from __future__ import annotations

import argparse
import sys

from cosmolib import __version__
from cosmolib.data import check as data_check
from cosmolib.study.io import exit_code, redact


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand; each sets ``run``, a function of the arguments."""
    from cosmolib.data import download  # here, so that importing cosmolib.cli stays light

    parser = argparse.ArgumentParser(
        prog="cosmolib", description="Fetch and check suites of maps in CMD's format, and tune."
    )
    parser.add_argument("--version", action="version", version=f"cosmolib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    fetch = commands.add_parser(
        "download",
        help="fetch maps and parameters of CMD",
        description="Fetch the maps and parameters of one suite, set and field of CMD. The same "
        "command resumes an interrupted download and verifies complete files without network.",
    )
    fetch.add_argument("--suite", required=True, help="e.g. IllustrisTNG, Nbody_IllustrisTNG")
    fetch.add_argument(
        "--set", dest="sim_set", default="LH", help="set of simulations (default: LH)"
    )
    fetch.add_argument("--field", default="Mtot", help="field of the maps (default: Mtot)")
    fetch.add_argument(
        "--data-dir", help="files go to DIR/<suite>/ (default: $COSMOLIB_DATA)", metavar="DIR"
    )
    fetch.add_argument(
        "--url", default=download.CMD_URL, help="folder that holds 2D_maps/ (default: CMD's)"
    )
    fetch.add_argument(
        "--retries", type=int, default=10, help="attempts without a new byte (default: 10)"
    )
    fetch.add_argument(
        "--timeout", type=float, default=60.0, help="seconds without a byte (default: 60)"
    )
    fetch.set_defaults(run=_download)

    check = commands.add_parser(
        "check",
        help="check every pixel of a suite",
        description="Describe CMD maps and check every pixel against the table of parameters. "
        "Exit code 2 and one line if something is wrong.",
    )
    check.add_argument("path", help="a file Maps_*.npy or params_*.txt, or a folder of them")
    check.add_argument("--suite", help="only this suite, e.g. IllustrisTNG (default: all)")
    check.add_argument("--set", dest="sim_set", help="only this set, e.g. LH (default: all)")
    check.set_defaults(run=_check)

    search = commands.add_parser(
        "tune",
        help="search the hyper-parameters of a profile",
        description="Run trials of a profile's tuning study until it is complete. Any number of "
        "these commands, on any machines that reach the storage, share one study. A killed one "
        "loses its current trial. Chapter 04 shows the result.",
    )
    search.add_argument("profile", help="name of a file in configs/, or a path to one")
    search.add_argument("--workers", type=int, default=1, help="processes to start (default: 1)")
    search.add_argument(
        "--storage",
        help="FILE.journal on a disk that all of them reach "
        "(default: $COSMOLIB_STUDY, else a file below the runs)",
    )
    search.add_argument("--trials", type=int, help="trials in all (default: of the profile)")
    search.add_argument("--seed", type=int, default=1, help="of sampler and trainings (default: 1)")
    search.add_argument("--runs-dir", default="runs", help="folder of the runs (default: runs)")
    search.add_argument("--data-dir", help="folder of CMD files (default: of the profile)")
    search.set_defaults(run=_tune)
    return parser


def _download(arguments: argparse.Namespace) -> None:
    from cosmolib.data import download

    options = {k: v for k, v in vars(arguments).items() if k not in ("command", "run")}
    download.download(**options, report=lambda line: print(redact(line), flush=True))


def _tune(arguments: argparse.Namespace) -> None:
    from cosmolib.study.profile import load_profile
    from cosmolib.training.devices import select_device
    from cosmolib.tuning import search as tuning_search

    given = {"data_dir": arguments.data_dir} if arguments.data_dir else {}
    search = tuning_search.prepare_search(load_profile(arguments.profile, **given), arguments.seed)
    tuning_search.run_study(
        search,
        arguments.storage or tuning_search.default_storage(arguments.runs_dir, search.profile),
        n_trials=arguments.trials,
        device=select_device(),
        workers=arguments.workers,
        progress=lambda line: print(line, flush=True),
    )


def _check(arguments: argparse.Namespace) -> None:
    reports = data_check.check_path(
        arguments.path, suite=arguments.suite, sim_set=arguments.sim_set
    )
    print(*reports, sep="\n")
    problems = [report.problem for report in reports if report.problem]
    if problems:
        raise ValueError("; ".join(problems))


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input is one line on stderr and exit code 2."""
    arguments = build_parser().parse_args(argv)
    return exit_code("cosmolib", arguments.run, arguments)


if __name__ == "__main__":
    sys.exit(main())
