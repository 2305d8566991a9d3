"""How good people are, in numbers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from celeb_core.cli.options import add_command, studio_of
from celeb_core.evaluation import (
    ROWS,
    as_table,
    evaluate_interpolation,
    evaluate_joint,
    evaluate_quick,
)
from celeb_core.files import write_atomically


def add_commands(commands: Any) -> None:
    """Add the commands of this module to the parser."""
    sub = add_command(commands, "evaluate", evaluate, "unused")
    sub.add_argument("--quick", action="store_true", help="the table only")
    sub.add_argument("--people", type=int, default=20)
    sub.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="some rows only")
    sub.add_argument("--json", type=Path, help="write the numbers here")


def evaluate(options: argparse.Namespace) -> None:
    """The table of scores; without --quick also joint training and interpolation."""
    studio = studio_of(options)
    result: dict[str, Any] = evaluate_quick(
        studio,
        options.seed,
        options.people,
        lambda line: print(line, file=sys.stderr),
        options.rows,
    )
    print(as_table(result))
    if not options.quick:
        result["joint"] = evaluate_joint(studio, options.seed)
        result["interpolation"] = evaluate_interpolation(studio, options.seed)
        print(json.dumps({key: result[key] for key in ("joint", "interpolation")}, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(result, indent=1).encode())
