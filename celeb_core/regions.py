"""Who is where in an image of several people: attention that keeps each in a region of their own.

Cross-attention: each region reads a text of its own, the prompt with its person in the place of
everybody; what is outside of all regions reads it with the mean celebrity in their place. So no
token, not even a later one into which the text encoder mixed them, brings a person elsewhere.
Self-attention: in the early steps, which decide the layout, regions do not attend to one another
(Bounded Attention, arXiv 2403.16990, section 4). Nothing is trained for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from celeb_core.errors import PromptError, quote
from celeb_core.layout import check_boxes, layout
from celeb_core.models import Models
from celeb_core.prompt import encode_prompt, replace_people
from celeb_core.types import Box, CelebBasis, Prompt, PromptEmbeds, RegionConfig

MEAN = "mean"  # placeholder of the mean celebrity, in texts of our own only


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
        return encode_prompt(Prompt(text, own, strengths=prompt.strengths), basis, models)
    except PromptError as error:
        error.within(f"With {quote(written)} in everybody's place")
        raise


@dataclass(frozen=True, eq=False)
class Part:
    """Pixels of a layer that are in the same regions, and what they attend to."""

    pixels: Tensor  # (n,) indices
    keys: Tensor  # (m,) indices
    logits: Tensor | None  # (m,) added to the keys' logits; None: nothing


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
        self.prompts = prompts[:1] if same else prompts  # one layout is for the whole batch
        self.size, self.bounded_steps = size, bounded_steps
        self.bounded = bounded_steps > 0  # whether self-attention is
        # Of each prompt, by the pixels of a layer: made beforehand, so that layers can be compiled.
        self._to_texts: dict[int, list[list[Part]]] = {}
        self._to_pixels: dict[int, list[list[Part]]] = {}

    @contextmanager
    def applied(self, unet: Any) -> Iterator[None]:
        """Within the block, this is the attention of a diffusers.UNet2DConditionModel."""
        for level in range(len(unet.config.down_block_types)):  # each halves both sides
            height, width = (-(-side // 2**level) for side in self.size)
            inside = [
                inside_regions(prompt.boxes, height, width).to(unet.device)
                for prompt in self.prompts
            ]
            pairs = list(zip(self.prompts, inside, strict=True))
            self._to_texts[height * width] = [_divide(*pair, True) for pair in pairs]
            self._to_pixels[height * width] = [_divide(*pair, False) for pair in pairs]
        before = unet.attn_processors
        unet.set_attn_processor(RegionalProcessor(self))
        try:
            yield
        finally:
            unet.set_attn_processor(before)

    def after_step(self, done: int) -> None:
        """Let regions attend to one another when enough steps are done."""
        self.bounded = done < self.bounded_steps

    def attend(self, query: Tensor, key: Tensor, value: Tensor, cross: bool) -> Tensor:
        """Return the attention's output (batch, heads, pixels, channels), like the query.

        Without a matrix of pixels by keys: each part attends to its own keys. With guidance, batch
        is b negative prompts, then b prompts.

        Args:
            query: (batch, heads, pixels, channels).
            key: (batch, heads, tokens of all texts or pixels, channels).
            value: As key.
            cross: Whether it is cross-attention.
        """
        if not cross and not self.bounded:
            return scaled_dot_product_attention(query, key, value)
        divided = (self._to_texts if cross else self._to_pixels)[query.shape[2]]
        attended = torch.empty_like(query)
        for first, parts in enumerate(divided):
            rows = slice(first, None, len(divided))
            for part in parts:
                own = scaled_dot_product_attention(
                    query[rows].index_select(2, part.pixels),
                    key[rows].index_select(2, part.keys),
                    value[rows].index_select(2, part.keys),
                    attn_mask=part.logits if part.logits is None else part.logits.to(query.dtype),
                )
                attended[rows].index_copy_(2, part.pixels, own)
        return attended


def _divide(prompt: RegionalPrompt, inside: Tensor, cross: bool) -> list[Part]:
    """Divide the pixels of a layer into those that are in the same regions."""
    tokens = prompt.embeds.hidden_states.shape[1] // prompt.texts
    kinds, kind_of_pixel = torch.unique(inside, dim=1, return_inverse=True)
    parts = []
    for index, regions in enumerate(kinds.T):
        if cross:
            weights = text_weights(regions, prompt.strength).repeat_interleave(tokens)
        else:
            weights = pixel_weights(regions, inside, prompt.strength)
        kept = weights.nonzero().flatten()
        logits = weights[kept].log()
        pixels = (kind_of_pixel == index).nonzero().flatten()
        added = logits.expand(1, 1, 1, -1) if logits.any() else None
        parts.append(Part(pixels, kept, added))
    return parts


def inside_regions(boxes: Sequence[Box], height: int, width: int) -> Tensor:
    """Return which pixels of a layer are in each region, bool (regions, height * width).

    Args:
        boxes: Of the regions, as shares.
        height: Of the layer, in pixels.
        width: Of the layer, in pixels.
    """
    inside = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for region, (left, top, right, bottom) in zip(inside, boxes, strict=True):
        region[_cells(top, bottom, height), _cells(left, right, width)] = True
    return inside.flatten(1)


def text_weights(regions: Tensor, strength: float) -> Tensor:
    """Return the weights (texts,) of a `RegionalPrompt`'s texts for pixels in some regions.

    Args:
        regions: In which of them the pixels are, bool (regions,).
        strength: Of the regions.
    """
    weights = strength * torch.cat([~regions.any(0, keepdim=True), regions]).float()
    return torch.cat([weights, weights.new_tensor([1 - strength])]) if strength < 1 else weights


def pixel_weights(regions: Tensor, inside: Tensor, strength: float) -> Tensor:
    """Return the weights (pixels,) of all pixels in the self-attention of those in some regions.

    Pixels of other regions have 1 - strength. Those in none attend to all, and all to them.

    Args:
        regions: As for `text_weights`.
        inside: As `inside_regions` returns it.
        strength: Of the regions.
    """
    shared = (inside & regions[:, None]).any(0)
    apart = inside.any(0) & regions.any() & ~shared
    return torch.where(apart, 1.0 - strength, 1.0)


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
        attended = self.attention.attend(query, key, heads(attn.to_v, source), cross)
        output = attended.transpose(1, 2).flatten(2)
        for layer in attn.to_out:
            output = layer(output)
        return output


def _cells(start: float, end: float, count: int) -> slice:
    """Return the cells of an axis that are nearest to a part of it; one at least."""
    first = min(round(start * count), count - 1)
    return slice(first, max(round(end * count), first + 1))
