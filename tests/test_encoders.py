"""Two text encoders, as in SDXL: all that one does, side by side."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import celebrity_names, portrait
from PIL import Image
from safetensors.torch import load_file, save_file
from stable_diffusion import SDXL, settled, write_folder
from ui_help import finish, make_page

from celeb_core import (
    PRESETS,
    CoefficientMapper,
    Identity,
    SampleConfig,
    build_basis,
    compose,
    encode_prompt,
    export_identity,
    fit,
    fit_identities,
    generate,
    import_identities,
    interpolate,
    load_basis,
    load_identity,
    load_models,
    look_at_people,
    parse_prompt,
    project,
    save_basis,
    save_checkpoint,
    save_identity,
    words_of,
)
from celeb_core.__main__ import main
from celeb_core.basis import token_embeddings, token_ids
from celeb_core.denoising import Denoising
from celeb_core.errors import BasisMismatch, EmbeddingUnusable
from celeb_core.interop import FORMATS, usage
from celeb_core.models import Studio
from celeb_core.prompt import encode_texts
from celeb_core.scoring import Examiners
from celeb_core.start import fit_start, text_states

A = celebrity_names()[0]
BRIEF = replace(PRESETS["fast"], steps=2, views=2, batch_size=2)
NAMES = ("clip_l", "clip_g")


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("models") / "sdxl", SDXL)
    (folder / "names.txt").write_text("\n".join(celebrity_names()))
    about = json.loads((world / "studio.json").read_text())
    (folder / "studio.json").write_text(json.dumps({"faces": about["faces"]}))
    shutil.copytree(world / "faces", folder / "faces")
    return folder


@pytest.fixture(scope="module")
def xl(folder):
    return load_models(folder, device="cpu")


@pytest.fixture(scope="module")
def two(xl):
    """The basis of both encoders."""
    return build_basis(celebrity_names(), xl)


@pytest.fixture
def ada(two) -> Identity:
    return somebody(two)


def somebody(basis, name="ada", seed=0) -> Identity:
    numbers = torch.randn(2, basis.p, generator=torch.Generator().manual_seed(seed))
    return Identity(name, (numbers * (basis.std > 0)).half().float(), basis.id, "sdxl")


def test_each_encoder_has_a_basis_of_its_own(xl, two):
    assert two.widths == (32, 48) and two.mean.shape == (2, 80) and len(two.ranks) == 4
    size = two.p // 2
    for number, encoder in enumerate(xl.encoders):
        own = slice(number * size, (number + 1) * size)
        inside = two.components[:, own, encoder.share]
        for position in (0, 1):
            rank = two.ranks[2 * position + number]
            used = inside[position, :rank].double()
            assert torch.allclose(used @ used.T, torch.eye(rank).double(), atol=1e-5)
        outside = two.components[:, own].clone()
        outside[..., encoder.share] = 0
        assert (outside == 0).all()
        rows = token_embeddings(token_ids(A, encoder.tokenizer), encoder)
        assert torch.equal(words_of(A, two, xl)[:, encoder.share], rows)
    words = words_of(A, two, xl)
    assert torch.allclose(compose(two, project(two, words)), words, atol=2e-3)


def test_the_basis_is_that_of_both(xl, two, tmp_path):
    save_basis(two, tmp_path / "basis.pt")
    again = load_basis(tmp_path / "basis.pt")
    assert (again.id, again.widths, again.ranks) == (two.id, two.widths, two.ranks)
    table = xl.encoders[1].table
    token = token_ids(A, xl.encoders[1].tokenizer)[0]
    kept = table.data[token, 0].item()
    try:
        table.data[token, 0] += 0.5
        assert build_basis(celebrity_names(), xl).id != two.id
    finally:
        table.data[token, 0] = kept


def test_words_and_gradients_are_those_of_real_tokens(xl, two):
    """In both encoders and in the whole text's output, in float64."""
    text, place = "a photo of {} in space", slice(4, 6)
    try:
        for encoder in xl.encoders:
            encoder.model.double()
        real, words = [], []
        for encoder in xl.encoders:
            ids = encoder.tokenizer(text.format(A), padding="max_length", return_tensors="pt")
            rows = encoder.table.detach()[ids.input_ids].requires_grad_()
            hook = encoder.model.get_input_embeddings().register_forward_hook(
                lambda *_, rows=rows: rows
            )
            real.append((encoder.read(ids.input_ids), rows))
            hook.remove()
            words.append(rows[0, place].detach())
        states = torch.cat([said[0] for said, _ in real], -1)
        pooled = real[1][0][1]
        person = torch.cat(words, -1).requires_grad_()
        ours = encode_texts([text.format("<x>")], [{"x": person}], 2, xl.encoders)
        assert torch.allclose(ours.states, states, atol=1e-12)
        assert torch.allclose(ours.pooled, pooled, atol=1e-12) and pooled.shape == (1, 24)
        generator = torch.Generator().manual_seed(0)
        likes = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (states, pooled)]
        for said in ((states, pooled), (ours.states, ours.pooled)):
            sum((a * b).sum() for a, b in zip(said, likes, strict=True)).backward()
        expected = torch.cat([rows.grad[0, place] for _, rows in real], -1)
        assert expected.abs().min() > 0
        assert torch.allclose(person.grad, expected, rtol=1e-6, atol=1e-9)
        assert all(p.grad is None for encoder in xl.encoders for p in encoder.model.parameters())
    finally:
        for encoder in xl.encoders:
            encoder.model.float()


