"""What the buttons that need the GPU cost, where its seconds are counted; elsewhere nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import gradio as gr

from celeb_core import CelebError, Prompt, TrainConfig, checks
from celeb_core.layout import people_of
from celeb_core.prompt import placeholders
from ui.compose_job import MAX_ATTEMPTS
from ui.executor import Executor
from ui.form import Form, prompts
from ui.gpu_costs import WORK, priced
from ui.grid import BLANK
from ui.studio import PRIVATE, Shared
from ui.training_start import training_config

GENERATE, TRAIN, PORTRAITS = "Generate", "Train", "Generate missing portraits"
MOST = 100  # images; more are not generated at once


def images_label(
    executor: Executor,
    text: str,
    grid_people: Sequence[str],
    count: Any,
    attempts: Any = 1,
    **form: Any,
) -> str:
    """Return the text of the button that generates, with what all images cost.

    Args:
        executor: Of the jobs.
        text: The prompts, one per line.
        grid_people: Each prompt is generated with each of them.
        count: Images per prompt and person.
        attempts: At most, at each image of several people: all of them are in the price.
        form: The fields of `Form`.
    """
    costs = executor.costs
    if costs is None:
        return GENERATE
    try:
        config = Form(**form).config(costs.estimates.core.models, 0)
        lines = prompts(text)[:MOST]
        times = max(1, len(grid_people)) * checks.number(count, "Images per prompt", 1, MOST)
        checks.number(times * len(lines), "Images", 1, MOST)
        attempts = checks.number(attempts, "Attempts", 1, MAX_ATTEMPTS)
    except CelebError:  # it is said when the button is pressed
        return GENERATE
    core = costs.estimates.core
    work, names, anybody, rounds = 0.0, core.basis.names, core.basis.mean, 0
    for line in lines:
        text = line.replace(BLANK, grid_people[0]) if grid_people else line
        # Who they are makes no difference, but how many.
        prompt = Prompt(text, dict.fromkeys(placeholders(text), anybody))
        several = len(people_of(prompt, names)) > 1
        rounds = max(rounds, attempts - 1 if several else 0)
        work += times * costs.images([prompt], config) * (attempts if several else 1)
    label = priced(GENERATE, costs.counted(work, math.ceil(work / WORK) + rounds))
    return label.replace("about", "at most") if rounds else label


def training_label(executor: Executor, config: TrainConfig | None, people: int) -> str:
    """Return the text of the button that trains, with what it costs; no config: cannot be said."""
    if executor.costs is None or config is None:
        return TRAIN
    return priced(TRAIN, executor.costs.training(executor.fitting(config, people), people))


def portraits_label(executor: Executor, missing: int) -> str:
    """Return the text of the button that generates portraits, with what they cost."""
    costs = executor.costs
    return PORTRAITS if costs is None else priced(PORTRAITS, costs.default_images(missing))


def wire_images(
    shared: Shared, button: gr.Button, prompt: gr.Textbox, inputs: Mapping[str, Any]
) -> None:
    """Keep the price on the button of the Compose tab; among its inputs are `images_label`'s."""
    if shared.executor.costs is None:
        return

    def price(text: str, grid_people: list[str] | None, count: int, **form: Any) -> Any:
        label = images_label(shared.executor, text, grid_people or [], count, **form)
        return gr.update(value=label)

    names = ["text", "grid_people", "count", "attempts", *(field.name for field in fields(Form))]
    changed = [inputs[name].change for name in names[1:]]
    used = {name: inputs[name] for name in names}
    options: dict[str, Any] = {"fn": price, "inputs_kwargs": used, "outputs": button}
    gr.on([prompt.blur, *changed], **options, queue=False, **PRIVATE)


def wire_training(
    shared: Shared,
    button: gr.Button,
    inputs: Sequence[Any],
    triggers: Sequence[Any],
) -> None:
    """Keep the price on the button of the Train tab.

    Args:
        shared: What the tabs share.
        button: Its label is updated.
        inputs: The people who are chosen, the recipe, the steps.
        triggers: Events after which the price may be another one, besides changes of the inputs.
    """
    if shared.executor.costs is None:
        return

    def price(chosen: list[str] | None, preset: str, steps: int | None) -> Any:
        try:
            wanted = training_config(shared, preset, steps, None)
        except CelebError:  # it is said when the button is pressed
            wanted = None
        return gr.update(value=training_label(shared.executor, wanted, max(1, len(chosen or []))))

    events = [*triggers, *(widget.change for widget in inputs)]
    gr.on(events, price, list(inputs), button, queue=False, **PRIVATE)
