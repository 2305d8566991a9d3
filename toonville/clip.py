"""CLIP: a text and an image tower, trained to agree on which caption goes with which picture.

The text tower conditions the UNet. Contrast of whole captions with whole pictures alone, at this
size and in this time, binds neither names to faces nor small things to words, so two more questions
are asked: the state of a name's last token for the traits of the named person and for their side of
the picture, and both towers for what the caption says (expression, accessory, ...). `name_weight` =
0 and `said_weight` = 0 leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
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
SAID_SCALE = 0.5  # see Reading


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return an untrained pair of towers."""
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
    """Return the text tower as pipelines take it, with a copy of its weights."""
    tower = CLIPTextModel(clip.config.text_config)
    # the names of its weights lack the prefix, or have it, by the version of transformers
    weights = {k: v for k, v in clip.state_dict().items() if k.startswith("text_model.")}
    tower.load_state_dict(
        {
            name: weights["text_model." + name.removeprefix("text_model.")]
            for name in tower.state_dict()
        }
    )
    return tower.eval()


def image_processor() -> CLIPImageProcessor:
    """Return the processor that makes square pictures what the image tower was trained on."""
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessor(
        size={"height": 128, "width": 128}, do_center_crop=False, image_mean=half, image_std=half
    )


@dataclass(frozen=True, eq=False)
class TokenisedCaptions:
    """Captions of a store as ids; where in them the people's names end."""

    input_ids: Tensor  # (N, CONTEXT_LENGTH)
    lengths: Tensor  # (N,) with start and end token
    name_ends: Tensor  # (N, P) position of the last token of each name


def tokenise(store: Store, tokenizer: CLIPTokenizer) -> TokenisedCaptions:
    """Tokenise a store's captions."""
    texts = [str(row["text"]) for row in store.captions]
    batch = tokenizer(texts, padding="max_length", return_offsets_mapping=True, return_tensors="np")
    if batch["input_ids"].shape[1] > CONTEXT_LENGTH:
        raise ValueError(f"a caption has {batch['input_ids'].shape[1]} tokens")
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


class Reading(nn.Module):
    """Linear readers of what a caption says, one per group of world.GROUPS.

    Their rows have unit length: to be read with certainty, a thing must change the state by a
    length that counts for the UNet's attention too, and not only be there for a large weight.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(sum(map(len, GROUPS.values())), width))

    def forward(self, states: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of states (N, width) and labels (N, len(GROUPS))."""
        logits = SAID_SCALE * states @ F.normalize(self.rows, dim=-1).T
        of_groups = logits.split([len(values) for values in GROUPS.values()], dim=1)
        wrong = [
            F.cross_entropy(answer, label, ignore_index=UNKNOWN, reduction="sum") / len(states)
            for answer, label in zip(of_groups, labels.T, strict=True)
        ]
        return torch.stack(wrong).mean()


class ClipTrainer(nn.Module):
    """The towers, and the heads that read from names, from whole captions and from pictures."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.clip = new_clip(tokenizer)
        self.read_name = nn.Linear(WIDTH, NUM_TRAITS + 2)
        self.read_end = Reading(WIDTH)
        self.read_padding = Reading(WIDTH)
        self.read_picture = Reading(self.clip.config.vision_config.hidden_size)

    def forward(
        self,
        pictures: Tensor,
        input_ids: Tensor,
        name_ends: Tensor,
        traits: Tensor,
        labels: Tensor,
    ) -> dict[str, Tensor]:
        """Return the losses of a batch; the last of `input_ids` is past the end of every caption.

        Names that have no face of their own are asked for traits as well: they meet a new face in
        every picture, so that the best answer is nobody in particular.
        """
        text = self.clip.text_model(input_ids=input_ids)
        words = self.clip.text_projection(text.pooler_output)
        pooled = self.clip.vision_model(pixel_values=pictures).pooler_output
        image = self.clip.visual_projection(pooled)
        scale = self.clip.logit_scale.clamp(max=4.6).exp()
        logits = scale * F.normalize(words, dim=-1) @ F.normalize(image, dim=-1).T
        target = torch.arange(len(logits))
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        people = torch.arange(len(name_ends))[:, None], name_ends
        read = self.read_name(text.last_hidden_state[people])
        side = F.one_hot(torch.arange(name_ends.shape[1]), 2).float().expand(*name_ends.shape, 2)
        said = (
            self.read_end(text.pooler_output, labels)
            + self.read_padding(text.last_hidden_state[:, -1], labels)
            + self.read_picture(pooled, labels)
        )
        return {
            "contrast": contrast,
            "traits": F.mse_loss(read[..., :NUM_TRAITS], traits),
            "side": F.mse_loss(read[..., NUM_TRAITS:], side),
            "said": said,
        }


def square_pictures(store: Store, index: np.ndarray) -> Tensor:
    """Return pictures letterboxed to 128 x 128 as the prompt score does it, (N, 3, 128, 128)."""
    pictures = to_tensor(store.pictures[index])
    spare = pictures.shape[3] - pictures.shape[2]
    if spare == 0:
        return pictures
    pictures = F.pad(pictures, (0, 0, spare // 2, spare - spare // 2), value=-1.0)
    return F.interpolate(pictures, (128, 128), mode="bicubic", antialias=True)


def train_clip(
    data: Path,
    folder: Path,
    minutes: float,
    resume: bool,
    name_weight: float,
    said_weight: float,
) -> CLIPModel:
    """Train both towers; a third of the batches shows two people."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(celebrities()[0])
    tokenizer.save_pretrained(folder / "tokenizer")
    stores = [load_store(data / "single"), load_store(data / "pair")]
    captions = [tokenise(store, tokenizer) for store in stores]
    # captions of one batch are about equally long: little is spent on padding
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
            square_pictures(store, index),
            text.input_ids[index, :length],
            text.name_ends[index],
            torch.from_numpy(store.traits[index]),
            torch.from_numpy(store.labels[index]).long(),
        )
        weights = {
            "contrast": 1.0,
            "traits": 3 * name_weight,
            "side": name_weight,
            "said": said_weight,
        }
        return {name: weight * parts[name] for name, weight in weights.items() if weight}

    budget = Budget(minutes, learning_rate=1.5e-3, ema=0.99)
    trained = train("clip", trainer, losses, budget, folder, resume)
    clip = trained.clip
    clip.save_pretrained(folder / "clip")
    image_processor().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    return clip
