"""Starting a training: what the Train tab and the API do with what was asked for."""

from __future__ import annotations

from typing import Any

from celeb_core import PRESETS, CelebError, TrainConfig, checks, recipe
from celeb_core.files import check_writable
from celeb_core.identity import MAX_NAME
from ui.form import MAX_SEED
from ui.studio import Shared
from ui.train_form import MAX_STEPS
from ui.training_job import TrainJob
from ui.workspace import Workspace


def start_training(
    shared: Shared,
    workspace: Workspace,
    chosen: Any,
    preset: Any,
    steps: Any,
    seed: Any,
    kind: type[TrainJob] = TrainJob,
    **more: Any,
) -> TrainJob:
    """Queue a training.

    Args:
        shared: What the tabs share.
        workspace: The user's.
        chosen: Ids of its training list; those that are not in it any more are left out.
        preset: Name of a recipe.
        steps: None or 0: the recipe's.
        seed: None: the recipe's.
        kind: Of the job.
        more: Further fields of the job.

    Raises:
        CelebError: Nobody is chosen, a value is wrong, a folder cannot be written.
    """
    known = checks.texts(chosen, "The choice of people", MAX_NAME)
    trainees = [workspace.trainees[id] for id in known if id in workspace.trainees]
    if not trainees:
        raise CelebError("Choose at least one person. New faces come from the Faces tab.")
    config = training_config(shared, preset, steps, seed)
    for folder in (workspace.library, workspace.images):
        check_writable(folder)
    job = kind(
        owner=workspace.id,
        core=shared.core,
        workspace=workspace,
        trainees=trainees,
        config=config,
        estimates=shared.estimates,
        executor=shared.executor,
        total=config.steps,
        **more,
    )
    return shared.submit(job)


def training_config(shared: Shared, preset: Any, steps: Any, seed: Any) -> TrainConfig:
    """Return the recipe with these steps and this seed.

    Raises:
        SettingsError: A value is wrong.
    """
    config = recipe(checks.choice(preset, "Preset", PRESETS), shared.core.calibration)
    if seed is not None:
        config = config.changed(seed=checks.number(seed, "Seed", 0, MAX_SEED))
    if steps and config.steps:
        config = config.changed(steps=checks.number(steps, "Steps", 1, MAX_STEPS))
    return config
