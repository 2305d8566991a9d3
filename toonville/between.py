"""People between the celebrities: words that are nobody's name, drawn as the encoder takes them.

Stable Diffusion knows tens of thousands of people, of whom a celeb basis takes 700; whatever lies
between them is somebody too. A UNet that was shown 700 names and no more learns them one by one
(docs/toonville.md). So it is shown people of random words in the span of the names as well, with
the traits that the text encoder, which knows the names alone, says of these words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from celeb_core.basis import K, principal_components, token_embeddings, token_ids
from celeb_core.calibration import PORTRAIT
from celeb_core.encoders import TextEncoder
from celeb_core.prompt import encode_texts
from celeb_core.start import ridge
from toonville.dataset import Captioned, celebrities, example_of
from toonville.identity import Traits

NUM_BETWEEN, SEED = 9600, 404
BETWEEN_FILE = "between.npz"
# Of a person's words, in units of the celebrities' spread: of what says a face, and of the rest,
# which says nothing in a name and is next to nothing in the words of a new person: of a share of
# people the rest is as small.
FACE_RADIUS, REST_RADIUS, SMALL_RADIUS = (0.7, 1.7), (0.0, 1.3), (0.0, 0.2)
SMALL_SHARE = 0.65
PLACEHOLDERS = ("<x>", "<y>")
BETWEEN_SHARE = 0.75  # of the people in pictures of two; the others are celebrities
AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Between:
    """N people without a name."""

    words: NDArray[np.float16]  # (N, K, width) what stands in a prompt for them
    traits: Traits  # (N, NUM_TRAITS) in [-1, 1]


def text_encoder(model: CLIPTextModel, tokenizer: CLIPTokenizer) -> TextEncoder:
    """Return a text tower as celeb_core takes it."""
    width = model.get_input_embeddings().weight.shape[1]
    return TextEncoder(tokenizer, model, slice(0, width), penultimate=False)


@dataclass(frozen=True, eq=False)
class TraitProbe:
    """A linear probe of what a text encoder that was trained on the names says of faces."""

    encoder: TextEncoder
    spans: list[tuple[Tensor, Tensor]]  # per word: mean (width,), principal axes (m, width)
    weight: Tensor  # (NUM_TRAITS, width) reads traits from the state of a last word
    bias: Tensor  # (NUM_TRAITS,)
    faces: Tensor  # (numbers of a person, NUM_TRAITS) orthonormal: what of the words says a face

    def words_of(self, away: Tensor) -> Tensor:
        """Numbers of people (n, numbers of a person), in units of spread -> words (n, K, width)."""
        parts = zip(away.split([len(axes) for _, axes in self.spans], -1), self.spans, strict=True)
        return torch.stack([mean + part @ axes for part, (mean, axes) in parts], 1)

    def traits_of(self, words: Tensor) -> Tensor:
        """What is said by words (n, K, width): (n, NUM_TRAITS)."""
        return word_states(words, self.encoder) @ self.weight.T + self.bias


def fit_probe(encoder: TextEncoder) -> TraitProbe:
    """Probe an encoder: traits by the ridge regression that reads the celebrities'
    from their names; what says a face by the traits' gradients at the mean person."""
    names, traits = celebrities()
    weight, bias, _ = ridge(name_states(names.known, encoder), torch.from_numpy(traits))
    parts = [principal_components(rows, len(rows)) for rows in _distinct(names.known, encoder)]
    spans = [(mean.float(), (std[:, None] * rows).float()) for mean, rows, std in parts]
    size = sum(len(axes) for _, axes in spans)
    probe = TraitProbe(encoder, spans, weight, bias, torch.empty(size, 0))
    mean_person = torch.zeros(1, size, requires_grad=True)
    said = probe.traits_of(probe.words_of(mean_person))[0]
    gradients = [torch.autograd.grad(one, mean_person, retain_graph=True)[0][0] for one in said]
    return replace(probe, faces=torch.linalg.qr(torch.stack(gradients, 1)).Q)


