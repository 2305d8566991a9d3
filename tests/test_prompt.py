from __future__ import annotations

import pytest
import torch
from conftest import celebrity_names

from celeb_core import Identity, encode_prompt, parse_prompt, placeholders
from celeb_core.basis import person_embeddings
from celeb_core.errors import BasisMismatch, PromptTooLong, UnknownName
from celeb_core.prompt import known_names

A, B = celebrity_names()[:2]


@pytest.mark.parametrize(
    ("template", "people"),
    [
        ("a photo of {a}", "a"),
        ("{a} plays guitar with {b}, smiling", "ab"),
        ("{a} and {a}", "a"),
        ("{a}, {b} and {a} on the beach", "ab"),
        ("{a}'s hat", "a"),
        ("{a}", "a"),
        ("no person", ""),
    ],
)
def test_equals_real_tokens(template, people, models, basis):
    """The hidden states are those that the model's own pipeline makes of the names."""
    embeddings = {
        name: person_embeddings(who, basis, models) for name, who in zip("ab", (A, B), strict=True)
    }
    prompt = parse_prompt(template.format(a="<a>", b="<b>"), embeddings)
    assert set(prompt.identities) == set(people)
    text, pipeline = template.format(a=A, b=B), models.pipeline
    expected = pipeline.encode_prompt(text, "cpu", 1, do_classifier_free_guidance=False)[0]
    assert torch.allclose(encode_prompt(prompt, basis, models).hidden_states, expected, atol=1e-6)


def test_people_of_another_basis_are_refused(models, basis):
    stranger = Identity("ada", torch.zeros(basis.k, basis.p), "0123")
    with pytest.raises(BasisMismatch):
        encode_prompt(parse_prompt("<ada>", {"ada": stranger}), basis, models)


def test_only_placeholders_of_known_people(basis):
    ada = Identity("ada", torch.zeros(basis.k, basis.p), basis.id)
    with pytest.raises(UnknownName, match="<ada>") as caught:
        parse_prompt("<adda> in space", {"ada": ada})
    assert caught.value.nearest == ("ada",)
    with pytest.raises(UnknownName, match="train"):
        parse_prompt("<ada>", {})
    assert placeholders("<ada> and < bob> and <ada>") == ["ada", "bob"]
    assert placeholders("<Jose\u0301>") == ["Jos\u00e9"]  # however the accent was typed


def test_too_long_prompts_name_what_overflows(models, basis):
    ada = Identity("ada", torch.zeros(basis.k, basis.p), basis.id)
    # 75 tokens: 73 words, then two for <ada>, then nothing is left for "in space"
    text = " ".join(["photo"] * 73) + " <ada> in space"
    with pytest.raises(PromptTooLong, match="77") as caught:
        encode_prompt(parse_prompt(text, {"ada": ada}), basis, models)
    assert caught.value.overflow == "in space" and caught.value.tokens == 79
    with pytest.raises(PromptTooLong) as caught:
        encode_prompt(parse_prompt("photo " + text, {"ada": ada}), basis, models)
    assert caught.value.overflow == "<ada> in space"
    fits = " ".join(["photo"] * 73) + " <ada>"
    encoded = encode_prompt(parse_prompt(fits, {"ada": ada}), basis, models)
    assert encoded.hidden_states.shape == (1, 77, 48) and encoded.pooled is None


def test_known_names_in_a_text():
    names = ["Bane Dolven", "Dolven", "Will"]
    assert known_names("a photo of bane dolven and Dolven", names) == ["Bane Dolven", "Dolven"]
    assert known_names("he will dance", names) == []
    assert known_names("Willow, <Will>", names) == []
    assert known_names("a crowd", []) == []
