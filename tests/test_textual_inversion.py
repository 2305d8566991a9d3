"""What we write is read by plain diffusers, and field by field as the other tools read it."""

from __future__ import annotations

import io
import os
import pickletools
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import celebrity_names
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from stable_diffusion import settled
from torch import nn

from celeb_core import Identity, SampleConfig, generate, load_identity, parse_prompt, save_identity
from celeb_core import textual_inversion as module
from celeb_core.basis import compose, person_embeddings
from celeb_core.errors import (
    BadName,
    BasisMismatch,
    EmbeddingUnusable,
    IdentityNotFound,
    IdentityUnreadable,
)
from celeb_core.formats.tensor_file import read_tensor_file
from celeb_core.prompt import encode_prompt
from celeb_core.sampling import make_scheduler
from celeb_core.textual_inversion import FORMATS, export_identity, import_identities, usage_notes


def random_person(basis, name: str = "ada", seed: int = 0) -> Identity:
    numbers = torch.randn(basis.k, basis.p, generator=torch.Generator().manual_seed(seed))
    numbers *= (basis.std > 0).float()
    return Identity(name, numbers.half().float(), basis.id, "tinyville", settings={"trained": 20})


@pytest.fixture
def ada(basis) -> Identity:
    return random_person(basis)


def plain(world, lines: list[str]) -> StableDiffusionPipeline:
    """A fresh diffusers pipeline after running usage lines."""
    pipe = StableDiffusionPipeline.from_pretrained(world, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.requires_grad_(False)  # the last bits depend on it, also without gradients
    pipe.vae.requires_grad_(False)
    for line in lines:
        exec(line.split(", then prompt")[0], {"pipe": pipe})
    return pipe


@pytest.mark.parametrize("format", FORMATS)
def test_plain_diffusers_generates_the_same_image(format, world, ada, models, basis, tmp_path):
    path = export_identity(ada, basis, models, tmp_path, format)
    line = usage_notes(path)["diffusers"]
    pipe = plain(world, [line])
    text = "a photo of <ada> on the beach"
    assert line.endswith("prompt <ada>")
    prompt = parse_prompt(text, {"ada": ada})
    theirs = pipe.encode_prompt(text, "cpu", 1, False)[0]
    assert torch.equal(theirs, encode_prompt(prompt, basis, models).hidden_states)
    ours = generate(prompt, models, basis, SampleConfig(seed=3, scheduler="ddim"))[0]
    pipe.scheduler = make_scheduler(models, "ddim")
    theirs = pipe(
        text,
        num_inference_steps=models.steps,
        guidance_scale=models.guidance_scale,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    assert np.array_equal(ours, theirs)


def test_two_people_and_punctuation(world, ada, models, basis, tmp_path):
    bob = random_person(basis, "bob", 1)
    lines = [
        usage_notes(export_identity(who, basis, models, tmp_path))["diffusers"]
        for who in (ada, bob)
    ]
    pipe = plain(world, lines)
    text = "<ada>, smiling, next to <bob>. a photo of <ada> and <bob>"
    theirs = pipe.encode_prompt(text, "cpu", 1, False)[0]
    ours = encode_prompt(parse_prompt(text, {"ada": ada, "bob": bob}), basis, models)
    assert torch.equal(theirs, ours.hidden_states)


def test_fields_that_the_loaders_look_at(ada, models, basis, tmp_path):
    embeddings = person_embeddings(ada, basis, models)
    path = export_identity(ada, basis, models, tmp_path)
    assert path.name == "ada.safetensors" and path.stat().st_size < 2 * 48 * 4 + 1000
    content = load_file(path)
    assert list(content) == ["emb_params"] and torch.equal(content["emb_params"], embeddings)

    path = export_identity(ada, basis, models, tmp_path, "a1111")
    old = torch.load(path, weights_only=True)
    assert old["name"] == path.stem == "ada"  # A1111 takes the file's name, diffusers this one
    assert list(old["string_to_token"]) == list(old["string_to_param"]) == ["*"]
    assert torch.equal(old["string_to_param"]["*"], embeddings) and old["step"] == 20
    assert old["sd_checkpoint_name"] == "tinyville"

    path = export_identity(ada, basis, models, tmp_path, "diffusers", token="ada-2")
    assert path == tmp_path / "ada-2" / "learned_embeds.safetensors"
    assert list(load_file(path)) == ["<ada-2>"]


def test_every_tool_is_told_the_same_trigger(basis, models, tmp_path):
    path = export_identity(random_person(basis, "Zoë Ångström"), basis, models, tmp_path)
    token = path.stem
    assert re.fullmatch(r"zoe-angstrom-[0-9a-f]{8}", token)
    lines = usage_notes(path)
    assert set(lines) == {"diffusers", "A1111, Forge", "ComfyUI", "InvokeAI", "kohya sd-scripts"}
    assert all(line.removesuffix(">").endswith(token) for line in lines.values())
    assert "embedding:" + token in lines["ComfyUI"]


@pytest.mark.parametrize("token", ["Ada", "a da", "<ada>", "a/b", "con", ""])
def test_tokens_that_some_tool_would_misread(token, ada, models, basis, tmp_path):
    if token:
        with pytest.raises(BadName, match="trigger word"):
            export_identity(ada, basis, models, tmp_path, token=token)
    else:
        assert export_identity(ada, basis, models, tmp_path, token=token).stem == "ada"


def test_export_refuses_another_basis_and_unknown_formats(ada, models, basis, tmp_path):
    stranger = Identity("bob", torch.zeros(basis.k, basis.p), "0123")
    with pytest.raises(BasisMismatch):
        export_identity(stranger, basis, models, tmp_path)
    with pytest.raises(ValueError, match="a1111"):
        export_identity(ada, basis, models, tmp_path, "zip")


# --- what the other tools look at, in our words


def a1111_refuses(path) -> str:
    """What its safe unpickler stops at: a member of the zip, or a global of one of the pickles."""
    content = path.read_bytes()
    pickles, stream = [], io.BytesIO(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not re.fullmatch(r"[^/]+/(data/\d+|version|data\.pkl)", name):
                    return name
                pickles += [archive.read(name)] if name.endswith("data.pkl") else []
        stream = io.BytesIO(b"".join(pickles))
    known = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage"}
    known |= {"torch._utils _rebuild_parameter", "torch HalfStorage", "torch LongStorage"}
    for _ in pickles or range(5):
        for operation, argument, _ in pickletools.genops(stream):
            assert operation.name not in ("STACK_GLOBAL", "INST", "EXT1")
            if operation.name == "GLOBAL" and argument not in known:
                return argument
    return ""


def test_a1111s_safe_unpickler(ada, models, basis, sdxl, sdxl_basis, tmp_path):
    for person, own, its in ((ada, models, basis), (random_person(sdxl_basis), sdxl, sdxl_basis)):
        path = export_identity(person, its, own, tmp_path, "a1111")
        assert not a1111_refuses(path) and torch.load(path, weights_only=True)
        torch.save(torch.load(path, weights_only=True), path)  # as PyTorch writes it by itself
        assert "." in a1111_refuses(path)


def kohya_refuses(path, tokenizer, vectors: int) -> bool:
    """It adds the file's name and numbered ones as tokens, and stops if one is there already."""
    words = {path.stem, *(f"{path.stem}{number}" for number in range(1, vectors))}
    return len(words - tokenizer.get_vocab().keys()) != vectors


def sd_next_drops(path, tokenizer, vectors: int) -> bool:
    """It takes an embedding with a name or numbered name in the vocabulary for a loaded one."""
    words = [path.stem, *(f"{path.stem}_{number}" for number in range(1, vectors))]
    return any(word in tokenizer.get_vocab() for word in words)


def test_kohyas_and_sd_nexts_tokens(models, basis, tmp_path, caplog):
    tokenizer = models.encoders[0].tokenizer
    vocabulary = [word for word in tokenizer.get_vocab() if re.fullmatch("[a-z]{2,}(</w>)?", word)]
    for word in vocabulary:
        name = word.removesuffix("</w>")
        path = export_identity(random_person(basis, name), basis, models, tmp_path)
        assert path.stem == f"{name}-person" and not caplog.records
        assert not kohya_refuses(path, tokenizer, 2) and not sd_next_drops(path, tokenizer, 2)
    word = next(word for word in vocabulary if not word.endswith("</w>"))
    path = export_identity(random_person(basis), basis, models, tmp_path, token=word)
    assert path.stem == word and "is a token of the model" in caplog.text
    assert kohya_refuses(path, tokenizer, 2) and sd_next_drops(path, tokenizer, 2)


def test_a_free_trigger_word_is_looked_for(models, basis, tmp_path, monkeypatch):
    tokenizer = models.encoders[0].tokenizer
    taken = tokenizer.get_vocab() | {"eve1": 0, "eve-person_1": 1, "eve-person-2</w>": 2}
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda self: taken)
    path = export_identity(random_person(basis, "eve"), basis, models, tmp_path)
    assert path.name == "eve-person-3.safetensors"
    path = export_identity(random_person(basis, "Zoë"), basis, models, tmp_path)
    assert re.fullmatch(r"zoe-[0-9a-f]{8}", path.stem)


@pytest.mark.parametrize("format", ["safetensors", "a1111"])
def test_invokeais_keys(format, ada, models, basis, sdxl, sdxl_basis, tmp_path):
    def width(content) -> int:
        """How wide it takes an embedding to be, by which it tells the models apart."""
        if "string_to_token" in content:
            return next(iter(content["string_to_param"].values())).shape[-1]
        known = [content[key].shape[-1] for key in ("emb_params", "clip_g") if key in content]
        return [*known, next(iter(content.values())).shape[0]][0]

    path = export_identity(ada, basis, models, tmp_path, format)
    assert width(read_tensor_file(path)) == 48
    path = export_identity(random_person(sdxl_basis), sdxl_basis, sdxl, tmp_path, format)
    assert width(read_tensor_file(path)) == 48  # of the second encoder
    path = export_identity(ada, basis, models, tmp_path, "diffusers")
    assert width(load_file(path)) == 2  # which it does not know, see the page


# --- and back


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(format, ada, models, basis, tmp_path):
    (back,) = import_identities(export_identity(ada, basis, models, tmp_path, format), basis)
    assert back.identity.name == "ada" and back.identity.basis_id == basis.id
    assert back.explained > 0.999999
    saved = load_identity(save_identity(back.identity, tmp_path / "people"), basis)
    assert torch.allclose(saved.coefficients, ada.coefficients, atol=2e-3)


def test_a_celebritys_embedding_lies_in_the_basis(basis, models, tmp_path):
    embeddings = person_embeddings(celebrity_names()[3], basis, models)
    save_file({"<star>": embeddings}, tmp_path / "star.safetensors")
    (star,) = import_identities(tmp_path / "star.safetensors", basis)
    assert star.identity.name == "star" and star.explained > 0.999
    # one vector is a first word, as a celebrity of one word is
    save_file({"emb_params": embeddings[:1]}, tmp_path / "one.safetensors")
    (one,) = import_identities(tmp_path / "one.safetensors", basis, name="uno")
    again = compose(basis, one.identity.coefficients)
    assert one.identity.name == "uno" and torch.allclose(again[1], basis.mean[1], atol=1e-5)


def test_the_first_textual_inversions_file(ada, basis, models, tmp_path):
    embeddings = person_embeddings(ada, basis, models)
    content = {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": nn.ParameterDict({"*": nn.Parameter(embeddings)}),
    }
    torch.save(content, tmp_path / "old.pt")
    (old,) = import_identities(tmp_path / "old.pt", basis)
    assert old.identity.name == "old" and old.explained > 0.999


def test_the_official_celeb_basis_file(basis, models, tmp_path):
    people = [
        person_embeddings(random_person(basis, seed=seed), basis, models).half() for seed in (0, 1)
    ]
    content = {"id_embeddings": [people[0], people[1], torch.zeros_like(people[0])]}
    torch.save(content, tmp_path / "official.pt")
    found = import_identities(tmp_path / "official.pt", basis)
    assert [person.identity.name for person in found] == ["official-1", "official-2"]
    for embeddings, person in zip(people, found, strict=True):
        assert torch.allclose(
            compose(basis, person.identity.coefficients), embeddings.float(), atol=1e-3
        )
    for key, value in (("id_coefficients", [torch.ones(2, 1, 512)]), ("meta_id_net", {})):
        torch.save({key: value}, tmp_path / "numbers.pt")
        with pytest.raises(EmbeddingUnusable, match=key):
            import_identities(tmp_path / "numbers.pt", basis)


def test_what_lies_elsewhere_is_refused_unless_less_is_asked_for(basis, tmp_path):
    path = tmp_path / "noise.safetensors"
    save_file({"emb_params": torch.randn(2, 48, generator=torch.Generator().manual_seed(0))}, path)
    with pytest.raises(EmbeddingUnusable, match=r"--min-explained 0\.\d\d") as caught:
        import_identities(path, basis)
    least = float(re.search(r"--min-explained (\S+)\.", str(caught.value)).group(1))
    (alike,) = import_identities(path, basis, min_explained=least)
    assert least <= alike.explained < 0.9


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ({"emb_params": torch.zeros(2, 768)}, "768 wide .SD 1.x., .* are 48"),
        ({"emb_params": torch.zeros(5, 48)}, "5 vectors, a person here has 2"),
        ({"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)}, "SDXL"),
    ],
)
def test_embeddings_of_another_kind(vectors, message, basis, tmp_path):
    save_file(vectors, tmp_path / "other.safetensors")
    with pytest.raises(EmbeddingUnusable, match=message):
        import_identities(tmp_path / "other.safetensors", basis)


def test_numbers_that_no_person_has(basis, tmp_path):
    """They would be infinite in the identity's file."""
    path = tmp_path / "huge.safetensors"
    for factor in (1e9, 1e30):
        save_file({"emb_params": basis.mean + factor * basis.components[:, 0]}, path)
        with pytest.raises(EmbeddingUnusable, match="is no person: its numbers"):
            import_identities(path, basis, min_explained=0.0)
    save_file({"emb_params": basis.mean}, path)
    with pytest.raises(EmbeddingUnusable):
        import_identities(path, basis, min_explained=float("nan"))


def test_an_identity_file_is_imported_as_it_is(ada, basis, tmp_path):
    path = save_identity(ada, tmp_path)
    (same,) = import_identities(path, basis)
    assert same.identity.name == "ada" and same.explained == 1
    assert torch.equal(same.identity.coefficients, ada.coefficients)
    path = path.rename(tmp_path / "ada.pt")
    assert import_identities(path, basis, "eve")[0].identity.name == "eve"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IdentityUnreadable, match="no identity file, or damaged"):
        import_identities(path, basis)
    stranger = replace(ada, basis_id="another")
    with pytest.raises(BasisMismatch):
        import_identities(save_identity(stranger, tmp_path), basis)


class Trap:
    """Runs code when it is unpickled without care."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_damaged_and_foreign_files(basis, tmp_path, monkeypatch):
    with pytest.raises(IdentityNotFound, match="no file"):
        import_identities(tmp_path / "none.pt", basis)
    (tmp_path / "text.safetensors").write_bytes(b"hello")
    (tmp_path / "text.pt").write_bytes(b"hello")
    torch.save({"string_to_param": Trap()}, tmp_path / "trap.pt")
    torch.save({"a": 1, "b": 2}, tmp_path / "keys.pt")
    torch.save({"a": 1}, tmp_path / "number.pt")
    torch.save([], tmp_path / "list.pt")
    torch.save({"a": torch.zeros(1, 2, 48)}, tmp_path / "batch.pt")
    torch.save({"a": torch.full((2, 48), torch.nan)}, tmp_path / "nan.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(IdentityUnreadable, match="known kind"):
            import_identities(path, basis)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(IdentityNotFound, match="no file .*pipe.pt"):
        import_identities(tmp_path / "pipe.pt", basis)
    with pytest.raises(IdentityNotFound, match="no learned_embeds.safetensors in"):
        import_identities(tmp_path, basis)
    save_file({"<" + "n" * 70 + ">": torch.zeros(2, 48)}, tmp_path / "long.safetensors")
    with pytest.raises(BadName, match="has 70 characters"):
        import_identities(tmp_path / "long.safetensors", basis)
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    with pytest.raises(EmbeddingUnusable, match="--model"):
        import_identities(tmp_path / "text.pt", basis)


# --- SDXL: two text encoders


@pytest.fixture
def xl_ada(sdxl_basis) -> Identity:
    return replace(random_person(sdxl_basis), base_model="sdxl")


@pytest.mark.parametrize("format", FORMATS)
def test_round_trip_of_sdxl(format, sdxl, sdxl_basis, xl_ada, tmp_path):
    path = export_identity(xl_ada, sdxl_basis, sdxl, tmp_path, format)
    (back,) = import_identities(path, sdxl_basis)
    assert back.identity.name == "ada" and back.explained > 0.999999
    assert torch.allclose(back.identity.coefficients, xl_ada.coefficients, atol=2e-3)


def test_fields_of_sdxl(sdxl, sdxl_basis, xl_ada, tmp_path):
    embeddings = person_embeddings(xl_ada, sdxl_basis, sdxl).split(sdxl_basis.widths, -1)
    parts = dict(zip(("clip_l", "clip_g"), embeddings, strict=True))
    found = load_file(export_identity(xl_ada, sdxl_basis, sdxl, tmp_path))
    path = export_identity(xl_ada, sdxl_basis, sdxl, tmp_path, "a1111")
    old = torch.load(path, weights_only=True)
    assert set(found) == set(parts) and list(old) == list(parts)
    for key, part in parts.items():
        assert torch.equal(found[key], part) and torch.equal(old[key], part)
    first = export_identity(xl_ada, sdxl_basis, sdxl, tmp_path, "diffusers")
    second = first.with_name("learned_embeds_2.safetensors")
    for file, part in zip((first, second), embeddings, strict=True):
        assert torch.equal(load_file(file)["<ada>"], part)


@pytest.mark.parametrize("format", FORMATS)
def test_plain_sdxl_has_the_same_hidden_states(
    format, sdxl_world, sdxl, sdxl_basis, xl_ada, tmp_path
):
    pipe = StableDiffusionXLPipeline.from_pretrained(sdxl_world)
    people = {"ada": xl_ada, "bob": random_person(sdxl_basis, "bob", 1)}
    for person in people.values():
        path = export_identity(person, sdxl_basis, sdxl, tmp_path, format)
        line = usage_notes(path)["diffusers"]
        assert line.endswith(f"prompt <{person.name}>")
        exec(line.split(", then prompt")[0], {"pipe": pipe})
    text = "<ada>, smiling, next to <bob>. a photo of <ada>"
    settled(pipe), settled(sdxl.pipeline)
    theirs = pipe.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
    ours = encode_prompt(parse_prompt(text, people), sdxl_basis, sdxl)
    assert torch.equal(theirs[0], ours.hidden_states) and torch.equal(theirs[2], ours.pooled)


def test_embeddings_of_another_model(sdxl, sdxl_basis, xl_ada, basis, tmp_path):
    with pytest.raises(EmbeddingUnusable, match="80 wide"):
        import_identities(export_identity(xl_ada, sdxl_basis, sdxl, tmp_path), basis)
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "sd1.safetensors")
    with pytest.raises(EmbeddingUnusable, match="768 wide .SD 1.x., .*are 80"):
        import_identities(tmp_path / "sd1.safetensors", sdxl_basis)
    save_file({"clip_g": torch.zeros(2, 1280)}, tmp_path / "half.safetensors")
    with pytest.raises(EmbeddingUnusable, match="second encoder alone"):
        import_identities(tmp_path / "half.safetensors", sdxl_basis)


def test_both_encoders_must_be_explained(sdxl, sdxl_basis, xl_ada, tmp_path):
    first, _ = person_embeddings(xl_ada, sdxl_basis, sdxl).split(sdxl_basis.widths, -1)
    noise = torch.randn(2, 48, generator=torch.Generator().manual_seed(0))
    parts = {"clip_l": first.contiguous(), "clip_g": noise}
    save_file(parts, tmp_path / "x.safetensors")
    with pytest.raises(EmbeddingUnusable, match="--min-explained"):
        import_identities(tmp_path / "x.safetensors", sdxl_basis)


@pytest.mark.toonville
def test_the_pages_python_runs(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parent.parent
    shutil.copytree(root / "identities", tmp_path / "identities")
    monkeypatch.chdir(tmp_path)
    page = (root / "docs" / "textual_inversion.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    path = Path("embeddings/ada-person.safetensors")  # “ada” is a token of the model
    assert capsys.readouterr().out.split() == [str(path), "100%"]
    assert path.stat().st_size < 7000
