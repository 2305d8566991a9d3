"""A table of seconds per step, peak memory and their ratios; see the package."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.variants import INGREDIENTS
from bench.worker import measure, profile, summary
from celeb_core.device import best_device

COMPARED = ("ours", "textual-inversion", "official")
GOALS = {"textual-inversion": (0.55, 0.6), "official": (0.4, None)}  # of time and of peak memory


def main() -> int:
    """Measure in turns, one process per variant and round; return the exit code."""
    options = _parser().parse_args()
    if options.worker:
        print(json.dumps(measure(**json.loads(options.worker))))
        return 0
    if options.profile:
        print(profile(options.profile, options.device, options.batch))
        return 0
    names = options.variants or list(COMPARED)
    if options.ingredients:
        names = ["ours", *(f"ours+{change}" for change in INGREDIENTS)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            first = number == 0 and name != "official"
            image = first and options.image and not options.ingredients
            runs[name].append(run_worker(name, options, image))
    rows = [summary(results) for results in runs.values()]
    print(_table(rows))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "runs": runs}, indent=1))
    return 0


def run_worker(name: str, options: argparse.Namespace, image: bool) -> dict[str, Any]:
    """Run `bench.worker.measure` in a process of its own; nan where it failed."""
    task = {
        "name": name,
        "device": options.device,
        "batch": options.batch,
        "steps": options.steps,
        "image": image,
    }
    command = [sys.executable, "-m", "bench", "--worker", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{name}: exit code {done.returncode}", file=sys.stderr)
        return {"variant": name, "about": "failed", "steps": [float("nan")], "peak": float("nan")}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    seconds = ", ".join(f"{s:.1f}" for s in result["steps"])
    print(f"{name}: {seconds} s a step, {result['peak']:.2f} GiB", file=sys.stderr)
    return result


def _table(rows: list[dict[str, Any]]) -> str:
    """Markdown; ratios are those of the first row to the others."""
    ours = rows[0]
    lines = [
        "| variant | s per step | peak GiB | time of ours | memory of ours | image s, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        goals = GOALS.get(row["variant"], (None, None))
        time = _ratio(ours["with_share"] / row["with_share"], goals[0])
        memory = _ratio(ours["peak"] / row["peak"], goals[1])
        image = f"{row['image']:.1f}, {row['image_peak']:.1f}" if row["image"] else ""
        lines.append(
            f"| {row['variant']} ({row['about']}) | {row['with_share']:.2f} | {row['peak']:.2f} "
            f"| {time} | {memory} | {image} |"
        )
    return "\n".join(lines)


def _ratio(value: float, goal: float | None) -> str:
    return f"{value:.2f}x" + (f" (goal {goal})" if goal else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--batch", type=int, default=1, help="images per step")
    parser.add_argument("--steps", type=int, default=3, help="per process; the first is slower")
    parser.add_argument("--rounds", type=int, default=2, help="processes per variant, in turns")
    parser.add_argument("--variants", nargs="+", help="ours, ours+INGREDIENT, official, ...")
    parser.add_argument("--ingredients", action="store_true", help="ours, changed by each of them")
    parser.add_argument("--profile", metavar="VARIANT", help="where a step's time goes")
    parser.add_argument("--no-image", dest="image", action="store_false")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
