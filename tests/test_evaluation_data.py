from __future__ import annotations

import pytest
import torch
from conftest import portrait
from PIL import Image

from celeb_core.errors import FeatureMissing, UsageError
from celeb_core.evaluation.data import EDITS, load_evaluation_set, load_photo_set
from celeb_core.evaluation.judges import PackJudge
from celeb_core.faces import find_face


def test_other_seeds_choose_other_people(evaluated):
    first, again, other = (load_evaluation_set(evaluated, seed, 5) for seed in (0, 0, 1))
    assert first.index == again.index != other.index
    assert first.celebrities == again.celebrities != other.celebrities
    assert len(first.people) == 5


def test_photos_and_gallery_belong_together(evaluated):
    data = load_evaluation_set(evaluated, 3, 4)
    for person, index in zip(data.people, data.index, strict=True):
        face = person.faces[0]
        image = portrait(255 - 4 * index)
        assert float(data.judge.embed(image, [face])[0] @ data.gallery[index]) > 0.999


def test_celebrities_have_the_embeddings_of_their_names(evaluated):
    everybody = load_evaluation_set(evaluated, 0, 20)
    by_name = dict(zip(everybody.celebrities, everybody.celebrity_embeddings, strict=True))
    other = load_evaluation_set(evaluated, 1, 20)
    both = set(everybody.celebrities) & set(other.celebrities)
    assert both
    for name, embedding in zip(other.celebrities, other.celebrity_embeddings, strict=True):
        assert name not in both or torch.equal(embedding, by_name[name])


def test_more_people_than_there_are(evaluated):
    with pytest.raises(UsageError, match="There are 20 people"):
        load_evaluation_set(evaluated, 0, 21)


def test_models_without_an_evaluation_set(studio):
    with pytest.raises(FeatureMissing, match="--model toonville"):
        load_evaluation_set(studio, 0, 2)


@pytest.fixture
def photos(tmp_path):
    """A folder of Ada (three photos), of Bob (one), and of what is no photo of a person."""
    folder = tmp_path / "photos"
    (folder / "ada").mkdir(parents=True)
    for number, shade in enumerate((255, 230, 220)):
        portrait(shade).save(folder / "ada" / f"{number}.png")
    portrait(190).save(folder / "Bob Smith.jpg", quality=95)
    Image.new("RGB", (128, 128), "blue").save(folder / "nobody.png")
    (folder / "notes.txt").write_text("who they are")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "empty").mkdir()
    return folder


def test_a_folder_of_photos(studio, photos, caplog):
    data = load_photo_set(studio, photos, PackJudge(), 0)
    bob, ada = data.people
    assert (ada.name, bob.name) == ("ada", "Bob Smith")
    source = find_face(photos / "ada" / "0.png", studio.faces)
    assert torch.equal(ada.faces[0].embedding, source.embedding) and len(ada.faces) == 1
    left_out = {line.split(": ")[1] for line in caplog.messages if line.startswith("left out")}
    assert left_out == {"nobody.png", "notes.txt"}
    assert len(data.celebrities) == 2 and len(data.celebrity_embeddings) == 0
    assert [edit.prompt for edit in data.prompts] == list(EDITS)


def test_a_photo_that_is_trained_on_is_no_reference_where_there_are_others(studio, photos):
    data = load_photo_set(studio, photos, PackJudge(), 0)
    bob, ada = (data.gallery[at] for at in data.index)
    others = [find_face(photos / "ada" / f"{i}.png", studio.faces).embedding for i in (1, 2)]
    mean = torch.nn.functional.normalize(torch.stack(others).mean(0), dim=0)
    assert torch.allclose(ada, mean, atol=1e-6)
    assert not torch.allclose(ada, data.people[1].faces[0].embedding, atol=1e-3)
    assert torch.allclose(bob, data.people[0].faces[0].embedding, atol=1e-6)
    assert data.notes[0].startswith("Of 1 of 2 people there is one photo")


def test_the_seed_chooses_among_the_people_of_a_folder(studio, photos):
    for name in ("cleo", "dan", "eve"):
        portrait(210).save(photos / f"{name}.png")
    chosen = set()
    for seed in range(6):
        (person,) = load_photo_set(studio, photos, PackJudge(), seed, 1).people
        chosen.add(person.name)
    assert len(chosen) > 1


def test_folders_that_cannot_be_used(studio, photos, tmp_path):
    with pytest.raises(UsageError, match="has 2 people .* 3 are wanted"):
        load_photo_set(studio, photos, PackJudge(), 0, 3)
    portrait().save(photos / "ada.png")
    with pytest.raises(UsageError, match="Two people of .* are called “ada”"):
        load_photo_set(studio, photos, PackJudge(), 0)
    empty = tmp_path / "none"
    empty.mkdir()
    with pytest.raises(UsageError, match="has 0 people"):
        load_photo_set(studio, empty, PackJudge(), 0)
