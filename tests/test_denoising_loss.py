from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from celeb_core import PRESETS, TrainConfig, compose, load_models, load_studio
from celeb_core.augmentation import PAPER_TEMPLATES, SHORT_TEMPLATES, AugmentedLatents
from celeb_core.denoising_loss import DenoisingLoss, NuisanceTokens, truncated_backward
from celeb_core.device import MODES
from celeb_core.evaluation.data import load_evaluation_set
from celeb_core.formats.calibration_file import CALIBRATED
from celeb_core.loading import BUNDLED
from celeb_core.mapper import CalibratedMapper
from celeb_core.text_encoder import encode_texts
from celeb_core.types import LossConfig

PAPER = PRESETS["paper"].loss
EXACT = LossConfig(gradients="exact")
PLAIN = replace(EXACT, nuisance_tokens=False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(models, n: int, b: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random latents (n, b, c, h, w), and masks of their left halves."""
    side = models.unet.config.sample_size
    masks = torch.zeros(n, b, 1, side, side)
    masks[..., : side // 2] = 1.0
    return torch.randn(n, b, 4, side, side, generator=seeded(1)), masks


def token_embeddings(models, n: int) -> torch.Tensor:
    """(n, k, d) that could be tokens, to be differentiated by."""
    width = sum(encoder.table.shape[1] for encoder in models.encoders)
    rows = torch.randn(n, 2, width, generator=seeded(2)) * 0.02
    return rows.requires_grad_()


def nuisance_tokens(models, n: int) -> NuisanceTokens:
    tokens = NuisanceTokens(n, 2, models.encoders)
    with torch.no_grad():
        tokens.offsets.normal_(generator=seeded(3))
    return tokens


# --- the loss


class Oracle(nn.Module):
    """A UNet that knows the clean latents, so the noise, and predicts `kind` off by `offset`."""

    def __init__(self, scheduler, clean: torch.Tensor, offset: torch.Tensor | float = 0.0) -> None:
        super().__init__()
        self.scheduler, self.clean, self.offset = scheduler, clean.flatten(0, 1), offset

    def forward(self, noisy, timesteps, hidden_states, **_):
        signal = self.scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        noise = (noisy - signal.sqrt() * self.clean) / (1 - signal).sqrt()
        found = {
            "epsilon": noise,
            "sample": self.clean,
            "v_prediction": signal.sqrt() * noise - (1 - signal).sqrt() * self.clean,
        }[self.scheduler.config.prediction_type]
        return (found + self.offset + 0 * hidden_states.sum(),)


def oracle_loss(models, config, latents, masks, kind="epsilon", offset=0.0) -> float:
    scheduler = DDPMScheduler.from_config(models.scheduler.config, prediction_type=kind)
    unet = Oracle(scheduler, latents, offset)
    parts = {"encoders": models.encoders, "memory": models.memory, "scheduler": scheduler}
    loss = DenoisingLoss(SimpleNamespace(unet=unet, **parts), config, seeded())
    return float(loss.backward(token_embeddings(models, 1), latents, masks))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_true_target_of_every_prediction_type_has_no_loss(kind, models):
    latents, masks = batch(models, 1, 4)
    assert oracle_loss(models, PLAIN, latents, masks, kind) < 1e-8
    assert oracle_loss(models, PLAIN, latents, masks, kind, 1.0) == pytest.approx(1, abs=1e-4)


def test_background_counts_less_in_the_loss(models):
    """An error outside counts `background_weight` times one inside; the mean weight is one."""
    config = replace(PLAIN, background_weight=0.25)
    latents, masks = batch(models, 1, 2)
    masks[..., :4] = 0.0  # a quarter of the image is inside
    inside = masks.flatten(0, 1)
    assert float(inside.mean()) == 0.25

    def loss(offset) -> float:
        return oracle_loss(models, config, latents, masks, offset=offset)

    in_head, outside = loss(inside), loss(1 - inside)
    assert in_head + outside == pytest.approx(1, abs=1e-3)
    assert (in_head / 0.25) / (outside / 0.75) == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("config", [PAPER, EXACT], ids=["paper", "short"])
@pytest.mark.parametrize("kind", ["tiny", "sdxl"])
def test_losses_and_gradients_are_those_of_one_plain_pass(kind, config, models, request):
    """The loss as it is defined, in one graph, from the same random numbers."""
    models = request.getfixturevalue("sdxl") if kind == "sdxl" else models
    n, b = 2, 3
    latents, masks = batch(models, n, b)
    embeddings = token_embeddings(models, n)
    nuisance = nuisance_tokens(models, n) if config.nuisance_tokens else None
    leaves = [embeddings, *(nuisance.parameters() if nuisance else ())]
    ours = DenoisingLoss(models, config, seeded(), nuisance)
    losses = ours.backward(embeddings, latents, masks)
    assert losses.shape == (n,) and not losses.requires_grad
    gradients = [leaf.grad.clone() for leaf in leaves]

    plain = DenoisingLoss(models, config, seeded(), nuisance)
    clean = latents.flatten(0, 1)
    noise = torch.randn(clean.shape, generator=plain.generator)
    bounds = plain.timestep_bounds(clean.shape[-1] ** 2)
    t = torch.cat([plain.sample_timesteps(b, bounds) for _ in range(n)])
    scheduler = DDPMScheduler.from_config(models.scheduler.config)
    noisy = scheduler.add_noise(clean, noise, t)
    is_noise = scheduler.config.prediction_type == "epsilon"
    target = noise if is_noise else scheduler.get_velocity(clean, noise, t)
    embeds = plain.encode_prompts([plain.choose_prompts(embeddings, b)])
    added = None
    if kind == "sdxl":
        sizes = torch.tensor([[models.height, models.width, 0, 0, models.height, models.width]])
        added = {"text_embeds": embeds.pooled, "time_ids": sizes.float().expand(n * b, -1)}
    predicted = models.unet(noisy, t, embeds.hidden_states, added_cond_kwargs=added).sample
    weight = torch.where(masks.flatten(0, 1) > 0.5, 1.0, config.background_weight)
    weight = weight / weight.mean((1, 2, 3), keepdim=True)
    expected = ((predicted - target).square() * weight).mean((1, 2, 3)).view(n, b).mean(1)
    assert torch.allclose(losses, expected.detach(), rtol=1e-5)
    for ours, theirs in zip(gradients, torch.autograd.grad(expected.mean(), leaves), strict=True):
        assert theirs.norm() > 0
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def gradients_of(models, config, n=2, b=3, scale=1.0) -> list[torch.Tensor]:
    """Losses, and gradients of the people's and of the nuisance tokens' embeddings."""
    embeddings, nuisance = token_embeddings(models, n), nuisance_tokens(models, n)
    loss = DenoisingLoss(models, config, seeded(), nuisance)
    losses = loss.backward(embeddings, *batch(models, n, b), scale)
    return [losses, embeddings.grad, nuisance.offsets.grad]


@pytest.mark.parametrize("gradients", ["truncated", "exact"])
@pytest.mark.parametrize("mode", MODES[1:])
def test_micro_batches_give_the_gradients_of_the_whole_batch(mode, gradients, world, models):
    """In every memory mode, with recomputed activations too."""
    own = load_models(world, device="cpu", memory=mode)
    config = LossConfig(gradients=gradients)
    calls = []
    own.unet.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    for ours, whole in zip(gradients_of(own, config), gradients_of(models, config), strict=True):
        assert torch.allclose(ours, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert calls == [1] * 6


def test_micro_batches_give_both_outputs_their_gradients(sdxl):
    own = replace(sdxl, memory=SimpleNamespace(micro_batch=2))
    for config in (EXACT, LossConfig()):
        for ours, whole in zip(gradients_of(own, config), gradients_of(sdxl, config), strict=True):
            assert torch.allclose(ours, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


def test_gradients_are_scaled_and_added_and_losses_are_not(models):
    losses, people, nuisance = gradients_of(models, LossConfig())
    scaled = gradients_of(models, LossConfig(), scale=1024.0)
    assert torch.equal(scaled[0], losses)
    assert torch.allclose(scaled[1], 1024 * people) and torch.allclose(scaled[2], 1024 * nuisance)
    embeddings = token_embeddings(models, 2)
    for _ in range(2):
        loss = DenoisingLoss(models, LossConfig(), seeded(), nuisance_tokens(models, 2))
        loss.backward(embeddings, *batch(models, 2, 3))
    assert torch.allclose(embeddings.grad, 2 * people)


# --- timesteps


def test_stratified_timesteps_cover_the_range(models):
    loss = DenoisingLoss(models, LossConfig(), seeded())
    parts = loss.sample_timesteps(10, (0, 1000)) // 100
    assert sorted(parts.tolist()) == list(range(10)) != parts.tolist()
    inside = loss.sample_timesteps(200, (300, 350))
    assert sorted(set(inside.tolist())) == list(range(300, 350))


def test_independent_timesteps_cover_the_range_by_chance(models):
    loss = DenoisingLoss(models, PAPER, seeded())
    assert len(set((loss.sample_timesteps(10, (0, 1000)) // 100).tolist())) < 10
    assert set(loss.sample_timesteps(500, (3, 7)).tolist()) == {3, 4, 5, 6}


@pytest.mark.parametrize("side", [16, 64])
def test_the_noisiest_timestep_hides_as_much_of_a_shrunk_image_at_any_size(models, side):
    """Log SNR of a mean over (side / 16)^2 latents: log(a / (1 - a)) + 2 log(side / 16)."""
    loss = DenoisingLoss(models, LossConfig(min_log_snr=-1.5, max_log_snr=2.5), seeded())
    first, end = loss.timestep_bounds(side * side)
    alphas = DDPMScheduler.from_config(models.scheduler.config).alphas_cumprod.double()
    ratio = (alphas / (1 - alphas)).log()
    inside = (ratio + 2 * math.log(side / 16) >= -1.5) & (ratio <= 2.5)
    assert inside.nonzero().flatten().tolist() == list(range(first, end))


def test_the_paper_draws_from_all_timesteps(models):
    assert DenoisingLoss(models, PAPER, seeded()).timestep_bounds(64 * 64) == (0, 1000)


@pytest.mark.parametrize(("limit", "nearest"), [(-60.0, (999, 1000)), (60.0, (0, 1))])
def test_a_range_that_holds_no_timestep_gives_the_nearest(limit, nearest, models):
    config = LossConfig(min_log_snr=limit, max_log_snr=limit)
    assert DenoisingLoss(models, config, seeded()).timestep_bounds(64 * 64) == nearest


# --- prompts


@pytest.mark.parametrize(("config", "texts"), [(LossConfig(), 1), (PAPER, 2)])
def test_a_prompt_is_encoded_once_for_all_images_of_a_person(config, texts, models):
    rows, (encoder,) = [], models.encoders
    hook = encoder.model.register_forward_pre_hook(
        lambda _, args: rows.append(len(args[0])), with_kwargs=False
    )
    loss = DenoisingLoss(models, config, seeded(1))
    embeds = loss.encode_prompts([loss.choose_prompts(token_embeddings(models, 3), 8)])
    hook.remove()
    states = embeds.hidden_states.detach().unflatten(0, (3, 8))
    assert rows == [3 * texts]
    assert [len(states[person].unique(dim=0)) for person in range(3)] == [texts] * 3


@pytest.mark.parametrize("templates", ["short", "paper"])
@pytest.mark.parametrize("nuisance", [True, False])
def test_prompts_of_a_training_are_prompts_that_images_are_generated_from(
    nuisance, templates, models, basis
):
    config = LossConfig(templates=templates, nuisance_tokens=nuisance)
    tokens = nuisance_tokens(models, 2) if nuisance else None
    embeddings = token_embeddings(models, 2).detach()
    loss = DenoisingLoss(models, config, seeded(), tokens)
    states = loss.encode_prompts([loss.choose_prompts(embeddings, 3)])
    all_of_them = SHORT_TEMPLATES if templates == "short" else PAPER_TEMPLATES
    texts = [template.format("<x>") for template in all_of_them]
    for person, rows in enumerate(states.hidden_states.detach().unflatten(0, (2, 3))):
        known, mine = {"x": embeddings[person]}, texts
        if tokens is not None:
            known["photo"] = tokens()[person].detach()
            mine = [text + " <photo>" for text in texts]
        encoded = encode_texts(mine, [known] * len(mine), basis.k, models.encoders)
        for row in rows:
            distances = (encoded.hidden_states.detach() - row).flatten(1).norm(dim=1)
            assert float(distances.min()) < 1e-4


# --- nuisance tokens


def test_nuisance_tokens_start_at_the_mean_token_and_count_in_deviations(models):
    tokens = NuisanceTokens(3, 2, models.encoders)
    (table,) = (encoder.table for encoder in models.encoders)
    assert tokens().shape == (3, 2, table.shape[1])
    assert torch.allclose(tokens(), table.mean(0).expand_as(tokens()), atol=1e-6)
    with torch.no_grad():
        tokens.offsets[1] = 2.0
    assert torch.allclose(tokens()[1], table.mean(0) + 2 * table.std(), atol=1e-6)
    assert torch.equal(tokens()[0], tokens()[2])
    assert [name for name, _ in tokens.named_parameters()] == ["offsets"]


def test_each_encoder_has_its_own_mean_token(sdxl):
    first, second = (encoder.table.mean(0) for encoder in sdxl.encoders)
    found = NuisanceTokens(1, 2, sdxl.encoders)()[0, 1]
    assert torch.allclose(found, torch.cat([first, second]), atol=1e-6)


# --- truncated backward


@pytest.fixture
def states(models):
    width = models.unet.config.cross_attention_dim
    return torch.randn(2, 7, width, generator=seeded())


def predict(unet, states):
    noisy = torch.randn(2, unet.config.in_channels, 16, 16, generator=seeded(1))
    return unet(noisy, torch.tensor([300, 600]), states, return_dict=False)[0]


def gradient(unet, states):
    states = states.clone().requires_grad_()
    predict(unet, states).square().sum().backward()
    return states.grad


def test_a_truncated_backward_changes_no_prediction(models, states):
    with torch.no_grad():
        expected = predict(models.unet, states)
    with truncated_backward(models.unet):
        assert torch.equal(predict(models.unet, states.requires_grad_()), expected)


def test_gradients_pass_neither_down_blocks_nor_self_attention(models, states):
    exact = gradient(models.unet, states)
    with truncated_backward(models.unet):
        found = gradient(models.unet, states)

    def detach(module, arguments, options):
        read = options.get("encoder_hidden_states")
        return arguments, options | {"encoder_hidden_states": read.detach()}

    hooks = [
        block.register_forward_pre_hook(detach, with_kwargs=True)
        for block in models.unet.down_blocks
        if getattr(block, "has_cross_attention", False)
    ]
    without_down = gradient(models.unet, states)
    hooks += [
        module.register_forward_hook(lambda *arguments: arguments[-1].detach())
        for name, module in models.unet.named_modules()
        if name.endswith("attn1")
    ]
    expected = gradient(models.unet, states)
    for hook in hooks:
        hook.remove()
    assert hooks and torch.allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert not torch.allclose(without_down, exact, rtol=1e-2)
    assert not torch.allclose(expected, without_down, rtol=1e-2)


def test_afterwards_all_is_as_before_even_if_it_failed(models, states):
    expected = gradient(models.unet, states)
    with pytest.raises(RuntimeError), truncated_backward(models.unet):
        predict(models.unet, states[:, :, :3])
    assert torch.is_grad_enabled()
    assert torch.equal(gradient(models.unet, states), expected)
    with torch.no_grad(), truncated_backward(models.unet):
        predict(models.unet, states)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("order", "memory"),
    [
        ("exact truncated exact", "full"),
        ("truncated exact truncated", "full"),
        ("truncated exact", "checkpointing"),
    ],
)
def test_compiled_gradients_are_those_of_the_eager_model(world, states, order, memory):
    eager = load_models(world, device="cpu", memory=memory).unet
    compiled = load_models(world, device="cpu", memory=memory, compiled=True).unet
    torch.compiler.reset()
    captured = []

    def backend(graph, inputs):
        captured.append(graph)
        return graph

    def found(kind, unet):
        with truncated_backward(unet) if kind == "truncated" else nullcontext():
            return gradient(unet, states)

    expected = {kind: found(kind, eager) for kind in ("exact", "truncated")}
    with torch.compiler.set_stance(force_backend=backend):
        with torch.no_grad():
            assert torch.equal(predict(compiled, states), predict(eager, states))
        for kind in order.split():
            torch.testing.assert_close(found(kind, compiled), expected[kind], rtol=1e-5, atol=1e-7)
    assert len(captured) > 2
    assert not torch.allclose(expected["exact"], expected["truncated"], rtol=1e-2)


@pytest.mark.toonville
def test_on_toonville_truncated_gradients_point_where_exact_ones_do():
    studio = load_studio(BUNDLED, device="cpu")
    models, basis, calibration = studio.models, studio.basis, studio.calibration
    people = load_evaluation_set(studio, 0, 3).people
    faces = torch.stack([person.faces[0].embedding for person in people])
    tensors = {name: getattr(calibration, name) for name in CALIBRATED}
    mapper = CalibratedMapper((basis.k, basis.p), tensors)

    def found(gradients):
        generator = seeded()
        latents = AugmentedLatents(people, models, TrainConfig(), generator)
        nuisance = NuisanceTokens(len(people), basis.k, models.encoders)
        loss = DenoisingLoss(models, LossConfig(gradients=gradients), generator, nuisance)
        coefficients = mapper(faces).detach().requires_grad_()
        for step in range(4):
            loss.backward(compose(basis, coefficients), *latents.batch(step))
        return coefficients.grad.flatten(1) @ calibration.directions.float()

    cosine = torch.cosine_similarity(found("truncated"), found("exact"), dim=1)
    print(f"cosine with exact gradients: {cosine.mean():.4f}")
    assert cosine.min() > 0.93
