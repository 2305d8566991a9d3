from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names
from stable_diffusion import SD1, SD2, SDXL, write_folder

from celeb_core import Identity, Prompt, SampleConfig, generate_each, load_models, parse_prompt
from celeb_core.basis import find_basis
from celeb_core.errors import PromptTooLong, SettingsError
from celeb_core.prompt import encode_prompt
from celeb_core.regions import (
    RegionalAttention,
    encode_regions,
    inside_regions,
    pixel_weights,
    text_weights,
)
from celeb_core.types import RegionConfig

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
FAMILIES = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """Models and basis of a tiny random model."""
    folder = write_folder(tmp_path_factory.mktemp("tiny") / "model", FAMILIES[request.param])
    (folder / "names.txt").write_text("\n".join(celebrity_names()))
    models = load_models(folder, device="cpu", dtype="float32")
    return models, find_basis(models)


def people(basis, seed=0):
    coefficients = torch.randn(3, basis.k, basis.p, generator=torch.Generator().manual_seed(seed))
    names = ("ada", "bob", "eve")
    return {n: Identity(n, c, basis.id) for n, c in zip(names, coefficients, strict=True)}


def pair(basis, text="a photo of <ada> and <bob>", **boxes):
    return replace(parse_prompt(text, people(basis)), boxes=boxes)


