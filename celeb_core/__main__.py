"""The command line over the same functions: python -m celeb_core COMMAND --help.

Exit codes: 0 done, 1 something that the message says how to put right, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence

from celeb_core.cli import measure, model, people, pictures
from celeb_core.errors import CelebError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command -> exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    _hush()
    try:
        options.run(options)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m celeb_core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (people, pictures, model, measure):
        module.add_commands(commands)
    return parser


def _hush() -> None:
    """Libraries' notices and bars of their own would drown ours."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (transformers.utils.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    logging.getLogger("httpx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)


if __name__ == "__main__":
    sys.exit(main())
