"""People between the celebrities: random token embeddings in the span of the known names'.

Stable Diffusion knows tens of thousands of people, of whom a celeb basis takes 700; most token
embeddings between those belong to a person, too. A UNet that is trained on 700 names and no more
memorises them one by one (docs/toonville.md). So it is trained on people of random token embeddings
as well, with the traits that the text encoder, which knows the names alone, implies for these.
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

from celeb_core.basis import K, principal_components
from celeb_core.prepare.calibration import ridge
from celeb_core.prompt import PORTRAIT
from celeb_core.text_encoder import TextEncoder, encode_texts
from toonville.dataset import Captioned, CaptionRow, celebrities, example_of
from toonville.identity import Traits

NUM_PEOPLE, SEED = 9600, 404
PEOPLE_FILE = "between.npz"
# Length of a person's random offset from the mean person, relative to a celebrity's: along the
# directions that faces depend on, and along the rest, which no face depends on. It is next to
# nothing in the token embeddings of a newly trained person, and so it is for a share of people.
FACE_RADIUS, REST_RADIUS, SMALL_REST_RADIUS = (0.7, 1.7), (0.0, 1.3), (0.0, 0.2)
SMALL_REST_SHARE = 0.65
PLACEHOLDERS = ("<x>", "<y>", "<z>")
UNNAMED_SHARE = 0.75  # of the people in images of several; the others are celebrities
BATCH = 64


@dataclass(frozen=True, eq=False)
class UnnamedPeople:
    """N people without a name."""

    embeddings: NDArray[np.float16]  # (N, K, width) token embeddings
    traits: Traits  # (N, NUM_TRAITS) in [-1, 1]


def text_encoder(model: CLIPTextModel, tokenizer: CLIPTokenizer) -> TextEncoder:
    """Wrap a text tower for celeb_core."""
    width = model.get_input_embeddings().weight.shape[1]
    return TextEncoder(tokenizer, model, slice(0, width), penultimate=False)


@dataclass(frozen=True, eq=False)
class TraitProbe:
    """A linear probe: token embeddings -> the traits that a text encoder implies for them."""

    encoder: TextEncoder
    spans: list[tuple[Tensor, Tensor]]  # per position: mean (width,), principal axes (m, width)
    weight: Tensor  # (NUM_TRAITS, width) hidden state of a person's last token -> traits
    bias: Tensor  # (NUM_TRAITS,)
    face_directions: Tensor  # (coefficients, NUM_TRAITS), orthonormal: what faces depend on

    def person_embeddings(self, coefficients: Tensor) -> Tensor:
        """Compose token embeddings (n, K, width) from coefficients in units of deviation.

        `coefficients` (n, m1 + m2) are those of all positions, side by side.
        """
        parts = coefficients.split([len(axes) for _, axes in self.spans], -1)
        pairs = zip(parts, self.spans, strict=True)
        return torch.stack([mean + part @ axes for part, (mean, axes) in pairs], 1)

    def traits_of(self, embeddings: Tensor) -> Tensor:
        """Return the traits (n, NUM_TRAITS) of token embeddings (n, K, width)."""
        return person_states(embeddings, self.encoder) @ self.weight.T + self.bias


def fit_probe(encoder: TextEncoder) -> TraitProbe:
    """Fit a probe to the celebrities.

    Traits by ridge regression from the hidden states of their names; the directions that faces
    depend on are the gradients of the traits at the mean person.
    """
    names, traits = celebrities()
    weight, bias, _ = ridge(name_states(names.known, encoder), torch.from_numpy(traits))
    parts = [principal_components(rows, len(rows)) for rows in _distinct(names.known, encoder)]
    spans = [(mean.float(), (std[:, None] * rows).float()) for mean, rows, std in parts]
    size = sum(len(axes) for _, axes in spans)
    probe = TraitProbe(encoder, spans, weight, bias, torch.empty(size, 0))
    mean_person = torch.zeros(1, size, requires_grad=True)
    implied = probe.traits_of(probe.person_embeddings(mean_person))[0]
    gradients = [torch.autograd.grad(one, mean_person, retain_graph=True)[0][0] for one in implied]
    return replace(probe, face_directions=torch.linalg.qr(torch.stack(gradients, 1)).Q)


@torch.no_grad()
def make_unnamed_people(probe: TraitProbe, n: int = NUM_PEOPLE, seed: int = SEED) -> UnnamedPeople:
    """Return n random people, normal along the names' principal components."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randn(n, len(probe.face_directions), generator=generator)
    along_faces = offset @ probe.face_directions @ probe.face_directions.T
    rest, face, small, chance = (
        torch.empty(n, 1).uniform_(*radius, generator=generator)
        for radius in (REST_RADIUS, FACE_RADIUS, SMALL_REST_RADIUS, (0.0, 1.0))
    )
    rest = torch.where(chance < SMALL_REST_SHARE, small, rest)
    coefficients = face * along_faces + rest * (offset - along_faces)
    embeddings = probe.person_embeddings(coefficients).half()
    traits = [probe.traits_of(part.float()) for part in embeddings.split(BATCH)]
    return UnnamedPeople(embeddings.numpy(), torch.cat(traits).clamp(-1, 1).numpy())


