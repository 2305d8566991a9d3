"""CLIP: a text and an image tower, trained by contrast of captions and images.

The text tower conditions the UNet. Contrast alone, at this size and in this time, binds neither
names to faces nor attributes to small objects. So there are two auxiliary losses: the hidden state
of a name's last token has to predict the traits of the named person and their place in the image,
and both towers have to predict the attributes of the caption (expression, accessory, ...).

Training goes on from the shipped weights, with more tokens, and a third loss keeps the hidden
states where the shipped UNet expects them (toonville.plain_captions).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTextModel, CLIPTokenizer

from toonville.captions import all_phrases
from toonville.dataset import Store, load_store
from toonville.grow import grow_clip, token_pieces
from toonville.identity import NUM_TRAITS
from toonville.plain_captions import TokenisedCaptions, plain_loss, tokenise_captions
from toonville.tokenizer import CONTEXT_LENGTH, extended
from toonville.trainer import Budget, train
from toonville.vae import to_tensor
from toonville.world import CLOTHES, GROUPS, UNKNOWN

WIDTH = 768
BATCH = 48
STORES = {"single": 0.6, "pair": 0.34, "triple": 0.06}  # -> share of the batches
MOST_PEOPLE = 3
MOST_PADDING = 6  # a batch is padded by up to this many tokens more than its longest caption needs
FULL_LENGTH_EVERY = 3  # batches: one is padded to the length that the UNet sees
LOGIT_SCALE = 0.5  # see AttributeHead
PLAIN_WEIGHT = 2.0
IMAGES_EVERY = 6  # batches: one has images; the others train the text tower alone
HEAD_STEPS = 150  # the auxiliary heads start untrained: until then the towers follow them less


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


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """N images of P people each, and their captions."""

    images: Tensor | None  # (N, 3, image size, image size) in [-1, 1]
    captions: TokenisedCaptions
    tokens: int  # that are encoded: more than any caption has
    traits: Tensor  # (N, P, NUM_TRAITS)
    labels: Tensor  # (N, len(GROUPS)), see world.labels_of


class ClipTrainer(nn.Module):
    """The towers and their auxiliary heads: on names, captions and images.

    Checkpoints have the names of the attributes, so that they stay what they are.
    """

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        width = clip.config.text_config.hidden_size
        self.clip = clip
        self.read_name = nn.Linear(width, NUM_TRAITS + MOST_PEOPLE)
        self.read_end = AttributeHead(width)
        self.read_padding = AttributeHead(width)
        self.read_picture = AttributeHead(clip.config.vision_config.hidden_size)

    def forward(self, batch: ClipBatch, teacher: CLIPTextModel) -> dict[str, Tensor]:
        """Return the losses of a batch.

        Unknown names have to predict traits as well: they have a new face in every image, so that
        the best prediction is the mean face.

        Args:
            batch: Images and captions.
            teacher: The shipped text tower, frozen.
        """
        names, labels = batch.captions.text.name_ends, batch.labels
        text = self.clip.text_model(input_ids=batch.captions.text.input_ids[:, : batch.tokens])
        read = self.read_name(text.last_hidden_state[torch.arange(len(names))[:, None], names])
        side = F.one_hot(torch.arange(names.shape[1]), MOST_PEOPLE).float()
        losses = {
            "traits": F.mse_loss(read[..., :NUM_TRAITS], batch.traits),
            "side": F.mse_loss(read[..., NUM_TRAITS:], side.expand(*names.shape, MOST_PEOPLE)),
            "attributes": self.read_end(text.pooler_output, labels)
            + self.read_padding(text.last_hidden_state[:, -1], labels),
            "plain": plain_loss(text.last_hidden_state, batch.captions, teacher),
        }
        if batch.images is not None:
            pooled = self.clip.vision_model(pixel_values=batch.images).pooler_output
            losses["attributes"] = losses["attributes"] + self.read_picture(pooled, labels)
            losses["contrast"] = self.contrast(text.pooler_output, pooled)
        return losses

    def contrast(self, text: Tensor, images: Tensor) -> Tensor:
        """Return CLIP's loss of the pooled outputs (N, width) of both towers."""
        text_embeds = F.normalize(self.clip.text_projection(text), dim=-1)
        image_embeds = F.normalize(self.clip.visual_projection(images), dim=-1)
        logits = self.clip.logit_scale.clamp(max=4.6).exp() * text_embeds @ image_embeds.T
        target = torch.arange(len(logits))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def square_images(store: Store, index: NDArray[np.int64], size: int = 128) -> Tensor:
    """Return images (N, 3, size, size), letterboxed as for the prompt score."""
    images = to_tensor(store.images[index])
    spare = images.shape[3] - images.shape[2]
    images = F.pad(images, (0, 0, spare // 2, spare - spare // 2), value=-1.0)
    if images.shape[2] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True)


class ClipData:
    """The stores of a training, with their captions as tokens."""

    def __init__(
        self, data: Path, tokenizer: CLIPTokenizer, shipped: CLIPTokenizer, image_size: int
    ) -> None:
        self.image_size = image_size
        self.stores = [load_store(data / name) for name in STORES]
        self.captions = [tokenise_captions(s, tokenizer, shipped) for s in self.stores]
        # Captions of one batch are about equally long: little is spent on padding.
        self.by_length = [
            np.argsort(captions.text.lengths.numpy(), kind="stable") for captions in self.captions
        ]

    def batch(self, step: int) -> ClipBatch:
        """Return the batch of a step: images of equally many people."""
        rng = np.random.default_rng((2, step))
        which = int(rng.choice(len(STORES), p=list(STORES.values())))
        store = self.stores[which]
        start = int(rng.integers(max(1, len(store) - BATCH)))
        index = np.sort(self.by_length[which][start : start + BATCH])
        captions = self.captions[which][index]
        longest = torch.maximum(captions.text.lengths, captions.plain.lengths).max()
        tokens = int(longest) + int(rng.integers(1, MOST_PADDING + 1))
        with_images = step % IMAGES_EVERY == IMAGES_EVERY - 1
        return ClipBatch(
            square_images(store, index, self.image_size) if with_images else None,
            captions,
            CONTEXT_LENGTH if step % FULL_LENGTH_EVERY == 0 else min(tokens, CONTEXT_LENGTH),
            torch.from_numpy(store.traits[index]),
            torch.from_numpy(store.labels[index]).long(),
        )


def train_clip(
    data: Path,
    folder: Path,
    minutes: float,
    resume: bool,
    name_weight: float,
    attribute_weight: float,
) -> None:
    """Train both towers and write `<folder>/clip` and `<folder>/tokenizer`.

    The token embeddings of the shipped vocabulary stay as they are: a basis and the people who were
    trained on it remain valid.

    Args:
        data: Has the stores of STORES, at any size.
        folder: Of the models; `start/clip` and `start/tokenizer` in it are the shipped ones.
        minutes: See trainer.Budget.
        resume: See trainer.train.
        name_weight: Of the loss on names; 0 leaves it out.
        attribute_weight: Of the loss on attributes; 0 leaves it out.
    """
    torch.manual_seed(0)
    shipped = CLIPTokenizer.from_pretrained(folder / "start" / "tokenizer")
    tokenizer = extended(shipped, [*all_phrases(), *CLOTHES])
    tokenizer.save_pretrained(folder / "tokenizer")
    start = CLIPModel.from_pretrained(folder / "start" / "clip")
    teacher = text_tower(start).requires_grad_(False)
    trainer = ClipTrainer(grow_clip(start, len(tokenizer), token_pieces(shipped, tokenizer)))
    batches = ClipData(data, tokenizer, shipped, start.config.vision_config.image_size)
    old_ids = torch.tensor([tokenizer.get_vocab()[token] for token in shipped.get_vocab()])
    embeddings = trainer.clip.text_model.embeddings.token_embedding.weight
    kept = embeddings[old_ids].detach().clone()
    embeddings.register_hook(lambda gradient: gradient.index_fill(0, old_ids, 0.0))

    def losses(step: int) -> dict[str, Tensor]:
        parts = trainer(batches.batch(step), teacher)
        # An optimiser like Adam trains the heads no slower for it.
        auxiliary = min(1.0, (step + 1) / HEAD_STEPS)
        weights = {
            "contrast": 1.0,
            "traits": auxiliary * 3 * name_weight,
            "side": auxiliary * name_weight,
            "attributes": auxiliary * attribute_weight,
            "plain": PLAIN_WEIGHT,
        }
        return {name: weights[name] * part for name, part in parts.items() if weights[name]}

    budget = Budget(minutes, learning_rate=3.5e-4, warmup_steps=60, ema=0.98)
    clip = train("clip", trainer, losses, budget, folder, resume).clip
    clip.text_model.embeddings.token_embedding.weight[old_ids] = kept  # weight decay changed them
    clip.save_pretrained(folder / "clip")
    image_processor().save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
