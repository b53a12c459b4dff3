"""Simulate Lite, or resume: ``python -m lite`` (requires the extra ``simulate``)."""

import argparse
import sys

from cosmolib.study.io import exit_code
from lite import generate


def main(argv=None) -> int:
    """Run the command; bad input gives one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m lite",
        description=generate.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    generate.add_arguments(parser)
    return exit_code("lite", generate.run_from_args, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
