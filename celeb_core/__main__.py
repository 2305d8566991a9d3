"""Run a command of `celeb_core.cli.options`: the program `celeb-basis`."""

import sys
from collections.abc import Sequence

from celeb_core.cli import option_values, program
from celeb_core.cli.options import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""

    def run() -> None:
        options = build_parser().parse_args(arguments)
        option_values.check_options(options, options.checks)
        options.cache = vars(options).get("cache") or program.cache_folder()
        options.run(options)

    return program.run(run)


if __name__ == "__main__":
    sys.exit(main())