@torch.no_grad()
def make_between(probe: TraitProbe, n: int = NUM_BETWEEN, seed: int = SEED) -> Between:
    """Return n people of random words, normal along the names' principal components."""
    generator = torch.Generator().manual_seed(seed)
    away = torch.randn(n, len(probe.faces), generator=generator)
    of_face = away @ probe.faces @ probe.faces.T
    rest, face, small, chance = (
        torch.empty(n, 1).uniform_(*radius, generator=generator)
        for radius in (REST_RADIUS, FACE_RADIUS, SMALL_RADIUS, (0.0, 1.0))
    )
    rest = torch.where(chance < SMALL_SHARE, small, rest)
    words = probe.words_of(face * of_face + rest * (away - of_face)).half()
    read = [probe.traits_of(part.float()) for part in words.split(AT_ONCE)]
    return Between(words.numpy(), torch.cat(read).clamp(-1, 1).numpy())


def _distinct(names: Sequence[str], encoder: TextEncoder) -> list[Tensor]:
    """Return the distinct token embeddings of the names' words at each place, (m, width) each."""
    found = []
    for place in range(K):
        ids = [token_ids(name, encoder.tokenizer)[place : place + 1] for name in names]
        found.append(token_embeddings(list(dict.fromkeys(sum(ids, []))), encoder))
    return found


@torch.no_grad()
def name_states(names: Sequence[str], encoder: TextEncoder) -> Tensor:
    """Return the state of the last token of each name in PORTRAIT, (n, width)."""
    texts = [PORTRAIT.format(name) for name in names]
    ends = torch.tensor([len(token_ids(text, encoder.tokenizer)) for text in texts])
    states = text_states(texts, [{}] * len(texts), encoder)
    return states[torch.arange(len(texts)), ends]


def word_states(words: Tensor, encoder: TextEncoder) -> Tensor:
    """Return the state of the last word of each person (n, K, width) in PORTRAIT, (n, width)."""
    end = len(token_ids(PORTRAIT.format(""), encoder.tokenizer)) + K
    people = [{"x": person} for person in words]
    return text_states([PORTRAIT.format("<x>")] * len(words), people, encoder)[:, end]


def text_states(
    texts: Sequence[str], words: Sequence[Mapping[str, Tensor]], encoder: TextEncoder
) -> Tensor:
    """Return the states of padded texts, (n, tokens, width); `words` of their placeholders."""
    parts = [
        encode_texts(texts[i : i + AT_ONCE], words[i : i + AT_ONCE], K, (encoder,)).states
        for i in range(0, len(texts), AT_ONCE)
    ]
    return torch.cat(parts)


def save_between(people: Between, path: Path) -> None:
    """Write people for `load_between`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, words=people.words, traits=people.traits)


def load_between(path: Path) -> Between:
    """Read what `save_between` wrote."""
    with np.load(path) as stored:
        return Between(stored["words"], stored["traits"])


def between_example(people_traits: Traits, num_people: int, seed: int) -> Captioned:
    """Return the training example of a seed: people of `people_traits`, in pairs celebrities too.

    In its caption a placeholder stands for them; `who` is their number, or -1.
    """
    rng = np.random.default_rng(seed)
    names, known = celebrities()
    who, words, traits = [], [], []
    for place in range(num_people):
        if num_people == 1 or rng.random() < BETWEEN_SHARE:
            who.append(int(rng.integers(len(people_traits))))
            words.append(PLACEHOLDERS[place])
            traits.append(people_traits[who[-1]])
        else:
            who.append(-1)
            celebrity = int(rng.integers(len(known)))
            words.append(names.known[celebrity])
            traits.append(known[celebrity])
    return example_of(rng, who, words, traits)


def words_in(row: dict[str, object], people: Between) -> dict[str, Tensor]:
    """Return what the placeholders of a caption row stand for, for `encode_texts`."""
    return {
        name.strip("<>"): torch.from_numpy(people.words[index]).float()
        for name, index in zip(row["names"], row["who"], strict=True)  # type: ignore[call-overload]
        if name in PLACEHOLDERS
    }
