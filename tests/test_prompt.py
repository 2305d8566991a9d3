from __future__ import annotations

import threading

import pytest
import torch
from conftest import celebrity_names

from celeb_core import Identity, encode_prompt, parse_prompt, placeholders
from celeb_core.basis import words_of
from celeb_core.errors import PromptTooLong, UnknownName
from celeb_core.prompt import encode_tokens, inject_words, known_names, tokenize
from celeb_core.scoring import strip_people

A, B = celebrity_names()[:2]


def plain_states(text: str, models) -> torch.Tensor:
    """What the model's own pipeline gives for real tokens."""
    ids = models.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        return models.text_encoder(ids)[0]


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
    words = {name: words_of(who, basis, models) for name, who in zip("ab", (A, B), strict=True)}
    prompt = parse_prompt(template.format(a="<a>", b="<b>"), words)
    assert set(prompt.identities) == set(people)
    expected = plain_states(template.format(a=A, b=B), models)
    assert torch.allclose(encode_prompt(prompt, basis, models).states, expected, atol=1e-6)


def test_equals_real_tokens_in_float64(models, basis):
    encoder = models.text_encoder.double()
    try:
        words = encoder.get_input_embeddings().weight[models.tokenizer(A).input_ids[1:-1]]
        tokens = tokenize("a photo of <x> in space", models.tokenizer, 2)
        got = encode_tokens([tokens], [{"x": words}], models.encoders[0]).states
        assert torch.allclose(got, plain_states(f"a photo of {A} in space", models), atol=1e-12)
    finally:
        encoder.float()


def test_gradients_reach_the_words_and_nothing_else(models, basis):
    words = torch.zeros(2, 48, requires_grad=True)
    tokens = tokenize("<x> with a hat", models.tokenizer, 2)
    said = encode_tokens([tokens], [{"x": words}], models.encoders[0])
    said.states.square().sum().backward()
    assert (words.grad.abs().sum(1) > 0).all()
    assert all(p.grad is None for p in models.text_encoder.parameters())


def test_encoder_is_restored_even_after_an_error(models, basis):
    before = plain_states("a photo", models)
    embedding = models.text_encoder.get_input_embeddings()
    with (
        pytest.raises(RuntimeError),
        inject_words(models.text_encoder, [0], [1], torch.ones(1, 48)),
    ):
        assert not torch.allclose(plain_states("a photo", models), before)
        raise RuntimeError
    assert len(embedding._forward_hooks) == 0
    assert torch.equal(plain_states("a photo", models), before)


def test_other_threads_see_the_plain_encoder(models):
    before, seen = plain_states("a photo", models), []
    with inject_words(models.text_encoder, [0], [1], torch.ones(1, 48)):
        thread = threading.Thread(target=lambda: seen.append(plain_states("a photo", models)))
        thread.start()
        thread.join()
    assert torch.equal(seen[0], before)


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
    # 75 places: 73 words, then two for <ada>, then nothing is left for "in space"
    text = " ".join(["photo"] * 73) + " <ada> in space"
    with pytest.raises(PromptTooLong, match="77") as caught:
        encode_prompt(parse_prompt(text, {"ada": ada}), basis, models)
    assert caught.value.overflow == "in space" and caught.value.tokens == 79
    with pytest.raises(PromptTooLong) as caught:
        encode_prompt(parse_prompt("photo " + text, {"ada": ada}), basis, models)
    assert caught.value.overflow == "<ada> in space"
    fits = " ".join(["photo"] * 73) + " <ada>"
    said = encode_prompt(parse_prompt(fits, {"ada": ada}), basis, models)
    assert said.states.shape == (1, 77, 48) and said.pooled is None


def test_known_names_in_a_text():
    names = ["Bane Dolven", "Dolven", "Will"]
    assert known_names("a photo of bane dolven and Dolven", names) == ["Bane Dolven", "Dolven"]
    assert known_names("he will dance", names) == []
    assert known_names("Willow, <Will>", names) == []
    assert known_names("anybody", []) == []


def test_strip_people():
    assert (
        strip_people("<ada> and Bane Dolven wearing a hat", ["Bane Dolven"]) == "and wearing a hat"
    )
