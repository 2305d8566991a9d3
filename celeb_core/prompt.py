"""“<ada> plays guitar with <bob>” -> prompt embeddings."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from celeb_core.basis import person_embeddings
from celeb_core.errors import PromptError, PromptTooLong, PromptUnreadable, UnknownName, quote
from celeb_core.models import Models
from celeb_core.text_encoder import PLACEHOLDER, encode_texts, normal_name
from celeb_core.types import CelebBasis, Identity, Prompt, PromptEmbeds

PORTRAIT = "a photo of {}"
# No prompt that fits is longer: 77 of CLIP's longest token are 2,464 bytes, 38 people 2,508.
MAX_TEXT = 10_000

# < and > as other keyboards, other tools and web pages write them; those of QUOTED also quote.
OPENING, CLOSING = "＜﹤⟨〈\u2329❬❮", "＞﹥⟩〉\u232a❭❯"
BRACKETS = str.maketrans(OPENING + CLOSING, "<" * len(OPENING) + ">" * len(CLOSING))
QUOTED = re.compile("[‹«《]([^<>‹›«»《》]*)[›»》]")
ESCAPED = (
    (re.compile(r"&(?:amp;)*(?:lt|#0*60|#x0*3c);", re.IGNORECASE), "<"),
    (re.compile(r"&(?:amp;)*(?:gt|#0*62|#x0*3e);", re.IGNORECASE), ">"),
)
SPACE = re.compile(r"[\s\0-\x1f\x7f-\x9f\ud800-\udfff]+")  # and what no tokenizer takes
# What nobody sees, apart from the joiners of emoji.
UNSEEN = re.compile(
    "[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
NESTED = re.compile(r"<{1,4}([^<>]*)>{1,4}")

WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*$")
MAX_STRENGTH = 1.5
NETWORK = re.compile(r"\s*(lora|lyco|locon|hypernet|embedding)\s*:", re.IGNORECASE)
OPEN = re.compile(r"<([^\W\d_][\w-]*)")
CLOSE = re.compile(r"(?<![\w-])([\w-]*[^\W\d_])>")
SYNTAX = {
    re.compile(r"\([^()]*:\s*[-+]?[\d.]+\s*\)|\(\(|\[[^\[\]]+\]"): "Weights as in (word:1.3), "
    "((word)) or [word] have no effect here, they are read as text. Write only the word; <ada:0.7> "
    "makes a person less of themselves, and nearer to the prompt.",
    re.compile(r"\bBREAK\b|[^A-Z] AND |\|"): "BREAK, AND and | do not divide a prompt here, "
    "they are read as text. Write one sentence about all people instead.",
    re.compile(r"\bNegative prompt:|\bSteps: \d"): "“Negative prompt:”, “Steps:” and the like are "
    "read as text. Give them as settings of their own.",
}
"""What other tools read in a prompt -> what to do about it here."""


def readable(text: str) -> str:
    """Return a text in composed form with plain < and >, without characters that nobody sees."""
    parts = PLACEHOLDER.split(text)  # text, name, text, name, ..., text; names may have anything
    for index, part in enumerate(parts):
        for pattern, character in ESCAPED if index % 2 == 0 else ():
            part = pattern.sub(character, part)
        parts[index] = f"<{part}>" if index % 2 else part.translate(BRACKETS)
    text = UNSEEN.sub("", SPACE.sub(" ", "".join(parts)))
    return NESTED.sub(r"<\1>", unicodedata.normalize("NFC", text)).strip()


def placeholders(text: str) -> list[str]:
    """Return the names between < and >, without strengths, in order, each once."""
    return list(dict.fromkeys(split_strength(name)[0] for name in _names(readable(text))))


def split_strength(written: str) -> tuple[str, float | None]:
    """Take “ada:0.7”, as it stands between < and >, apart; None: no strength is written."""
    name = normal_name(written)
    found = WEIGHT.search(name)
    return (name[: found.start()].rstrip(), float(found[1])) if found else (name, None)


def weighted_text(prompt: Prompt, usual: float = 1.0) -> str:
    """Return the text with the strengths that are not the usual one, as `parse_prompt` reads it."""

    def put(found: re.Match[str]) -> str:
        name = normal_name(found[1])
        strength = prompt.strengths.get(name, 1.0)
        return found[0] if strength == usual else f"<{name}:{strength:g}>"

    return PLACEHOLDER.sub(put, prompt.text)


def parse_prompt(text: str, people: Mapping[str, Identity | Tensor]) -> Prompt:
    """Bind the `<name>` placeholders of a text to people: identities, or token embeddings (k, d).

    The prompt's text is `readable`, with the names as they are in `people`. What is written behind
    a name, as in `<ada:0.7>`, is in the prompt's `strengths`; it holds wherever they are named.

    Raises:
        UnknownName: It carries the nearest known names.
        PromptTooLong: It has more than MAX_TEXT characters.
        PromptUnreadable: It has a bracket or a placeholder that is no person's, or a strength that
            is none.
    """
    if len(text) > MAX_TEXT:
        overflow = text[MAX_TEXT : 2 * MAX_TEXT]
        raise PromptTooLong(len(text), MAX_TEXT, overflow, "characters")
    used, strengths = {}, dict[str, float]()

    def bind(found: re.Match[str]) -> str:
        name, strength = _find(found[1], people)
        used[name] = people[name]
        if strength is not None and strengths.setdefault(name, strength) != strength:
            raise PromptUnreadable(
                f"<{quote(name)}> has two strengths, {strengths[name]:g} and {strength:g}. "
                "A person has one in a prompt: write it once."
            )
        return f"<{name}>"

    quoted = QUOTED.sub(lambda q: f"<{q[1]}>" if _alike(q[1], people) else q[0], readable(text))
    bound = PLACEHOLDER.sub(bind, quoted)
    rest = PLACEHOLDER.sub(" ", bound)
    for pattern, lacking, other in ((OPEN, ">", "<"), (CLOSE, "<", ">")):
        if found := pattern.search(rest):
            name, there = quote(found[1]), quote(found[0])
            raise PromptUnreadable(
                f"“{there}” has no {lacking}. Write <{name}> for a person, or leave out {other}."
            )
    return Prompt(bound, used, people, strengths=strengths)


def _alike(name: str, people: Collection[str]) -> list[str]:
    """Return the one person who is written like this, or those who are but for case and width."""
    if (clean := normal_name(name)) in people:
        return [clean]
    key = _key(name)
    return [known for known in people if _key(known) == key]


def _key(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _names(text: str) -> list[str]:
    """Return what stands between < and >."""
    return [found[1] for found in PLACEHOLDER.finditer(text)]


def _find(name: str, people: Mapping[str, Identity | Tensor]) -> tuple[str, float | None]:
    """Return the person that a placeholder means, and the strength that it has for them.

    Raises what is wrong with it.
    """
    alike = _alike(name, people)
    if len(alike) == 1:  # a name may look like one with a strength
        return alike[0], None
    there, (plain, strength) = f"<{quote(name)}>", split_strength(name)
    if not plain:
        raise PromptUnreadable(
            f"There is no name in “{there}”. Write one, as in <ada>, or remove it."
        )
    if kind := NETWORK.match(name):
        raise PromptUnreadable(
            f"“{there}” is no person, and {kind[1].lower()} files are not read in prompts here. "
            "Remove it; between < and > are people only, as in <ada>."
        )
    if strength is not None and len(known := _alike(plain, people)) == 1:
        if 0 <= strength <= MAX_STRENGTH:
            return known[0], strength
        raise PromptUnreadable(
            f"“{there}”: a person's strength is 0 to {MAX_STRENGTH:g}. 1 is the person as trained, "
            f"less is nearer to the average person and to the prompt. Write <{quote(plain)}:0.7>."
        )
    if re.search(r"^!|[/=]", name):
        raise PromptUnreadable(f"“{there}” is markup, no person. Remove it.")
    alike = alike or _alike(plain, people)
    key, folded = _key(plain), {_key(known): known for known in people}
    near = difflib.get_close_matches(key, list(folded), 3, 0.5)
    near = near or [known for known in folded if key.startswith(f"{known} ")][:3]
    raise UnknownName(name, alike or [folded[match] for match in near], len(people))


def hints(prompt: Prompt, celebrities: Sequence[str] = ()) -> list[str]:
    """Return what may have been meant otherwise in a prompt that can be generated as it is."""
    found = [hint for pattern, hint in SYNTAX.items() if pattern.search(prompt.text)]
    others = {_key(name): name for name in prompt.people if name not in prompt.identities}
    rest = strip_people(prompt.text, celebrities)
    words = [match[0] for match in _pattern(list(others.values())).finditer(rest)]
    meant = [(word, others.get(_key(word))) for word in words]
    # “will”, of <Will>, is a word like the others.
    names = {name: None for word, name in meant if name and (word == name or word[0].isupper())}
    written = [f"“{name}” is read as text: write <{name}> for the person." for name in names]
    return found + written[:3]


def mentions(text: str, names: Sequence[str] = ()) -> list[tuple[str, re.Match[str]]]:
    """Return the people whom a text mentions, in its order: each a name and where it is.

    A person is a `<name>` placeholder or one of the celebrities `names`; the longest name wins.
    Names of several words are found in any case, single words only as written (“Will”, “will”).
    """
    forms = {name.casefold() if " " in name else name: name for name in names}
    found = []
    for match in _pattern(names).finditer(text):
        word = match[0]
        if match[1] is not None:
            found.append((normal_name(match[1]), match))
        elif name := forms.get(word) or forms.get(word.casefold()):
            found.append((name, match))
    return found


def replace_people(text: str, names: Sequence[str], put: Callable[[str], str]) -> str:
    """Return a text in which `put(name)` stands for each person whom it mentions."""
    for name, match in reversed(mentions(text, names)):
        text = text[: match.start()] + put(name) + text[match.end() :]
    return text


def known_names(text: str, names: Sequence[str]) -> list[str]:
    """Return the celebrities whom a text mentions, each once."""
    found = [name for name, match in mentions(text, names) if match[1] is None]
    return list(dict.fromkeys(found))


def strip_people(text: str, names: Sequence[str] = ()) -> str:
    """Return the prompt without its people, placeholders and celebrities alike."""
    return " ".join(replace_people(text, names, lambda name: " ").split())


def _pattern(names: Sequence[str]) -> re.Pattern[str]:
    """Match placeholders, whose name is group 1, and names in any case; the longest name wins."""
    longest_first = map(re.escape, sorted(names, key=len, reverse=True))
    words = rf"|(?<!\w)(?:{'|'.join(longest_first)})(?!\w)" if names else ""
    return re.compile(PLACEHOLDER.pattern + words, re.IGNORECASE)


def encode_negative(
    text: str, prompt: Prompt, basis: CelebBasis, models: Models
) -> tuple[str, PromptEmbeds]:
    """Encode a negative prompt, which may name whomever the prompt could have named.

    Returns:
        Its text as it was read, and what the model gets.

    Raises:
        PromptError, BasisMismatch: As `parse_prompt` and `encode_prompt`; it says where.
    """
    try:
        negative = parse_prompt(text, {**prompt.people, **prompt.identities})
        return weighted_text(negative), encode_prompt(negative, basis, models)
    except PromptError as error:
        error.within("Negative prompt")
        raise


def encode_prompt(prompt: Prompt, basis: CelebBasis, models: Models) -> PromptEmbeds:
    """Encode one prompt, without gradients, on the model's device.

    Raises:
        PromptTooLong: It has more tokens than the text encoder reads.
        BasisMismatch: An identity belongs to another basis.
    """
    embeddings = {
        name: strengthened(
            person_embeddings(person, basis, models), prompt.strengths.get(name, 1.0), basis
        )
        for name, person in prompt.identities.items()
    }
    with torch.no_grad():
        encoded = encode_texts([prompt.text], [embeddings], basis.k, models.encoders)
    return encoded.map(lambda tensor: tensor.to(models.device))


def strengthened(embeddings: Tensor, strength: float, basis: CelebBasis) -> Tensor:
    """Return token embeddings (k, d) nearer to the mean celebrity's, or farther from them.

    mean + strength * (embeddings - mean), which is the strength times the coefficients.
    """
    if strength == 1:
        return embeddings
    mean = basis.mean.to(embeddings)
    return mean + strength * (embeddings - mean)