@pytest.mark.parametrize("norm", ["paper", "radius-learned"])
def test_coefficients_are_normed_per_encoder(norm, two):
    mapper = CoefficientMapper(two, norm)
    face = torch.nn.functional.normalize(torch.randn(1, 512), dim=1)
    numbers = mapper(face).detach()
    lengths = (
        (numbers * two.std if norm == "paper" else numbers).unflatten(-1, (2, -1)).norm(dim=-1)
    )
    wanted = torch.ones(4) if norm == "paper" else mapper.radius
    full = torch.tensor(two.ranks) == two.p // 2  # padded ones spend a part of it on nothing
    assert full.any() and torch.allclose(lengths.flatten()[full], wanted[full], atol=1e-5)


def test_training_hears_what_drawing_hears(xl, two, person, monkeypatch):
    heard = []
    forward = xl.unet.forward

    def listening(*args, **kwargs):
        heard.append(kwargs["added_cond_kwargs"])
        return forward(*args, **kwargs)

    monkeypatch.setattr(xl.unet, "forward", listening)
    fit([person], xl, two, replace(BRIEF, steps=1))
    generate(parse_prompt("a photo", {}), xl, two, SampleConfig(steps=1, guidance=1.0))
    trained, drawn = heard
    sizes = [64, 64, 0, 0, 64, 64]  # full, nothing cropped, wanted
    assert trained["time_ids"].tolist() == [sizes] * 2 and drawn["time_ids"].tolist() == [sizes]
    assert trained["text_embeds"].shape == (2, 24) and drawn["text_embeds"].shape == (1, 24)


def test_people_train_together_and_go_on_later(xl, two, people, tmp_path):
    config = replace(BRIEF, steps=4)
    whole = fit(people[:2], xl, two, config)
    for step in fit_identities(people[:2], xl, two, config):
        if step.step == 2:
            save_checkpoint(step, tmp_path / "run")
            break
    *_, last = fit_identities(people[:2], xl, two, config, resume=tmp_path / "run")
    for name, identity in whole.items():
        assert torch.equal(last.identities[name].coefficients, identity.coefficients)
        size = two.p // 2
        earlier = step.identities[name].coefficients
        for own in (slice(size), slice(size, None)):  # each encoder's coefficients are learned
            assert not torch.equal(identity.coefficients[:, own], earlier[:, own])


def test_the_file_is_small_and_of_this_model_only(xl, two, ada, basis, models, tmp_path):
    path = save_identity(replace(ada, settings={"preset": "best", "trained": 60}), tmp_path)
    assert path.stat().st_size < 2 * ada.coefficients.numel() + 1024
    again = load_identity(path, two)
    assert torch.equal(again.coefficients, ada.coefficients)
    with pytest.raises(BasisMismatch, match="sdxl"):
        load_identity(path, basis)
    with pytest.raises(BasisMismatch, match="tinyville"):
        words_of(replace(somebody(basis), base_model="tinyville"), two, xl)


