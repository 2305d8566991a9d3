"""Who is where in an image of several people: attention that keeps each in a region of their own.

Cross-attention: each region reads a text of its own, the prompt with its person in the place of
everybody; what is outside of all regions reads it with the mean celebrity in their place. So no
token, not even a later one into which the text encoder mixed them, brings a person elsewhere.
Self-attention: in the early steps, which decide the layout, regions do not attend to one another
(Bounded Attention, arXiv 2403.16990, section 4). Nothing is trained for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from celeb_core.checks import number, shown
from celeb_core.errors import PromptError, SettingsError, quote
from celeb_core.models import Models
from celeb_core.prompt import encode_prompt, mentions, replace_people
from celeb_core.types import Box, CelebBasis, Prompt, PromptEmbeds, RegionConfig

MEAN = "mean"  # placeholder of the mean celebrity, in texts of our own only


def people_of(prompt: Prompt, names: Sequence[str]) -> list[str]:
    """Return the people of a prompt in the order of its text, each once: identities, celebrities.

    Args:
        prompt: Of `parse_prompt`.
        names: The celebrities whom the model knows.
    """
    return list(dict.fromkeys(name for name, _ in mentions(prompt.text, names)))


def layout(prompt: Prompt, names: Sequence[str]) -> dict[str, Box]:
    """Return where each person of a prompt is to be, as shares of width and height.

    That is the prompt's own box or, for people without one, a column: as many as there are people
    share the width, and those least covered by boxes are taken from left to right in the order of
    the text.
    """
    people = people_of(prompt, names)
    given = {name: box for name, box in prompt.boxes.items() if name in people}
    others = [name for name in people if name not in given]
    width = 1 / max(1, len(people))

    def covered(start: float) -> float:
        shares = (
            _common((start, start + width), box[::2]) * (box[3] - box[1]) for box in given.values()
        )
        return sum(shares)

    starts = sorted((width * column for column in range(len(people))), key=covered)
    columns = ((start, 0.0, start + width, 1.0) for start in sorted(starts[: len(others)]))
    found = {**given, **dict(zip(others, columns, strict=True))}
    return {name: found[name] for name in people}


def check_boxes(boxes: Mapping[str, Box]) -> None:
    """Check that boxes lie within the image.

    Raises:
        SettingsError: One does not, or is empty.
    """
    for name, box in boxes.items():
        label = f"The box of {quote(name)}"
        if len(box) != 4:
            raise SettingsError(f"{label} is {shown(box)}: give left, top, right and bottom.")
        left, top, right, bottom = (number(side, label, 0, 1, whole=False) for side in box)
        if right <= left or bottom <= top:
            raise SettingsError(
                f"{label} is {shown(box)}: left, top, right, bottom. Right must be greater than "
                "left, and bottom greater than top."
            )


@dataclass(frozen=True, eq=False)
class RegionalPrompt:
    """The texts of all regions, one behind the other along the tokens.

    The first is that of the rest of the image, the last the prompt itself if the strength is
    below 1; between them are those of the people.
    """

    embeds: PromptEmbeds  # hidden states (1, texts * tokens, d)
    boxes: tuple[Box, ...]
    strength: float

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return len(self.boxes) + 1 + (self.strength < 1)


def encode_regions(
    prompt: Prompt, basis: CelebBasis, models: Models, config: RegionConfig
) -> RegionalPrompt | None:
    """Encode the texts of a prompt's regions; None for fewer than two people, or at strength 0.

    Raises:
        PromptTooLong, BasisMismatch: As `encode_prompt`; it says for whose region.
        SettingsError: A box is empty, or not within the image.
    """
    check_boxes(prompt.boxes)
    boxes, strength = layout(prompt, basis.names), config.strength
    if len(boxes) < 2 or not strength:
        return None
    encoded = [_encode_alone(prompt, MEAN, {MEAN: basis.mean}, basis, models)]
    for name in boxes:
        own = {name: prompt.identities[name]} if name in prompt.identities else {}
        encoded.append(_encode_alone(prompt, name, own, basis, models))
    pooled = encoded[0].pooled  # it acts everywhere
    if strength < 1:
        encoded.append(encode_prompt(prompt, basis, models))
        if pooled is not None and encoded[-1].pooled is not None:
            pooled = torch.lerp(encoded[-1].pooled, pooled, strength)
    states = torch.cat([each.hidden_states for each in encoded], dim=1)
    return RegionalPrompt(PromptEmbeds(states, pooled), tuple(boxes.values()), strength)


def _encode_alone(
    prompt: Prompt, name: str, own: Mapping[str, Any], basis: CelebBasis, models: Models
) -> PromptEmbeds:
    """Encode a prompt with one person in the place of everybody; a celebrity if `own` is empty."""
    written = f"<{name}>" if own else name
    text = replace_people(prompt.text, basis.names, lambda _: written)
    try:
        return encode_prompt(Prompt(text, own), basis, models)
    except PromptError as error:
        error.within(f"With {quote(written)} in everybody's place")
        raise


class RegionalAttention:
    """Cross- and self-attention of a batch of regional prompts with equally many texts."""

    def __init__(
        self, prompts: Sequence[RegionalPrompt], size: tuple[int, int], bounded_steps: int
    ) -> None:
        """Make the attention of b prompts.

        Args:
            prompts: b of them.
            size: Height and width of the latents.
            bounded_steps: Steps, from the first, with bounded self-attention.
        """
        same = all(prompt.boxes == prompts[0].boxes for prompt in prompts)
        self.prompts = prompts[:1] if same else prompts  # one mask is for the whole batch
        self.size, self.bounded_steps = size, bounded_steps
        self.steps = 0  # done
        self._masks: dict[tuple[Any, ...], Tensor] = {}

    @contextmanager
    def applied(self, unet: Any) -> Iterator[None]:
        """Within the block, this is the attention of a diffusers.UNet2DConditionModel."""
        before = unet.attn_processors
        unet.set_attn_processor(RegionalProcessor(self))
        try:
            yield
        finally:
            unet.set_attn_processor(before)

    def mask(self, query: Tensor, keys: int, cross: bool) -> Tensor | None:
        """Return what is added to a layer's logits, (1 or batch, 1, pixels, keys); None: nothing.

        Args:
            query: (batch, heads, pixels, channels); with guidance, batch is twice the prompts.
            keys: Tokens of all texts, or pixels.
            cross: Whether it is cross-attention.
        """
        if not cross and self.steps >= self.bounded_steps:
            return None
        batch, _, pixels, _ = query.shape
        key = (batch, pixels, keys, cross, query.dtype, query.device)
        if key not in self._masks:
            rows = [
                text_weights(prompt, self._inside(prompt, pixels), keys // prompt.texts)
                if cross
                else pixel_weights(prompt, self._inside(prompt, pixels))
                for prompt in self.prompts
            ]
            logits = torch.stack(rows).log().unsqueeze(1).to(query.device, query.dtype)
            repeats = batch // len(rows) if len(rows) > 1 else 1
            self._masks[key] = logits.repeat(repeats, 1, 1, 1)
        return self._masks[key]

    def _inside(self, prompt: RegionalPrompt, pixels: int) -> Tensor:
        """Return which pixels of a layer are in each region, bool (regions, pixels)."""
        height, width = self.size
        factor = math.sqrt(height * width / pixels)
        rows, columns = round(height / factor), round(width / factor)
        inside = torch.zeros(len(prompt.boxes), rows, columns, dtype=torch.bool)
        for region, (left, top, right, bottom) in zip(inside, prompt.boxes, strict=True):
            region[_cells(top, bottom, rows), _cells(left, right, columns)] = True
        return inside.flatten(1)


def text_weights(prompt: RegionalPrompt, inside: Tensor, tokens: int) -> Tensor:
    """Return the weights (pixels, texts * tokens) of each text's tokens in cross-attention.

    Args:
        prompt: Whose texts they are.
        inside: Which pixels are in each region, bool (regions, pixels).
        tokens: Of one text.
    """
    weights = prompt.strength * torch.cat([~inside.any(0, keepdim=True), inside]).T.float()
    if prompt.strength < 1:
        whole = torch.full_like(weights[:, :1], 1 - prompt.strength)
        weights = torch.cat([weights, whole], dim=1)
    return weights.repeat_interleave(tokens, dim=1)


def pixel_weights(prompt: RegionalPrompt, inside: Tensor) -> Tensor:
    """Return the weights (pixels, pixels) of keys in self-attention, by regions as above.

    Pixels of different regions have 1 - strength, all others 1: those in no region attend to all.
    """
    shared = inside.T.float() @ inside.float() > 0
    within = inside.any(0)
    apart = within[:, None] & within & ~shared
    return torch.ones(shared.shape).masked_fill(apart, 1 - prompt.strength)


class RegionalProcessor:
    """Attention processor of diffusers for the UNets of SD 1.x, 2.x and SDXL."""

    def __init__(self, attention: RegionalAttention) -> None:
        self.attention = attention

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Any:
        """Attend from pixels (batch, pixels, channels) to tokens, or to pixels without any."""
        cross = encoder_hidden_states is not None
        source = encoder_hidden_states if cross else hidden_states

        def heads(layer: Any, inputs: Tensor | None) -> Any:
            return layer(inputs).unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query, key = heads(attn.to_q, hidden_states), heads(attn.to_k, source)
        value = heads(attn.to_v, source)
        mask = self.attention.mask(query, key.shape[2], cross)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.transpose(1, 2).flatten(2)
        for layer in attn.to_out:
            attended = layer(attended)
        return attended


def _cells(start: float, end: float, count: int) -> slice:
    """Return the cells of an axis that are nearest to a part of it; one at least."""
    first = min(round(start * count), count - 1)
    return slice(first, max(round(end * count), first + 1))


def _common(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the length that two intervals have in common."""
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
