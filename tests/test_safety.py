from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from celeb_core.errors import ModelError, ModelNotFound, UsageError
from celeb_core.safety import checked, is_blocked, load_checker, load_safety_checker

SMALL = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2
}  # fmt: skip
RED, BLUE = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 48), "blue")


@pytest.fixture(scope="module")
def own_checker(tmp_path_factory) -> Path:
    """A model folder with a random checker of Stable Diffusion 1.x, in the names of its files.

    Its only concept is RED, as it sees it.
    """
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "sd"
    vision = SMALL | {"image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=SMALL, vision_config=vision, projection_dim=16)
    network = StableDiffusionSafetyChecker(config).eval()
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = CLIPImageProcessorPil(**size)
    processor.save_pretrained(folder / "feature_extractor")
    with torch.no_grad():
        pixels = processor(RED, return_tensors="pt").pixel_values
        seen = network.visual_projection(network.vision_model(pixels)[1])
        network.concept_embeds.zero_()
        network.concept_embeds[0] = seen[0]
        network.concept_embeds_weights.fill_(0.999)
    network.save_pretrained(folder / "safety_checker")
    path = folder / "safety_checker" / "model.safetensors"
    old = {
        f"vision_model.{key}" if key.startswith("vision_model.") else key: value
        for key, value in load_file(path).items()
    }
    save_file(old, path, {"format": "pt"})
    return folder


def classifier(folder: Path, labels: list[str], scores: list[float]) -> Path:
    """An image classifier that says the same of every image."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(**SMALL, image_size=32, patch_size=16, id2label=dict(enumerate(labels)))
    network = ViTForImageClassification(config)
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.tensor(scores).log())
    network.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_the_models_own_checker_blocks_what_it_knows_and_nothing_else(own_checker, models):
    checker = load_safety_checker("on", replace(models, folder=own_checker))
    assert checker([RED, BLUE, RED]) == [True, False, True]
    assert load_checker(str(own_checker))([BLUE]) == [False]


@pytest.mark.parametrize(("score", "blocked"), [(0.86, True), (0.84, False)])
def test_a_classifier_blocks_from_its_threshold_on(score, blocked, tmp_path):
    folder = classifier(tmp_path / "classifier", ["normal", "NSFW"], [1 - score, score])
    assert load_checker(str(folder))([RED, BLUE]) == [blocked, blocked]


def test_a_checker_with_weights_missing_is_no_checker(own_checker, tmp_path):
    folder = shutil.copytree(own_checker, tmp_path / "sd")
    path = folder / "safety_checker" / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if "projection" not in k}, path, {"format": "pt"})
    with pytest.raises(ModelNotFound, match="weights are missing"):
        load_checker(str(folder))
    path.write_bytes(b"damaged")
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        load_checker(str(folder))


def test_what_is_no_checker_is_refused(tmp_path):
    with pytest.raises(ModelNotFound, match="cannot be loaded"):
        load_checker(str(tmp_path))
    with pytest.raises(ModelError, match="cat, dog"):
        load_checker(str(classifier(tmp_path / "pets", ["cat", "dog"], [0.5, 0.5])))


def test_a_model_without_a_checker_says_what_can_be_chosen(models, tmp_path):
    bare = replace(models, folder=tmp_path)
    assert load_safety_checker("off", bare) is None
    with pytest.raises(UsageError, match="--safety off") as refused:
        load_safety_checker("on", bare)
    assert "Falconsai" in str(refused.value)
    with pytest.raises(UsageError):  # a single file
        load_safety_checker("on", replace(models, folder=None, id="merge"))


def test_a_folder_may_say_that_its_images_need_no_check(models, tmp_path):
    (tmp_path / "studio.json").write_text(json.dumps({"needs_safety_check": False}))
    assert load_safety_checker("on", replace(models, folder=tmp_path)) is None


def test_the_bundled_model_needs_none():
    about = json.loads((Path(__file__).parents[1] / "assets/toonville/studio.json").read_text())
    assert about["needs_safety_check"] is False


def test_a_placeholder_has_nothing_of_the_image():
    def checker(images):
        return [image is RED for image in images]

    first, second = checked([RED, BLUE], checker)
    assert is_blocked(first) and first.size == RED.size and second is BLUE
    assert not is_blocked(second) and not (np.asarray(first) == np.asarray(RED)).all(-1).any()
    assert checked([RED], None) == [RED] and checked([], checker) == []


@pytest.mark.parametrize("half", [False, True])
def test_a_checker_of_the_hub_is_downloaded_in_half_precision_if_it_is_there(
    half, own_checker, hub, models, tmp_path
):
    folder = shutil.copytree(own_checker, tmp_path / "sd")
    path = folder / "safety_checker" / "model.safetensors"
    if half:
        weights = {key: value.half() for key, value in load_file(path).items()}
        save_file(weights, path.with_name("model.fp16.safetensors"), {"format": "pt"})
        path.write_bytes(b"is not needed")
    hub.add("owner/model", folder)
    source = replace(models, folder=None, id="owner/model")
    assert load_safety_checker("on", source)([RED, BLUE]) == [True, False]