def test_the_start_finds_words_for_both_encoders(xl, two):
    """With faces that are a linear function of what the encoders make of known people."""
    known = torch.randn(64, two.k, two.p, generator=torch.Generator().manual_seed(3))
    states = text_states(compose(two, known), xl)
    mixing = torch.randn(states.shape[1], 512, generator=torch.Generator().manual_seed(2))
    faces = torch.nn.functional.normalize((states - states.mean(0)) @ mixing, dim=1)
    down, up, bias, directions = fit_start(faces, known, two, xl)
    assert directions.unflatten(0, (two.k, 2, -1)).norm(dim=2).min() > 0  # of both encoders
    found = (faces[:6] @ down.T @ up.T + bias).unflatten(1, (two.k, two.p))
    said = text_states(compose(two, found), xl)
    first = states.shape[1] * xl.encoders[0].share.stop // two.mean.shape[1]
    for part in (slice(0, first), slice(first, None)):
        nearest = torch.cdist(said[:, part], states[:, part]).argmin(1)
        assert (nearest == torch.arange(6)).float().mean() >= 0.8


def test_calibration_draws_the_celebrities(xl, two, studio):
    drawn = Studio(replace(xl, steps=1), studio.faces, two, None, Examiners())
    *_, rows = look_at_people(drawn, mixtures=1, names=[A])
    assert rows.coefficients.shape == (2, two.k, two.p) and rows.planned == 2


def test_strength_and_mixtures(xl, two, ada):
    config = SampleConfig(steps=2, seed=1)

    def picture(person):
        prompt = parse_prompt("a photo of <x>", {"x": person})
        return np.asarray(generate(prompt, xl, two, config)[0]).astype(int)

    nobody = replace(ada, coefficients=ada.coefficients * 0)
    assert (picture(nobody) == picture(two.mean)).all()
    assert (picture(ada) != picture(nobody)).any()
    words = interpolate(ada, A, 0.25, two, xl)
    assert torch.allclose(words, 0.25 * words_of(ada, two, xl) + 0.75 * words_of(A, two, xl))
    assert (picture(words) != picture(ada)).any()


def test_people_can_come_late(xl, two, ada):
    """What is said of the text as a whole changes with them."""

    def picture(person, delay):
        prompt = parse_prompt("a photo of <x>", {"x": person})
        config = SampleConfig(steps=4, seed=1, delay=delay)
        return np.asarray(generate(prompt, xl, two, config)[0]).astype(int)

    nobody = picture(two.mean, 0.0)
    assert (picture(two.mean, 0.5) == nobody).all()
    assert (picture(ada, 1.0) == nobody).all()
    late = picture(ada, 0.25)
    assert (late != nobody).any() and (late != picture(ada, 0.0)).any()


def test_what_is_not_wanted(xl, two, ada):
    """Nothing is zeros, as in diffusers; a text is encoded."""
    prompt = parse_prompt("a photo of <ada>", {"ada": ada})

    def picture(negative):
        config = SampleConfig(steps=2, negative_prompt=negative)
        return np.asarray(generate(prompt, xl, two, config)[0])

    assert (picture("") != picture("hat")).any()
    xl.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    try:
        unforced = picture("")
    finally:
        xl.pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    assert (unforced != picture("")).any()


@pytest.mark.parametrize("format", FORMATS)
def test_export_and_import(format, xl, two, ada, tmp_path):
    path = export_identity(ada, two, xl, tmp_path, format)
    (back,) = import_identities(path, two)
    assert back.identity.name == "ada" and back.kept > 0.999999
    assert torch.allclose(back.identity.coefficients, ada.coefficients, atol=2e-3)


def test_fields_that_the_loaders_look_at(xl, two, ada, tmp_path):
    words = words_of(ada, two, xl)
    parts = dict(zip(NAMES, words.split(two.widths, -1), strict=True))
    found = load_file(export_identity(ada, two, xl, tmp_path))
    assert set(found) == set(NAMES)
    old = torch.load(export_identity(ada, two, xl, tmp_path, "a1111"), weights_only=True)
    assert list(old) == list(NAMES)
    for key, part in parts.items():
        assert torch.equal(found[key], part) and torch.equal(old[key], part)
    first = export_identity(ada, two, xl, tmp_path, "diffusers")
    second = first.with_name("learned_embeds_2.safetensors")
    for file, part in zip((first, second), parts.values(), strict=True):
        assert torch.equal(load_file(file)["<ada>"], part)


