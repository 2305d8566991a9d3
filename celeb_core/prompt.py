"""“<ada> plays guitar with <bob>” -> prompt embeddings."""

import difflib
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from celeb_core.basis import person_embeddings
from celeb_core.errors import UnknownName
from celeb_core.models import Models
from celeb_core.text_encoder import PLACEHOLDER, encode_texts, normal_name
from celeb_core.types import CelebBasis, Identity, Prompt, PromptEmbeds

PORTRAIT = "a photo of {}"


def placeholders(text: str) -> list[str]:
    """Return the names between < and >, in order, each once."""
    return list(dict.fromkeys(normal_name(name) for name in PLACEHOLDER.findall(text)))


def parse_prompt(text: str, people: Mapping[str, Identity | Tensor]) -> Prompt:
    """Bind the `<name>` placeholders of a text to people: identities, or token embeddings (k, d).

    Raises:
        UnknownName: It carries the nearest known names.
    """
    used = {}
    for name in placeholders(text):
        if name not in people:
            folded = {known.casefold(): known for known in people}
            near = difflib.get_close_matches(name.casefold(), list(folded), 3, 0.5)
            raise UnknownName(name, [folded[match] for match in near], len(people))
        used[name] = people[name]
    return Prompt(text, used)


def known_names(text: str, names: Sequence[str]) -> list[str]:
    """Return the celebrities whom a text mentions, each once; the longest name wins.

    Names of several words are found in any case, single words only as written (“Will”, “will”).
    """
    if not names:
        return []
    forms = {name.casefold() if " " in name else name: name for name in names}
    longest_first = sorted(names, key=len, reverse=True)
    pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)"
    found = re.findall(pattern, PLACEHOLDER.sub(" ", text), re.IGNORECASE)
    known = [forms.get(match) or forms.get(match.casefold()) for match in found]
    return list(dict.fromkeys(name for name in known if name))


def encode_prompt(prompt: Prompt, basis: CelebBasis, models: Models) -> PromptEmbeds:
    """Encode one prompt, without gradients, on the model's device.

    Raises:
        PromptTooLong: It has more tokens than the text encoder reads.
        BasisMismatch: An identity belongs to another basis.
    """
    embeddings = {
        name: person_embeddings(person, basis, models) for name, person in prompt.identities.items()
    }
    with torch.no_grad():
        encoded = encode_texts([prompt.text], [embeddings], basis.k, models.encoders)
    return encoded.map(lambda tensor: tensor.to(models.device))
