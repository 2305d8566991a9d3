"""Everything that `celeb-basis evaluate` measures: people alone, and groups of people."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from celeb_core.errors import UsageError
from celeb_core.evaluation import groups, single
from celeb_core.evaluation.data import COUNT, EvaluationSet, load_evaluation_set, load_photo_set
from celeb_core.evaluation.judges import find_clip, find_judge
from celeb_core.evaluation.run import Progress, Record, Run
from celeb_core.evaluation.work import Describe, Executor, check_same, describe, here
from celeb_core.studio import Studio
from celeb_core.types import Identity, RegionConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is evaluated, and with whom."""

    people: tuple[int, ...] = (1,)  # how many in an image; a table for 1, one for all others
    count: int | None = None  # people who are trained; None: 20, or all of the photos
    photos: Path | None = None  # folder; None: the model's own evaluation set
    preset: str = "best"  # of the row “trained”, and of groups
    rows: tuple[str, ...] | None = None  # of single.ROWS; None: all, of photos the first two
    groups: int | None = None  # of each size; None: as many as people
    square: bool = False  # groups on a canvas that is no wider than one person's
    judge: str | None = None  # a face pack's name or folder
    clip: str | None = None  # folder or hub id
    seed: int = 0  # of the choice of people, celebrities and groups


def evaluate(
    studio: Studio,
    config: EvaluationConfig | None = None,
    out: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Evaluate celebrities by name and new people, alone and in groups, as the config says.

    Args:
        studio: The model, and what people are trained with.
        config: What is evaluated.
        out: Folder of what is finished; the same call goes on where an earlier one was killed.
        report: Gets the progress.
        executor: Trains people, generates images and examines them; None: this process.

    Returns:
        For one person: row -> seconds and the scores of `score_people`; with “trained” and the
        model's own set also pairs and pairs_with_celebrity. For more: groups -> the rows of
        `score_groups`. Always judge (its id) and notes (texts).

    Raises:
        CelebError: FeatureMissing without an evaluation set, UsageError for what does not fit
            together, FacePackMissing for a judge that is not there, and what trainings raise.
    """
    config = config or EvaluationConfig()
    data, judge = _load(studio, config)
    _check_size(data, config)
    executor = executor or here(studio, data)
    used_with = _loaded(studio, executor)
    run = Run(out, _settings(config, data, judge) | used_with, report)
    rows = config.rows or (single.ROWS if config.photos is None else single.ROWS[:2])
    rows = rows if 1 in config.people else ()
    count, most = config.groups or len(data.people), _members(data)
    chosen = {n: groups.choose_groups(most, n, count, config.seed) for n in config.people if n > 1}
    if chosen and "trained" not in rows:
        rows = (*rows, "trained")
    run.plan(_count_parts(studio, config, data, rows, chosen))
    data = single.find_celebrities(studio, data, run, executor)
    result: dict[str, Any] = {"judge": judge, "notes": list(data.notes)}
    trained: dict[str, Identity] | None = None
    if 1 in config.people:
        scores = single.score_people(studio, data, run=run, executor=executor)
        result["celebrities"] = {**scores, "seconds": 0.0}
    for row in rows:
        if (used := single.row_config(studio, row, config.preset)) is None:
            log.info("%s: left out, there is no calibration", row)
            continue
        part = single.part_of_row(data, row)
        fitted, seconds = single.fit_each(used[0], part.people, used[1], run, row, executor)
        trained = fitted if row == "trained" else trained
        if 1 in config.people:
            scores = single.score_people(studio, part, fitted, run, row, executor)
            result[row] = {**scores, "seconds": seconds}
    if trained and _with_gallery(config):
        for row in ("pairs", "pairs_with_celebrity"):
            famous = row != "pairs"
            result[row] = single.evaluate_pairs(studio, data, trained, famous, run, executor)
    if chosen and trained is not None:
        group_rows = [
            groups.GroupRow(who, regions, groups.build_groups(data, who, each))
            for each in chosen.values()
            for who in groups.WHO
            for regions in groups.REGIONS
        ]
        result["groups"] = groups.score_groups(
            studio, data, group_rows, trained, run, config.square, executor
        )
    return result


def _load(studio: Studio, config: EvaluationConfig) -> tuple[EvaluationSet, str]:
    """Load the people, and what they are judged by; return also the judge's id."""
    if config.photos is None and config.judge is not None:
        raise UsageError(
            "The model's own evaluation set has a judge of its own. Leave out --judge, or name "
            "photos, --photos FOLDER."
        )
    judge = find_judge(studio, config.judge)
    if config.photos is None:
        data = load_evaluation_set(studio, config.seed, config.count or COUNT)
    else:
        data = load_photo_set(studio, config.photos, judge.judge, config.seed, config.count)
    clip, lacking = find_clip(studio, config.clip)
    notes = (*data.notes, *filter(None, (judge.note, lacking)))
    return replace(data, clip=clip, notes=notes), judge.id


def _members(data: EvaluationSet) -> int:
    return min(len(data.people), len(data.celebrities))


def _check_size(data: EvaluationSet, config: EvaluationConfig) -> None:
    if (most := max(config.people)) > (there := _members(data)):
        raise UsageError(
            f"Groups of {most} need {most} people and as many celebrities, and there are {there}. "
            "Use more photos, more celebrities (--names), a higher --count or smaller groups."
        )


def _with_gallery(config: EvaluationConfig) -> bool:
    """Whether pairs are compared with the gallery of the model's own set, too."""
    return config.photos is None and 1 in config.people


def _count_parts(
    studio: Studio,
    config: EvaluationConfig,
    data: EvaluationSet,
    rows: tuple[str, ...],
    chosen: dict[int, list[tuple[int, ...]]],
) -> int:
    """Return how many people are trained and how many images are scored."""
    parts = 0
    if len(data.celebrity_embeddings) < len(data.celebrities):
        parts += single.REFERENCES * len(data.celebrities)
    if 1 in config.people:
        parts += len(data.celebrities) * (single.PORTRAITS + len(data.prompts))
    for row in rows:
        if single.row_config(studio, row, config.preset) is not None:
            part = single.part_of_row(data, row)
            parts += len(part.people)
            parts += single.count_images(part) if 1 in config.people else 0
    if "trained" in rows and _with_gallery(config):
        parts += 2 * len(data.people)
    each = groups.IMAGES * len(groups.WHO) * len(groups.REGIONS)
    return parts + each * sum(map(len, chosen.values()))


def _loaded(studio: Studio, executor: Executor) -> Record:
    """Return what an executor has loaded, which may be on another kind of device than here."""
    ((_, found),) = executor.do([Describe()], Run())
    check_same(found, describe(studio), "dtype")
    return dict(found)


def _settings(config: EvaluationConfig, data: EvaluationSet, judge: str) -> dict[str, Any]:
    """Return what the results depend on besides models: a run goes on where it is the same."""
    prompts = [one.prompt for one in (*data.prompts, *data.group_prompts)]
    return asdict(config) | {
        "people": None,
        "rows": None,
        "judge": judge,
        "clip": config.clip or ("the model's" if data.clip else None),
        "who": [one.name for one in data.people],
        "photos": dict(data.digests) if data.digests else None,
        "celebrities": data.celebrities,
        "regions": asdict(RegionConfig()),
        "prompts": hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:16],
    }
