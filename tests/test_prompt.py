from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import celebrity_names

from celeb_core import Identity, encode_prompt, parse_prompt, placeholders
from celeb_core.basis import person_embeddings
from celeb_core.errors import QUOTED, BasisMismatch, PromptError, PromptTooLong, UnknownName
from celeb_core.prompt import MAX_TEXT, encode_negative, hints, known_names, weighted_text

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


NAMES = ("ada", "Bob", "Zo\u00eb", "mary ann", "Will", "ANN", "ann")
LIBRARY = {name: torch.zeros(1) for name in NAMES}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("< ada >", "<ada>"),
        ("<Ada> and <BOB>", "<ada> and <Bob>"),
        ("\uff1cada\uff1e", "<ada>"),
        ("<ada\uff1e", "<ada>"),
        (
            "\ufe64ada\ufe65 \u27e8ada\u27e9 \u3008ada\u3009 \u2329ada\u232a",
            "<ada> <ada> <ada> <ada>",
        ),
        ("\u2039ada\u203a and \u00abBob\u00bb and \u300aada\u300b", "<ada> and <Bob> and <ada>"),
        ("says \u00ab hello \u00bb to <ada>", "says \u00ab hello \u00bb to <ada>"),  # a quotation
        ("&lt;ada&gt; &LT;ada&GT; &amp;lt;ada&amp;gt; &#60;ada&#x3E;", "<ada> <ada> <ada> <ada>"),
        ("<<ada>> <<<Bob>>>", "<ada> <Bob>"),
        ("<\uff41\uff44\uff41>", "<ada>"),
        ("<ZOE\u0308>", "<Zo\u00eb>"),
        ("<MARY  Ann>", "<mary ann>"),
        ("<\u200bada\u202e>\ufeff", "<ada>"),
        ("a\0b\ud800c <ada>\r\n\u2028 <Bob>\t", "a b c <ada> <Bob>"),
        ("<ann> and <ANN>", "<ann> and <ANN>"),  # as written first
    ],
)
def test_people_are_understood_however_they_are_written(text, read):
    prompt = parse_prompt(text, LIBRARY)
    assert prompt.text == read
    assert list(prompt.identities) == placeholders(read)
    assert parse_prompt(prompt.text, LIBRARY).text == read  # as it is stored


@pytest.mark.parametrize("name", ["a &lt;b&gt; c", "＜x＞", "«x»", "x &amp; y"])
def test_a_name_may_look_like_what_is_understood(name):
    person = torch.zeros(2, 8)
    prompt = parse_prompt(f"&lt;ada&gt; and <{name}>", {name: person, "ada": person})
    assert prompt.text == f"<ada> and <{name}>" and set(prompt.identities) == {"ada", name}


@pytest.mark.parametrize("text", ["5 < 6", "I <3 it", "a -> b", ">_>", "<<<<", "a > b < c", ""])
def test_brackets_without_a_name_are_text(text):
    assert parse_prompt(text, LIBRARY).text == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("<lora:film:1>", "no person, and lora files"),
        ("a <LyCO: x :0.5>", "no person, and lyco files"),
        ("<hypernet:x:1>", "hypernet files"),
        ("<embedding:x>", "embedding files"),
        ("<ada:1.6>", "strength is 0 to 1.5"),
        ("<Ada : -.8>", "Write <Ada:0.7>"),
        ("<ada:0.5> and <ada:0.7>", "has two strengths, 0.5 and 0.7"),
        ("<ann:0.5> and <Ann:.5>", "Did you mean <ANN> or <ann>?"),
        ("<>", "no name in “<>”. Write one, as in <ada>"),
        ("<  >", "no name"),
        ("<:1.2>", "no name"),
        ("<ada plays", "“<ada” has no >. Write <ada>"),
        ("<ada and <Bob>", "“<ada” has no >"),
        ("ada> plays", "“ada>” has no <. Write <ada>"),
        ("<br/>", "“<br/>” is markup"),
        ("</b>", "markup"),
        ('<a href="x">', "markup"),
        ("<!-- x -->", "markup"),
        ("<Ann>", "Did you mean <ANN> or <ann>?"),  # two of them
        ("<ada plays with Bob>", "Did you mean <ada>?"),
        ("<aida:1.2>", "Did you mean <ada>?"),
    ],
)
def test_what_is_no_person_gets_one_line_of_advice(text, advice):
    with pytest.raises(PromptError) as caught:
        parse_prompt(text, LIBRARY)
    assert advice in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["x" * 20_000_000, "<" + "x" * 9000 + ">", "<" * 9999 + "a", "<a" * 4000, " " * 20_000_000]
    + ["<" + "a " * 4990 + ">", "<" * 20_000_000, "<lora:" + "x" * 9000 + ">", "x" * 9000 + ">"],
    ids=range(9),
)
def test_long_text_is_refused_before_it_is_read_and_never_quoted_whole(text):
    with pytest.raises(PromptError) as caught:
        parse_prompt(text, LIBRARY)
    assert len(str(caught.value)) < 2 * QUOTED + 150
    assert len(text) <= MAX_TEXT or isinstance(caught.value, PromptTooLong)