def array(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("change", [{"strength": 1.1}, {"self_attention_share": -1}])
def test_strength_and_share_are_checked(change, models, basis):
    config = SampleConfig(regions=RegionConfig(**change))
    with pytest.raises(SettingsError, match="from 0 to 1"):
        generate_each([pair(basis)], models, basis, config)


def test_a_name_that_makes_a_region_too_long_is_told(models, basis):
    encoder = models.encoders[0]
    long = max(celebrity_names(), key=lambda name: len(encoder.token_ids(name)))
    taken = len(encoder.token_ids(f" {long}")) + 3 * basis.k + 2
    words = " a" * (encoder.tokenizer.model_max_length - taken)
    assert len(encoder.token_ids(words)) + taken == encoder.tokenizer.model_max_length
    prompt = pair(basis, f"{words} <ada><bob><eve> {long}")
    encode_prompt(prompt, basis, models)
    with pytest.raises(PromptTooLong, match=f"With {long} in everybody's place"):
        encode_regions(prompt, basis, models, RegionConfig())


# --- weights ----------------------------------------------------------------------------------


def test_pixels_are_in_the_region_whose_box_covers_them():
    inside = inside_regions([LEFT, (0.75, 0.5, 1.0, 1.0)], 4, 8).view(2, 4, 8)
    assert inside[0, :, :4].all() and not inside[0, :, 4:].any()
    assert inside[1, 2:, 6:].all() and inside[1].sum() == 4
    tiny = inside_regions([(0.99, 0.99, 1.0, 1.0)], 2, 2)
    assert tiny.tolist() == [[False, False, False, True]]


def test_weights_of_texts_and_pixels():
    inside = torch.tensor([[True, True, False, False], [False, True, True, False]])
    only_first, both, _, nobody = inside.T
    assert text_weights(only_first, 1).tolist() == [0, 1, 0]
    assert text_weights(both, 1).tolist() == [0, 1, 1]
    assert text_weights(nobody, 0.75).tolist() == [0.75, 0, 0, 0.25]
    assert pixel_weights(only_first, inside, 1).tolist() == [1, 1, 0, 1]
    assert pixel_weights(both, inside, 1).tolist() == [1, 1, 1, 1]
    assert pixel_weights(nobody, inside, 1).tolist() == [1, 1, 1, 1]
    assert pixel_weights(only_first, inside, 0.75).tolist() == [1, 1, 0.25, 1]


# --- on tiny models of all families -----------------------------------------------------------


def attention_layers(models, run):
    """Call `run`; return each attention layer of the UNet with the pixels that it got."""
    seen = []
    hooks = [
        module.register_forward_pre_hook(
            lambda layer, args, kwargs: seen.append((layer, args[0].shape[1])), with_kwargs=True
        )
        for name, module in models.unet.named_modules()
        if name.endswith(("attn1", "attn2"))
    ]
    run()
    for hook in hooks:
        hook.remove()
    return dict(seen).items()


def test_a_person_has_no_influence_outside_of_their_region(family):
    models, basis = family
    boxes = {"ada": (0.0, 0.0, 0.4, 1.0), "bob": (0.6, 0.0, 1.0, 0.5)}
    prompt, side = pair(basis, **boxes), 32 * models.pipeline.vae_scale_factor
    config = SampleConfig(steps=1, width=side, height=side, regions=RegionConfig())
    images = []
    layers = attention_layers(
        models, lambda: images.extend(generate_each([prompt], models, basis, config))
    )
    scale = models.pipeline.vae_scale_factor
    size = (images[0].height // scale, images[0].width // scale)
    regional = encode_regions(prompt, basis, models, RegionConfig())
    states = regional.embeds.hidden_states.clone().requires_grad_()
    tokens = states.shape[1] // regional.texts
    attention, crossed = RegionalAttention([regional], size, bounded_steps=1), 0
    with attention.applied(models.unet):
        for layer, pixels in layers:
            inside = inside_regions(list(boxes.values()), *[math.isqrt(pixels)] * 2)
            inputs = torch.randn(2, pixels, layer.to_q.in_features, requires_grad=True)
            if layer.is_cross_attention:
                crossed += 1
                output = layer(inputs, encoder_hidden_states=states.expand(2, -1, -1))
                rest = [~inside.any(0), *inside]  # texts, in their order
                for index, own in enumerate(rest):
                    (outer,) = torch.autograd.grad(
                        output[:, ~own].square().sum(), states, retain_graph=True
                    )
                    of_text = outer[:, index * tokens : (index + 1) * tokens]
                    assert of_text.abs().max() == 0
                    (inner,) = torch.autograd.grad(
                        output[:, own].square().sum(), states, retain_graph=True
                    )
                    others = inner.unflatten(1, (-1, tokens)).abs().amax((0, 2, 3))
                    assert others[index] > 0 and others.sum() == others[index]
            else:
                output = layer(inputs)
                (gradient,) = torch.autograd.grad(output[:, inside[0]].square().sum(), inputs)
                assert gradient[:, inside[1]].abs().max() == 0
                assert gradient[:, ~inside.any(0)].abs().max() > 0
    assert crossed > 2


def test_the_text_of_a_region_knows_nothing_of_others(family):
    models, basis = family
    known = people(basis)
    other = {**known, "ada": people(basis, seed=1)["ada"]}
    text = f"<ada>, <bob> and {celebrity_names()[0]} on the beach"
    first, second = (
        encode_regions(parse_prompt(text, who), basis, models, RegionConfig())
        for who in (known, other)
    )
    states = (first.embeds.hidden_states - second.embeds.hidden_states).abs()
    rest, ada, bob, celebrity = states.unflatten(1, (4, -1)).amax((0, 2, 3))
    assert ada > 0 and rest == bob == celebrity == 0
    if first.embeds.pooled is not None:  # of the whole image
        assert torch.equal(first.embeds.pooled, second.embeds.pooled)


def test_off_images_are_those_without_regions(family):
    models, basis = family
    prompt, config = pair(basis), SampleConfig(steps=2, width=64, height=64)
    (before,) = generate_each([prompt], models, basis, config)
    regional = replace(config, regions=RegionConfig())
    (divided,) = generate_each([prompt], models, basis, regional)
    assert (array(divided) != array(before)).any()
    none = replace(config, regions=RegionConfig(strength=0.0))
    for same in (config, none):
        assert np.array_equal(before, generate_each([prompt], models, basis, same)[0])
    alone = parse_prompt("a photo of <ada>", people(basis))
    images = [generate_each([alone], models, basis, each)[0] for each in (config, regional)]
    assert np.array_equal(*images)


def test_a_weak_strength_is_near_the_image_without_regions(family):
    models, basis = family
    config = SampleConfig(steps=2, width=64, height=64)
    off, weak, strong = (
        array(generate_each([pair(basis)], models, basis, replace(config, regions=regions))[0])
        for regions in (None, RegionConfig(0.01), RegionConfig(1.0))
    )
    assert 0 < abs(weak - off).sum() < abs(strong - off).sum() / 3


# --- sampling ---------------------------------------------------------------------------------


def test_each_image_of_a_batch_has_a_layout_of_its_own(models, basis):
    prompts = [pair(basis), pair(basis, ada=RIGHT), parse_prompt("a photo", {})]
    config = SampleConfig(seed=3, batch_size=3, regions=RegionConfig())
    together = generate_each(prompts, models, basis, config)
    assert together[2].size == (128, 128)
    for index, image in enumerate(together):
        one = replace(config, seed=3 + index)
        (alone,) = generate_each([prompts[index]], models, basis, one)
        assert abs(array(alone) - array(image)).max() <= 1
    (left,) = generate_each([prompts[0]], models, basis, replace(config, seed=4))
    assert abs(array(left) - array(together[1])).max() > 1


def test_regions_attend_to_one_another_after_the_early_steps(models, basis):
    regional = encode_regions(pair(basis), basis, models, RegionConfig())
    attention = RegionalAttention([regional], (8, 8), bounded_steps=1)
    query = torch.randn(2, 1, 64, 4)
    with attention.applied(models.unet):
        bounded = attention.attend(query, query, query, cross=False)
        attention.after_step(1)
        after = attention.attend(query, query, query, cross=False)
    whole = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    assert torch.equal(after, whole) and not torch.allclose(bounded, whole)


def test_compiled_layers_attend_by_regions_too(world, basis):
    compiled = load_models(world, device="cpu", compiled=True)
    eager = load_models(world, device="cpu")
    config = SampleConfig(steps=4, width=64, height=32, regions=RegionConfig())
    torch.compiler.reset()
    with torch.compiler.set_stance(force_backend="eager"):
        images = [generate_each([pair(basis)], m, basis, config)[0] for m in (eager, compiled)]
        assert abs(array(images[0]) - array(images[1])).max() <= 1
        plain = replace(config, regions=None)  # without them, after them
        images = [generate_each([pair(basis)], m, basis, plain)[0] for m in (eager, compiled)]
        assert abs(array(images[0]) - array(images[1])).max() <= 1


def test_processors_are_put_back_whatever_happens(models, basis):
    before = models.unet.attn_processors

    def stop(pipeline, latents):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        config = SampleConfig(regions=RegionConfig())
        generate_each([pair(basis)], models, basis, config, on_latents=stop)
    assert models.unet.attn_processors == before


def test_a_negative_prompt_is_the_same_everywhere(models, basis):
    """A region that covers all, of two, reads one text: as if there were no regions."""
    whole = (0.0, 0.0, 1.0, 1.0)
    alike = people(basis)["ada"]
    both = Prompt("<ada> and <bob>", {"ada": alike, "bob": alike})
    config = SampleConfig(negative_prompt="a hat", width=64, height=64)
    regional = replace(config, regions=RegionConfig())
    (plain,) = generate_each([both], models, basis, config)
    (divided,) = generate_each(
        [replace(both, boxes={"ada": whole, "bob": whole})], models, basis, regional
    )
    assert abs(array(plain) - array(divided)).max() <= 1