def _distinct(names: Sequence[str], encoder: TextEncoder) -> list[Tensor]:
    """Return for each position the distinct token embeddings (m, width) of the names."""
    ids = [encoder.token_ids(name) for name in names]
    columns = [[tokens[i] for tokens in ids if len(tokens) > i] for i in range(K)]
    return [encoder.embed(list(dict.fromkeys(column))) for column in columns]


@torch.no_grad()
def name_states(names: Sequence[str], encoder: TextEncoder) -> Tensor:
    """Return the hidden states (n, width) of the last token of each name in PORTRAIT."""
    texts = [PORTRAIT.format(name) for name in names]
    ends = torch.tensor([len(encoder.token_ids(text)) for text in texts])
    states = hidden_states(texts, [{}] * len(texts), encoder)
    return states[torch.arange(len(texts)), ends]


def person_states(embeddings: Tensor, encoder: TextEncoder) -> Tensor:
    """Return the hidden states (n, width) of the last token of people (n, K, width) in PORTRAIT."""
    end = len(encoder.token_ids(PORTRAIT.format(""))) + K
    people = [{"x": person} for person in embeddings]
    return hidden_states([PORTRAIT.format("<x>")] * len(people), people, encoder)[:, end]


def hidden_states(
    texts: Sequence[str], embeddings: Sequence[Mapping[str, Tensor]], encoder: TextEncoder
) -> Tensor:
    """Encode padded texts in batches.

    Args:
        texts: n texts with placeholders.
        embeddings: For each text, placeholder -> token embeddings (K, width).
        encoder: The text tower.

    Returns:
        (n, tokens, width).
    """
    parts = [
        encode_texts(texts[i : i + BATCH], embeddings[i : i + BATCH], K, (encoder,)).hidden_states
        for i in range(0, len(texts), BATCH)
    ]
    return torch.cat(parts)


def save_unnamed_people(people: UnnamedPeople, path: Path) -> None:
    """Write people for `load_unnamed_people`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, words=people.embeddings, traits=people.traits)  # "words": its name in old files


def load_unnamed_people(path: Path) -> UnnamedPeople:
    """Read what `save_unnamed_people` wrote."""
    with np.load(path) as stored:
        return UnnamedPeople(stored["words"], stored["traits"])


def unnamed_example(unnamed: Traits, num_people: int, seed: int) -> Captioned:
    """Return the training example of a seed: unnamed people, in groups also celebrities.

    Args:
        unnamed: Traits (N, NUM_TRAITS) of the unnamed people.
        num_people: 1 to 3.
        seed: Of the example.

    Returns:
        In the caption a placeholder stands for an unnamed person, and `person_ids` are their rows;
        celebrities have -1.
    """
    rng = np.random.default_rng(seed)
    names, known = celebrities()
    ids, chosen, traits = [], [], []
    for place in range(num_people):
        if num_people == 1 or rng.random() < UNNAMED_SHARE:
            ids.append(int(rng.integers(len(unnamed))))
            chosen.append(PLACEHOLDERS[place])
            traits.append(unnamed[ids[-1]])
        else:
            ids.append(-1)
            celebrity = int(rng.integers(len(known)))
            chosen.append(names.known[celebrity])
            traits.append(known[celebrity])
    return example_of(rng, ids, chosen, np.stack(traits))


def placeholder_embeddings(row: CaptionRow, people: UnnamedPeople) -> dict[str, Tensor]:
    """Return placeholder -> token embeddings (K, width) of a stored caption, for `encode_texts`."""
    return {
        name.strip("<>"): torch.from_numpy(people.embeddings[index]).float()
        for name, index in zip(row["names"], row["who"], strict=True)
        if name in PLACEHOLDERS
    }
