"""CLIP: a text and an image tower, trained by contrast of captions and images.

The text tower conditions the UNet. Contrast alone, at this size and in this time, binds neither
names to faces nor attributes to small objects. So there are two auxiliary losses: the hidden state
of a name's last token has to predict the traits of the named person and their side of the image,
and both towers have to predict the attributes of the caption (expression, accessory, ...).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

from toonville.dataset import Store, celebrities, load_store
from toonville.identity import NUM_TRAITS
from toonville.tokenizer import CONTEXT_LENGTH, train_tokenizer
from toonville.trainer import Budget, train
from toonville.vae import to_tensor
from toonville.world import GROUPS, UNKNOWN

WIDTH = 768
BATCH = 96
MOST_PADDING = 6  # a batch is padded by up to this many tokens more than its longest caption needs
LOGIT_SCALE = 0.5  # see AttributeHead


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained pair of towers for a tokenizer's vocabulary."""
    config = CLIPConfig(
        text_config={
            "hidden_size": WIDTH,
            "intermediate_size": 768,
            "num_hidden_layers": 2,
            "num_attention_heads": 12,
            "max_position_embeddings": CONTEXT_LENGTH,
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "projection_dim": 256,
        },
        vision_config={
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "image_size": 128,
            "patch_size": 16,
            "projection_dim": 256,
        },
        projection_dim=256,
    )
    return CLIPModel(config)


def text_tower(clip: CLIPModel) -> CLIPTextModel:
    """Return a copy of the text tower as a model of its own, as pipelines take it."""
    tower = CLIPTextModel(clip.config.text_config)
    # Whether the names of its weights have the prefix depends on the version of transformers.
    weights = {k: v for k, v in clip.state_dict().items() if k.startswith("text_model.")}
    tower.load_state_dict(
        {
            name: weights["text_model." + name.removeprefix("text_model.")]
            for name in tower.state_dict()
        }
    )
    return tower.eval()


def image_processor() -> CLIPImageProcessorPil:
    """Return the processor of square images for the image tower."""
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(
        size={"height": 128, "width": 128}, do_center_crop=False, image_mean=half, image_std=half
    )


@dataclass(frozen=True, eq=False)
class TokenisedCaptions:
    """The tokens of a store's captions, and where in them the people's names end."""

    input_ids: Tensor  # (N, CONTEXT_LENGTH)
    lengths: Tensor  # (N,) with start and end token
    name_ends: Tensor  # (N, P) position of the last token of each name


def tokenise(store: Store, tokenizer: CLIPTokenizer) -> TokenisedCaptions:
    """Tokenise a store's captions."""
    texts = [row["text"] for row in store.captions]
    batch = tokenizer(texts, padding="max_length", return_offsets_mapping=True, return_tensors="np")
    if batch["input_ids"].shape[1] > CONTEXT_LENGTH:
        raise ValueError(
            f"A caption has {batch['input_ids'].shape[1]} tokens, the text tower reads "
            f"{CONTEXT_LENGTH}. Raise tokenizer.CONTEXT_LENGTH and train again."
        )
    ends = np.zeros(store.traits.shape[:2], np.int64)
    for i, row in enumerate(store.captions):
        cursor = 0
        for side, name in enumerate(row["names"]):
            cursor = texts[i].index(name, cursor) + len(name)
            ends[i, side] = int((batch["offset_mapping"][i, :, 1] == cursor).argmax())
    lengths = (batch["input_ids"] != tokenizer.eos_token_id).sum(1) + 1
    return TokenisedCaptions(
        torch.from_numpy(batch["input_ids"]), torch.from_numpy(lengths), torch.from_numpy(ends)
    )


class AttributeHead(nn.Module):
    """Linear classifiers of a caption's attributes, one per group of world.GROUPS.

    Their rows have unit length: to be predicted with certainty, an attribute must change the hidden
    state by a length that matters to the UNet's attention, too.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(sum(map(len, GROUPS.values())), width))

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of states (N, width) and labels (N, len(GROUPS))."""
        logits = LOGIT_SCALE * states @ F.normalize(self.rows, dim=-1).T
        by_group = logits.split([len(values) for values in GROUPS.values()], dim=1)
        losses = [
            F.cross_entropy(answer, label, ignore_index=UNKNOWN, reduction="sum") / len(states)
            for answer, label in zip(by_group, labels.T, strict=True)
        ]
        return torch.stack(losses).mean()