def test_what_has_no_effect_is_hinted_at():
    def hinted(text):
        return hints(parse_prompt(text, LIBRARY), ["Ada Lovelace", "Robert"])

    for weighted in ("(<ada>:1.2)", "((smiling)) <ada>", "[hat]", "(hat: -0.5 )"):
        (line,) = hinted(weighted)
        assert "no effect" in line and "<ada:0.7>" in line
    for divided in ("<ada> BREAK <Bob>", "<ada> AND <Bob>", "a hat | a tie"):
        assert "do not divide" in hinted(divided)[0]
    assert "Negative prompt" in hinted("a cat\nNegative prompt: dog")[0]
    assert hinted("ada on the beach") == ["“ada” is read as text: write <ada> for the person."]
    assert "write <ada>" in hinted("Ada, sitting")[0] and "write <Will>" in hinted("Will")[0]
    assert len(hinted("ada, Bob, Will, ann, mary ann")) == 3
    for plain in (
        "he will dance", "Ada Lovelace", "<ada>, ada", "a (red) hat", "A CAT AND A DOG", "adamant",
        "bob hair",
    ):  # fmt: skip
        assert hinted(plain) == []


def test_a_negative_prompt_names_whomever_the_prompt_could_have(models, basis):
    people = {name: torch.randn(basis.k, 48) for name in ("ada", "bob")}
    prompt = parse_prompt("a photo of <ada>", people)
    text, embeds = encode_negative("＜Bob＞, hat", prompt, basis, models)
    assert text == "<bob>, hat"
    expected = encode_prompt(parse_prompt("<bob>, hat", people), basis, models)
    assert torch.equal(embeds.hidden_states, expected.hidden_states)
    with pytest.raises(UnknownName, match="^Negative prompt: Nobody here is called <eve>"):
        encode_negative("<eve>", prompt, basis, models)
    with pytest.raises(PromptTooLong, match="^Negative prompt: ") as caught:
        encode_negative("hat " * 100, prompt, basis, models)
    assert caught.value.message.startswith("Negative prompt: ")


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


@pytest.mark.parametrize(
    ("text", "read", "strengths"),
    [
        ("<ada:0.7> and <Bob>", "<ada> and <Bob>", {"ada": 0.7}),
        ("\uff1cADA : .5\uff1e and <ada> and <bob:1.5>", "<ada> and <ada> and <Bob>", None),
        ("<ada> and <ada:1>, <ada:1.0>", "<ada> and <ada>, <ada>", {"ada": 1.0}),
        ("<ada:0>", "<ada>", {"ada": 0.0}),
        ("<Bob:2>", "<Bob:2>", {}),  # who is called that
        ("<Bob:2:0.5>", "<Bob:2>", {"Bob:2": 0.5}),
        ("&lt;mary ann:.25&gt;", "<mary ann>", {"mary ann": 0.25}),
    ],
)
def test_a_person_may_have_a_strength(text, read, strengths):
    prompt = parse_prompt(text, {**LIBRARY, "Bob:2": torch.zeros(1)})
    strengths = {"ada": 0.5, "Bob": 1.5} if strengths is None else strengths
    assert (prompt.text, prompt.strengths) == (read, strengths)
    again = parse_prompt(weighted_text(prompt), {**LIBRARY, "Bob:2": torch.zeros(1)})
    assert again.text == read
    assert {n: s for n, s in again.strengths.items() if s != 1} == {
        name: strength for name, strength in strengths.items() if strength != 1
    }


def test_a_strength_is_a_factor_on_the_coefficients(models, basis):
    coefficients = torch.randn(basis.k, basis.p, generator=torch.Generator().manual_seed(0))
    people = {name: Identity(name, coefficients, basis.id) for name in ("ada", "bob")}
    halved = {name: Identity(name, coefficients * 0.5, basis.id) for name in ("ada", "bob")}

    def states(text, known):
        return encode_prompt(parse_prompt(text, known), basis, models).hidden_states

    one = states("<ada> and <bob:0.5>", people)
    mixed = {"ada": people["ada"], "bob": halved["bob"]}
    assert torch.allclose(one, states("<ada> and <bob>", mixed), atol=1e-5)
    assert torch.equal(states("<ada:1>", people), states("<ada>", people))
    average = {"ada": basis.mean, "bob": basis.mean}
    assert torch.equal(states("<ada:0> <bob:0>", people), states("<ada> <bob>", average))
    prompt = replace(parse_prompt("<ada> and <bob>", people), strengths={"bob": 0.5})
    assert torch.equal(encode_prompt(prompt, basis, models).hidden_states, one)
    assert placeholders("<ada:0.7> and <bob> and <ada>") == ["ada", "bob"]