@pytest.mark.parametrize("format", FORMATS)
def test_plain_diffusers_hears_the_same(format, folder, xl, two, ada, tmp_path):
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(folder)
    people = {"ada": ada, "bob": somebody(two, "bob", 1)}
    for person in people.values():
        line = usage(export_identity(person, two, xl, tmp_path, format))["diffusers"]
        assert line.endswith(f"prompt <{person.name}>")
        exec(line.split(", then prompt")[0], {"pipe": pipe})
    text = "<ada>, smiling, next to <bob>. a photo of <ada>"
    settled(pipe), settled(xl.pipeline)
    theirs = pipe.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
    ours = encode_prompt(parse_prompt(text, people), two, xl)
    assert torch.equal(theirs[0], ours.states) and torch.equal(theirs[2], ours.pooled)


def test_embeddings_of_another_model(xl, two, ada, basis, tmp_path):
    with pytest.raises(EmbeddingUnusable, match="80 wide"):
        import_identities(export_identity(ada, two, xl, tmp_path), basis)
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "sd1.safetensors")
    with pytest.raises(EmbeddingUnusable, match="768 wide .SD 1.x., .*are 80"):
        import_identities(tmp_path / "sd1.safetensors", two)
    save_file({"clip_g": torch.zeros(2, 1280)}, tmp_path / "half.safetensors")
    with pytest.raises(EmbeddingUnusable, match="second encoder alone"):
        import_identities(tmp_path / "half.safetensors", two)


def test_the_least_of_both_encoders_is_what_is_kept(xl, two, ada, tmp_path):
    words = dict(zip(NAMES, words_of(ada, two, xl).split(two.widths, -1), strict=True))
    words["clip_g"] = torch.randn(2, 48, generator=torch.Generator().manual_seed(0))
    save_file({key: part.contiguous() for key, part in words.items()}, tmp_path / "x.safetensors")
    with pytest.raises(EmbeddingUnusable, match="--least"):
        import_identities(tmp_path / "x.safetensors", two)


def test_latents_of_a_vae_that_overflows_in_half_precision(folder, person):
    half = load_models(folder, device="cpu", dtype="float16")
    assert half.vae.config.force_upcast and half.vae.dtype == torch.float16
    with torch.no_grad():  # what comes out of the first layer is too large for float16
        half.vae.encoder.conv_in.weight.mul_(2e5)
    latents, _ = Denoising([person], half, BRIEF).batches(0)
    assert latents.dtype == torch.float16 and latents.isfinite().all()
    assert half.vae.dtype == torch.float16


def test_from_the_command_line(folder, ada, two, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_identity(ada, tmp_path / "identities")
    common = ("--model", str(folder), "--device", "cpu", "--cache", "cache")
    assert main(["basis", *common]) == 0
    assert f"{two.id}: 40 names" in capsys.readouterr().out
    assert main(["export", "ada", *common]) == 0
    assert "clip_g" in capsys.readouterr().out
    assert main(["import", "embeddings/ada.safetensors", "--name", "eve", *common]) == 0
    assert "<eve>, 100.0% kept" in capsys.readouterr().out
    portrait().save("bob.png")
    assert main(["train", "bob.png", "--name", "bob", "--steps", "1", *common]) == 0
    assert main(["generate", "<bob> with <eve>", "--steps", "2", *common]) == 0
    picture = Image.open(capsys.readouterr().out.splitlines()[-1])
    assert picture.size == (96, 64)  # wider for two


def test_the_page_trains_and_draws(xl, two, studio, tmp_path):
    page = make_page(replace(studio, models=replace(xl, steps=2), basis=two), tmp_path)
    try:
        workspace = page.shared.workspace("")
        workspace.enlist(workspace.add_photo(portrait(), "ada"), 0, "ada", consent=True)
        assert page.train.start(list(workspace.trainees), "fast", 1, 0, "") == ""
        job = finish(page.train.job(""))
        assert job.status == "done", job.error
        form = {"count": 1, "seed": 5, "fresh": False, "crowd": [], "signed": True, "session": ""}
        form |= {"steps": 2, "guidance": 3.0, "strength": 0.5}
        assert page.compose.start(text="a photo of <ada>", **form)[0] == ""
        job = finish(page.compose.results.job(""))
        assert job.status == "done", job.error
        assert len(job.pictures) == 1
    finally:
        page.shared.runner.close()
