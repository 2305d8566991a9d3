"""`python -m toonville all`: the stages of toonville.stages one after another.

A stage that is complete leaves `<work>/done/<stage>.json`. The same command after an interruption
leaves out what is complete, and the stage that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from celeb_core.errors import UsageError
from celeb_core.files import write_atomically
from toonville.stage_runs import Numbers, Settings
from toonville.stages import STAGES, Stage

TINY_MINUTES = 0.05  # of a training that only shows that it works
FROM_FILE = "from.txt"  # in <work>/done: where a chain that is not over yet began anew


def select(
    first: str | None = None,
    last: str | None = None,
    faces: bool = False,
    stages: Sequence[Stage] = STAGES,
) -> tuple[Stage, ...]:
    """Return the stages of a chain.

    Args:
        first: Name of the first one; None: the first of all.
        last: Name of the last one; None: the last of all.
        faces: Whether the face models are trained, too. One that is `first` or `last` is.
        stages: To choose from.

    Raises:
        UsageError: `last` is before `first`.
    """
    names = [stage.name for stage in stages]
    start = names.index(first) if first else 0
    stop = names.index(last) if last else len(names) - 1
    if stop < start:
        raise UsageError(f"{last} comes before {first}: name a later stage with --until.")
    return tuple(
        stage
        for stage in stages[start : stop + 1]
        if faces or not stage.faces or stage.name in (first, last)
    )


def plan(
    stages: Collection[Stage], total: float | None, threads: int, tiny: bool = False
) -> dict[str, float]:
    """Return the minutes of each stage.

    What is no training has its estimate; the trainings share the rest as their default minutes do.

    Args:
        stages: Of the chain.
        total: Minutes of all; None: trainings have their default minutes.
        threads: Number of cores.
        tiny: Trainings have TINY_MINUTES, whatever the total.

    Raises:
        UsageError: The total leaves no time for the trainings.
    """
    trainings = {stage.name: stage.minutes for stage in stages if stage.work == "training"}
    others = {s.name: s.estimate(threads) for s in stages if s.name not in trainings}
    if tiny:
        others = {name: min(1.0, minutes) for name, minutes in others.items()}
    scale = 1.0
    if total is not None and trainings and not tiny:
        rest = total - sum(others.values())
        if rest <= 0:
            raise UsageError(
                f"{total:g} minutes are too few: what is no training takes about "
                f"{sum(others.values()):.0f}. Name more, or stop earlier with --until."
            )
        scale = rest / sum(trainings.values())
    minutes = {n: TINY_MINUTES if tiny else scale * each for n, each in trainings.items()}
    return {stage.name: (minutes | others)[stage.name] for stage in stages}


def plan_text(stages: Collection[Stage], minutes: Mapping[str, float], work: Path) -> str:
    """Return the plan as a table."""
    lines = []
    for stage in stages:
        kind = "of training" if stage.work == "training" else "estimated"
        done = ", done" if _record(work, stage).exists() else ""
        lines.append(f"{stage.name:12s} {minutes[stage.name]:8.2f} minutes {kind}{done}")
    lines.append(f"{'total':12s} {sum(minutes.values()):8.2f} minutes")
    return "\n".join(lines)


def run_chain(
    stages: Collection[Stage],
    minutes: Mapping[str, float],
    settings: Settings,
    out: Path,
    anew: Sequence[Stage] = (),
) -> None:
    """Run the stages that are not complete.

    Args:
        stages: In their order.
        minutes: Of each stage, see `plan`.
        settings: Of all of them.
        out: Folder of what ships, for paths that begin with "assets/".
        anew: Stages that count as not complete, with what they would go on from; but not again
            when a chain that was interrupted is continued.

    Raises:
        UsageError: What a stage needs is missing.
    """
    cv2.setNumThreads(1)  # stages fork, and a thread pool of this process would be missing there
    if anew:
        _begin_anew(anew, settings.work)
    for stage in stages:
        record = _record(settings.work, stage)
        if record.exists():
            print(f"{stage.name}: complete", flush=True)
            continue
        _check_needs(stage, settings.work, out)
        print(f"{stage.name}: {minutes[stage.name]:.2f} minutes planned", flush=True)
        begin = time.perf_counter()
        own = replace(settings, minutes=minutes[stage.name], options=stage.options)
        numbers: Numbers = {"minutes": minutes[stage.name], **stage.run(own)}
        numbers["minutes_taken"] = round((time.perf_counter() - begin) / 60, 3)
        write_atomically(record, json.dumps(numbers, indent=1).encode())
        print(f"{stage.name}: complete, {numbers['minutes_taken']:.2f} minutes", flush=True)
    _from_file(settings.work).unlink(missing_ok=True)


def _record(work: Path, stage: Stage) -> Path:
    return work / "done" / f"{stage.name}.json"


def _from_file(work: Path) -> Path:
    return work / "done" / FROM_FILE


def _begin_anew(stages: Sequence[Stage], work: Path) -> None:
    """Forget that the stages are complete, unless an interrupted chain has done that already."""
    begun, first = _from_file(work), stages[0].name
    if begun.exists() and begun.read_text() == first:
        return
    for stage in stages:
        _record(work, stage).unlink(missing_ok=True)
        for path in (work / name for name in stage.resumes):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    write_atomically(begun, first.encode())


def _check_needs(stage: Stage, work: Path, out: Path) -> None:
    """Raise UsageError if a path that a stage needs is missing."""
    for name in stage.needs:
        path = out / name.removeprefix("assets/") if name.startswith("assets/") else work / name
        if not path.exists():
            maker = next(one.name for one in STAGES if name in one.makes)
            raise UsageError(
                f"{stage.name} needs {path}, which {maker} makes. Begin there: --from {maker}."
            )