class ClipTrainer(nn.Module):
    """The towers and their auxiliary heads: on names, captions and images.

    Checkpoints have the names of the attributes, so that they stay what they are.
    """

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = new_clip(tokenizer)
        self.read_name = nn.Linear(WIDTH, NUM_TRAITS + 2)
        self.read_end = AttributeHead(WIDTH)
        self.read_padding = AttributeHead(WIDTH)
        self.read_picture = AttributeHead(self.clip.config.vision_config.hidden_size)

    def forward(
        self,
        images: Tensor,
        input_ids: Tensor,
        name_ends: Tensor,
        traits: Tensor,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch.

        Unknown names have to predict traits as well: they have a new face in every image, so that
        the best prediction is the mean face.

        Args:
            images: (N, 3, 128, 128) in [-1, 1].
            input_ids: (N, tokens), the last ones past the end of every caption.
            name_ends: (N, P), see `TokenisedCaptions`.
            traits: (N, P, NUM_TRAITS).
            labels: (N, len(GROUPS)), see world.labels_of.
        """
        text = self.clip.text_model(input_ids=input_ids)
        text_embeds = self.clip.text_projection(text.pooler_output)
        pooled = self.clip.vision_model(pixel_values=images).pooler_output
        image_embeds = self.clip.visual_projection(pooled)
        scale = self.clip.logit_scale.clamp(max=4.6).exp()
        logits = scale * F.normalize(text_embeds, dim=-1) @ F.normalize(image_embeds, dim=-1).T
        target = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        last_tokens = torch.arange(len(name_ends))[:, None], name_ends
        read = self.read_name(text.last_hidden_state[last_tokens])
        side = F.one_hot(torch.arange(name_ends.shape[1]), 2).float().expand(*name_ends.shape, 2)
        attributes = (
            self.read_end(text.pooler_output, labels)
            + self.read_padding(text.last_hidden_state[:, -1], labels)
            + self.read_picture(pooled, labels)
        )
        return {
            "contrast": contrast,
            "traits": F.mse_loss(read[..., :NUM_TRAITS], traits),
            "side": F.mse_loss(read[..., NUM_TRAITS:], side),
            "attributes": attributes,
        }


def square_images(store: Store, index: NDArray[np.int64]) -> Tensor:
    """Return images (N, 3, 128, 128), letterboxed as for the prompt score."""
    images = to_tensor(store.images[index])
    spare = images.shape[3] - images.shape[2]
    if spare == 0:
        return images
    images = F.pad(images, (0, 0, spare // 2, spare - spare // 2), value=-1.0)
    return F.interpolate(images, (128, 128), mode="bicubic", antialias=True)


def train_clip(
    data: Path,
    folder: Path,
    minutes: float,
    resume: bool,
    name_weight: float,
    attribute_weight: float,
) -> None:
    """Train both towers and write `<folder>/clip` and `<folder>/tokenizer`.

    A third of the batches shows two people.

    Args:
        data: Has the stores `single` and `pair`.
        folder: Of the models.
        minutes: See trainer.Budget.
        resume: See trainer.train.
        name_weight: Of the loss on names; 0 leaves it out.
        attribute_weight: Of the loss on attributes; 0 leaves it out.
    """
    torch.manual_seed(0)
    tokenizer = train_tokenizer(celebrities()[0])
    tokenizer.save_pretrained(folder / "tokenizer")
    stores = [load_store(data / "single"), load_store(data / "pair")]
    captions = [tokenise(store, tokenizer) for store in stores]
    # Captions of one batch are about equally long: little is spent on padding.
    by_length = [np.argsort(text.lengths.numpy(), kind="stable") for text in captions]
    trainer = ClipTrainer(tokenizer)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((2, step))
        which = int(step % 3 == 2)
        store, text = stores[which], captions[which]
        start = int(rng.integers(len(store) - BATCH))
        index = np.sort(by_length[which][start : start + BATCH])
        length = int(text.lengths[index].max()) + int(rng.integers(1, MOST_PADDING + 1))
        parts = trainer(
            square_images(store, index),
            text.input_ids[index, :length],
            text.name_ends[index],
            torch.from_numpy(store.traits[index]),
            torch.from_numpy(store.labels[index]).long(),
        )
        weights = {
            "contrast": 1.0,
            "traits": 3 * name_weight,
            "side": name_weight,
            "attributes": attribute_weight,
        }
        return {name: weight * parts[name] for name, weight in weights.items() if weight}

    budget = Budget(minutes, learning_rate=1.5e-3, ema=0.99)
    clip = train("clip", trainer, losses, budget, folder, resume).clip
    clip.save_pretrained(folder / "clip")
    image_processor().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
