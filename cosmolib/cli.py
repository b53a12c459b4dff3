"""Command line: ``cosmolib check`` and ``cosmolib simulate``."""

from __future__ import annotations

import argparse
import sys

from cosmolib import __version__, suites


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every subcommand; each sets ``run``, a function of the arguments."""
    from cosmolib import shards  # here, so that importing cosmolib.cli stays light

    parser = argparse.ArgumentParser(
        prog="cosmolib", description="Check and make suites of maps in CMD's format."
    )
    parser.add_argument("--version", action="version", version=f"cosmolib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    check = commands.add_parser(
        "check",
        help="read every pixel of a suite and report, or say what is wrong with it",
        description="Read every pixel of CMD maps, check them against their parameter table, and "
        "report. Exit code 2 and one line if something is wrong.",
    )
    check.add_argument("path", help="a file Maps_*.npy, or a folder that holds such files")
    check.add_argument("--suite", help="only this suite, e.g. IllustrisTNG (default: all)")
    check.add_argument("--set", help="only this set, e.g. LH (default: all)")
    check.set_defaults(run=_check)

    simulation = commands.add_parser(
        "simulate", help="simulate Lite again, or go on with it", description=shards.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    shards.add_arguments(simulation)
    simulation.set_defaults(run=shards.run_from_args)
    return parser


def _check(arguments: argparse.Namespace) -> None:
    print(suites.check_file(arguments.path, suite=arguments.suite, set=arguments.set))


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input is one line on stderr and exit code 2."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ModuleNotFoundError as error:
        hint = 'expected the extra: pip install "cosmolib[simulate]"'
        print(f"cosmolib: found no module {error.name!r}, {hint}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"cosmolib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
