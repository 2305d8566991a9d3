"""Generated images are checked, so that what is not fit for strangers is never saved or shown.

By the model's own safety checker, as Stable Diffusion 1.x has one (arXiv:2210.04610 says what it
looks for), or by an image classifier. Both run on the CPU, half a second per image or less.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import huggingface_hub as hub
import torch
from PIL import Image, ImageDraw

from celeb_core.downloads import REVISIONS, download
from celeb_core.errors import ModelError, ModelNotFound, UsageError, quote
from celeb_core.loading import LOAD_ERRORS, SHORT
from celeb_core.models import Models, read_about

SafetyChecker: TypeAlias = Callable[[Sequence[Image.Image]], list[bool]]
"""Images -> for each, whether it is to be blocked."""

UNSAFE = "nsfw"  # label of a classifier
THRESHOLD = 0.85  # of its probability
CHECKER, EXTRACTOR = "safety_checker", "feature_extractor"  # folders of a model
CLASSIFIER = "Falconsai/nsfw_image_detection"  # one that is known to work
BLOCKED = "blocked"  # key of `Image.info`
REASON = "blocked by the safety checker, which takes it for nudity or sexual content"
OFF = (
    "off: nothing is checked, so a page for strangers shows and keeps whatever the model generates "
    "for them"
)


def load_safety_checker(choice: str, models: Models) -> SafetyChecker | None:
    """Load what checks generated images.

    Args:
        choice: "off"; "on" for the model's own checker; or another model, see `load_checker`.
        models: Of the images. If the studio.json of its folder says that it needs no check, "on"
            loads none.

    Returns:
        None if nothing is to be checked.

    Raises:
        UsageError: The model has no checker.
        ModelError: The checker cannot be loaded.
    """
    if choice == "off":
        return None
    if choice != "on":
        return load_checker(choice)
    if read_about(models.folder).get("needs_safety_check") is False:
        return None
    source = models.folder or models.id
    if isinstance(source, str) and source.count("/") != 1 or not _has_checker(source):
        raise UsageError(
            f"{models.title} has no safety checker, and images for strangers are checked. Name "
            f"one: --safety {SHORT['sd15']} for that of Stable Diffusion 1.5, or an image "
            f"classifier such as --safety {CLASSIFIER}. Or choose --safety {OFF}."
        )
    return load_checker(str(source))


def load_checker(source: str) -> SafetyChecker:
    """Load a checker from a folder or a hub id.

    Args:
        source: A model with a safety checker, or an image classifier with a label UNSAFE.

    Raises:
        ModelError: It is neither, or damaged, or out of reach.
    """
    source = SHORT.get(source, source)
    try:
        if not Path(source).expanduser().is_dir() and source.count("/") != 1:
            raise ValueError("no folder, and no hub id such as owner/model")
        if _has_checker(source):
            return partial(_by_checker, *_load_own(_checker_folder(source)))
        classify = _load_classifier(source)
    except LOAD_ERRORS as error:
        raise ModelNotFound(
            f"The safety checker {quote(source)} cannot be loaded ({quote(str(error))}). Name a "
            f"model with a folder “{CHECKER}”, or an image classifier such as {CLASSIFIER}."
        ) from error
    labels = {label.lower() for label in classify.model.config.id2label.values()}
    if UNSAFE not in labels:
        raise ModelError(
            f"{source} tells {quote(', '.join(sorted(labels)))} apart; what checks images needs a "
            f"label “{UNSAFE}”, as {CLASSIFIER} has it."
        )
    return partial(_by_classifier, classify)


def checked(images: Sequence[Image.Image], checker: SafetyChecker | None) -> list[Image.Image]:
    """Put a placeholder in the place of each image that is blocked.

    So the images still go with what asked for them. `is_blocked` knows placeholders.

    Args:
        images: As generated.
        checker: None lets everything pass.
    """
    if checker is None or not images:
        return list(images)
    return [
        placeholder(image.size) if blocked else image
        for image, blocked in zip(images, checker(images), strict=True)
    ]


def is_blocked(image: Image.Image) -> bool:
    """Return whether an image is a placeholder of one that was blocked."""
    return bool(image.info.get(BLOCKED))


def placeholder(size: tuple[int, int]) -> Image.Image:
    """Return a grey image that says that there is none."""
    image = Image.new("RGB", size, (71, 85, 105))
    centre = (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).text(centre, "blocked", "white", font_size=size[0] / 8, anchor="mm")
    image.info[BLOCKED] = True
    return image


def _has_checker(source: str | Path) -> bool:
    """Return whether a folder, or a hub id's repository, has a safety checker."""
    if (path := Path(source).expanduser()).is_dir():
        return (path / CHECKER).is_dir()
    name, revision = f"{CHECKER}/config.json", REVISIONS.get(str(source))
    try:
        return bool(hub.hf_hub_download(str(source), name, revision=revision))
    except LOAD_ERRORS:  # it is not there, or cannot be reached: loading says so
        return False


def _checker_folder(source: str) -> Path:
    """Return the folder of a model that has a checker; that of a hub id is downloaded."""
    if (path := Path(source).expanduser()).is_dir():
        return path
    name, revision = f"{EXTRACTOR}/preprocessor_config.json", REVISIONS.get(source)
    hub.hf_hub_download(source, name, revision=revision)
    return download(source, [CHECKER], half=True)


def _load_own(folder: Path) -> tuple[Any, Any]:
    """Load a model's checker and what prepares images for it."""
    from diffusers.pipelines.stable_diffusion import safety_checker
    from transformers import CLIPImageProcessorPil

    options: dict[str, Any] = {"local_files_only": True}
    half = not any((folder / CHECKER).glob("model.safetensors"))
    network, about = safety_checker.StableDiffusionSafetyChecker.from_pretrained(
        folder / CHECKER,
        variant="fp16" if half else None,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    if missing := sorted(about["missing_keys"]):  # random weights would let anything pass
        raise ValueError(f"{len(missing)} of its weights are missing: {missing[0]}, …")
    return network.eval(), CLIPImageProcessorPil.from_pretrained(folder / EXTRACTOR, **options)


def _load_classifier(source: str) -> Any:
    """Load an image classifier and what prepares images for it."""
    from transformers import AutoModelForImageClassification, pipeline

    load = AutoModelForImageClassification.from_pretrained
    network, about = load(source, use_safetensors=True, output_loading_info=True)
    if missing := sorted(about["missing_keys"]):
        raise ValueError(f"{len(missing)} of its weights are missing: {missing[0]}, …")
    return pipeline("image-classification", network, image_processor=source, device="cpu")


@torch.no_grad()
def _by_checker(network: Any, processor: Any, images: Sequence[Image.Image]) -> list[bool]:
    found = []
    for image in images:
        pixels = processor(image, return_tensors="pt").pixel_values
        found += network(clip_input=pixels, images=torch.zeros(1, 1))[1]
    return [bool(blocked) for blocked in found]


@torch.no_grad()
def _by_classifier(classify: Any, images: Sequence[Image.Image]) -> list[bool]:
    every = classify(list(images), top_k=None)
    scores = [{one["label"].lower(): one["score"] for one in each} for each in every]
    return [score[UNSAFE] >= THRESHOLD for score in scores]
