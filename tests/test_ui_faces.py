from __future__ import annotations

import io
import secrets
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import gradio as gr
import pytest
from conftest import portrait
from PIL import Image, ImageFilter
from test_faces import two_faces
from ui_help import make_page, opened_page, selected

from celeb_core import load_studio
from celeb_core.errors import CelebError, SettingsError
from ui.names import name_hint
from ui.photo_view import Choice
from ui.trainee_files import MADE_UP


@pytest.fixture
def page(studio, tmp_path):
    yield from opened_page(studio, tmp_path)


@pytest.fixture
def view(page):
    return page.faces.view


def stored(folder, image, name="ada.png", **options):
    path = folder / name
    image.save(path, **options)
    return str(path)


def received(page, path):
    """As the server puts an upload into its cache."""
    folder = page.shared.files.cache / secrets.token_hex(32)
    folder.mkdir()
    upload = shutil.copy(path, folder)
    page.shared.uploads.add("", Path(upload), 1000)
    return upload


def upload(page, *paths):
    return page.faces.upload([received(page, path) for path in paths], "")


def size_of(path):
    with Image.open(path) as image:
        return image.size


def use(page, name, choice):
    return page.faces.use(name, True, False, choice, "")


def test_one_face_is_chosen_and_the_name_comes_from_the_file(page, view, tmp_path):
    shown = upload(page, stored(tmp_path, portrait()))
    assert shown[page.faces.problem] == "" and shown[page.faces.drop] is None
    assert shown[view.choice].face == 0
    assert shown[view.name] == "ada"
    assert not shown[view.use_button]["interactive"]
    checked = page.faces.check("ada", True, shown[view.choice], "")
    assert checked[view.use_button]["interactive"]
    assert size_of(shown[view.crop]["value"]) == (112, 112)
    assert not list(page.shared.files.cache.glob("*/ada.png"))


def test_a_photo_upside_down_is_shown_and_kept_upright(page, view, tmp_path, studio, monkeypatch):
    photo = portrait(at=(2, 1))
    monkeypatch.setattr("celeb_core.faces.quarter_turns", lambda photo, detect: 2)
    shown = upload(page, stored(tmp_path, photo.rotate(180)))
    assert "The photo was turned upright by 180 degrees" in shown[view.quality]
    workspace = page.shared.workspace("")
    (kept,) = workspace.photos.values()
    assert kept.image.tobytes() == photo.tobytes() and kept.faces[0].box[0] == 64
    workspace.use(replace(studio.faces))
    assert kept.faces[0].turned == 180 and kept.faces[0].box[0] == 64
    trainee = workspace.enlist(kept, 0, "ada", consent=True)
    (path,) = (workspace.private / "people" / trainee.id).glob("*.png")
    assert Image.open(path).tobytes() == photo.tobytes()


def test_an_image_of_the_camera_is_a_photo_without_a_name(page, view, tmp_path):
    shown = page.faces.snap(received(page, stored(tmp_path, portrait(), "webcam.png")), "")
    assert shown[page.faces.camera] is None and shown[page.faces.problem] == ""
    assert shown[view.choice].face == 0 and shown[view.name] == ""
    assert not list(page.shared.files.cache.glob("*/webcam.png"))


def test_a_camera_that_is_put_away_changes_nothing(page):
    assert page.faces.snap(None, "") == {page.faces.camera: gr.skip()}


def test_of_several_faces_one_is_chosen_by_a_click_or_a_number(page, view, tmp_path):
    shown = upload(page, stored(tmp_path, two_faces()))
    choice = shown[view.choice]
    assert choice.face is None and not shown[view.use_button]["interactive"]
    assert shown[view.numbers]["choices"] == [1, 2]
    width, height = size_of(shown[view.photo]["value"])
    clicked = page.faces.click("Bo", choice, "", selected((0.75 * width, height / 2)))
    assert clicked[view.choice].face == 1
    assert clicked[view.name] == "Bo" and clicked[view.consent]["value"] is False
    assert page.faces.number(1, "Bo", choice, "")[view.choice].face == 0
    for wrong in (0, 3, float("nan"), "1", None, [1]):
        with pytest.raises(SettingsError, match="The face is .*: give a whole number from 1 to 2"):
            page.faces.number(wrong, "Bo", choice, "")


def test_another_uploaded_photo_is_one_click_away(page, view, tmp_path):
    paths = [stored(tmp_path, portrait(255 - 25 * n), f"{name}.png") for n, name in enumerate("ab")]
    shown = upload(page, *paths)
    assert shown[view.photos]["visible"] and len(shown[view.photos]["value"]) == 2
    other = page.faces.switch("", selected(1))
    assert other[view.choice].photo not in ("", shown[view.choice].photo)


def test_a_chosen_face_goes_into_the_training_list_and_survives_a_restart(
    page, view, studio, tmp_path
):
    shown = upload(page, stored(tmp_path, two_faces(), "us.png"))
    choice = page.faces.number(2, "", shown[view.choice], "")[view.choice]
    assert "Bo is in the training list" in use(page, "Bo", choice)[page.faces.problem]
    (bo,) = page.shared.workspace("").trainees.values()
    again = make_page(studio, tmp_path).shared.workspace("")
    (restored,) = again.trainees.values()
    assert (restored.name, restored.id) == ("Bo", bo.id)
    assert (restored.reference() - bo.reference()).abs().max() < 1e-4


def test_the_same_name_again_joins_the_photos(page, view, tmp_path):
    for shade in (255, 230):
        shown = upload(page, stored(tmp_path, portrait(shade)))
        use(page, "ada", shown[view.choice])
    (ada,) = page.shared.workspace("").trainees.values()
    assert len(ada.faces) == 2
    assert ada.reference().norm().item() == pytest.approx(1)


def test_all_photos_with_one_face_can_be_joined_at_once(page, view, tmp_path):
    paths = [stored(tmp_path, portrait(255 - 25 * n), f"{n}.png") for n in range(3)]
    shown = upload(page, *paths, stored(tmp_path, two_faces(), "us.png"))
    assert shown[view.join]["visible"] and "3 photos" in shown[view.join]["label"]
    page.faces.use("ada", True, True, shown[view.choice], "")
    (ada,) = page.shared.workspace("").trainees.values()
    assert len(ada.faces) == 3
    assert [photo.label for photo in page.shared.workspace("").photos.values()] == ["us.png"]


def test_nobody_is_used_without_consent(page, view, tmp_path):
    shown = upload(page, stored(tmp_path, portrait()))
    choice = shown[view.choice]
    assert shown[view.consent]["visible"] and shown[view.consent]["value"] is False
    assert not page.faces.check("ada", False, choice, "")[view.use_button]["interactive"]
    refused = page.faces.use("ada", False, False, choice, "")
    assert list(refused) == [page.faces.problem] and "likeness" in refused[page.faces.problem]
    assert not page.shared.workspace("").trainees
    assert choice.photo in page.shared.workspace("").photos


def test_a_poor_photo_is_told_with_what_to_do(page, view, tmp_path):
    shown = upload(page, stored(tmp_path, portrait()))
    assert "Turned" not in shown[view.quality]
    soft = portrait().filter(ImageFilter.GaussianBlur(6))
    shown = upload(page, stored(tmp_path, soft))
    assert "Blurred" in shown[view.quality] and "sharper" in shown[view.quality]


def test_a_removed_person_leaves_no_photo_behind(page, view, tmp_path):
    training = page.faces.training
    shown = upload(page, stored(tmp_path, portrait()))
    use(page, "ada", shown[view.choice])
    picked = training.pick("", selected(0))
    assert picked[training.remove_button]["value"] == "Remove ada"
    left = training.remove(picked[training.picked], "")
    assert not left[training.people]["visible"] and not left[training.remove_button]["visible"]
    assert not page.shared.workspace("").trainees
    assert not list(tmp_path.rglob("1.png"))
    training.remove("../..", "")  # an id that is not ours is nobody's
    assert tmp_path.is_dir()


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


BAD = {
    "text.jpg": b"this is no image",
    "empty.png": b"",
    "cut.jpg": jpeg(portrait(side=512))[:900],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_the_good_one_beside_it_is_read(page, view, tmp_path, name):
    bad = tmp_path / name
    bad.write_bytes(BAD[name])
    shown = upload(page, str(bad), stored(tmp_path, portrait()))
    problem = shown[page.faces.problem]
    assert name in problem and "Save it again" in problem
    assert str(tmp_path) not in problem
    assert shown[view.choice].face == 0


def test_a_tiny_image_and_one_without_faces_say_what_to_do(page, tmp_path):
    tiny = stored(tmp_path, Image.new("RGB", (1, 1)), "tiny.png")
    nobody = stored(tmp_path, Image.new("RGB", (300, 200), "green"), "nobody.png")
    problem = upload(page, tiny, nobody)[page.faces.problem]
    assert "1 x 1 pixels" in problem and "No face found" in problem
    assert "Tinyville knows only red squares" in problem


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "L", "P"])
def test_images_of_all_kinds_are_read(page, tmp_path, mode):
    image = portrait().convert(mode)
    problem = upload(page, stored(tmp_path, image, "a.tiff"))[page.faces.problem]
    if mode == "L":  # grey: no red square
        assert "No face found" in problem
    else:
        assert problem == ""


def test_a_rotated_photo_is_turned_upright_and_heic_is_read(page, view, tmp_path):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    turned = Image.Exif()
    turned[0x0112] = 6
    photo = stored(tmp_path, portrait(at=(0, 0)), "a.jpg", exif=turned, quality=95)
    choice = upload(page, photo)[view.choice]
    (face,) = page.shared.workspace("").photos[choice.photo].faces
    assert face.box[0] == pytest.approx(64, abs=2)
    assert upload(page, stored(tmp_path, portrait(), "b.heic"))[page.faces.problem] == ""


@pytest.mark.slow
def test_an_image_of_a_hundred_megapixels_is_shown_small(page, view, tmp_path):
    huge = portrait().resize((10_000, 10_000), Image.Resampling.NEAREST)
    shown = upload(page, stored(tmp_path, huge, "huge.png"))
    assert shown[page.faces.problem] == ""
    assert max(size_of(shown[view.photo]["value"])) < 1000


@pytest.mark.parametrize("name", ["", "a/b", "a<b", "x" * 300, "..\\up", "tab\there"])
def test_bad_names_say_why_and_lose_nothing(page, view, tmp_path, name):
    choice = upload(page, stored(tmp_path, portrait()))[view.choice]
    checked = page.faces.check(name, True, choice, "")
    assert checked[view.hint] and not checked[view.use_button]["interactive"]
    use(page, name, choice)
    assert not page.shared.workspace("").trainees
    assert choice.photo in page.shared.workspace("").photos


@pytest.mark.parametrize("name", ["Zoë", "🦊", "张伟", 'O\'Hara "Bo" & Co', "x" * 64, "{{name}}"])
def test_any_other_name_will_do(page, view, tmp_path, name):
    training = page.faces.training
    use(page, name, upload(page, stored(tmp_path, portrait()))[view.choice])
    rows = training.refresh("")[training.people]["value"]
    assert [label for _, label in rows] == [name]


def test_a_full_disk_is_told_and_the_face_is_still_there(page, view, tmp_path, monkeypatch):
    choice = upload(page, stored(tmp_path, portrait()))[view.choice]

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        assert "No space left" in use(page, "ada", choice)[page.faces.problem]
    assert "ada is in the training list" in use(page, "ada", choice)[page.faces.problem]


def test_a_taken_name_is_pointed_out(page, view, tmp_path):
    use(page, "ada", upload(page, stored(tmp_path, portrait()))[view.choice])
    hint, good = name_hint("ada", page.shared.workspace(""))
    assert good and "one more photo" in hint


def test_without_a_chosen_face_nothing_is_used(page):
    assert "Choose a face first" in use(page, "ada", Choice("gone", 0))[page.faces.problem]


def test_a_photograph_leads_to_another_model(studio, tmp_path, monkeypatch):
    page = make_page(replace(studio, faces=replace(studio.faces, drawn=True)), tmp_path)
    card, blank = page.faces.other.card, Image.new("RGB", (128, 128), "blue")
    assert upload(page, stored(tmp_path, blank))[card]["visible"]
    assert not upload(page, stored(tmp_path, portrait()))[card]["visible"]
    monkeypatch.setattr("celeb_core.faces.is_photograph", lambda aligned: True)
    shown = upload(page, stored(tmp_path, portrait()))
    assert shown[card]["visible"]
    shown = page.faces.discard(shown[page.faces.view.choice], "")
    assert not shown[card]["visible"]


def test_a_model_of_photographs_leads_nowhere_else(page, tmp_path):
    blank = stored(tmp_path, Image.new("RGB", (128, 128), "blue"))
    shown = upload(page, blank)
    assert "No face found" in shown[page.faces.problem]
    assert not shown[page.faces.other.card]["visible"]


@pytest.fixture
def with_examples(measured_world, tmp_path):
    return make_page(load_studio(measured_world, device="cpu"), tmp_path)


def test_examples_are_one_click_away(with_examples):
    faces = with_examples.faces
    assert len(with_examples.shared.examples()) == 8
    for index in (2, 3):
        shown = faces.example("", selected(index))
    assert shown[faces.problem] == "" and shown[faces.view.name] == "Drew"
    assert shown[faces.view.use_button]["interactive"]
    assert len(with_examples.shared.workspace("").photos) == 1


def test_an_example_that_is_clicked_twice_is_the_same_photo(with_examples):
    faces = with_examples.faces
    first, second = (faces.example("", selected(1))[faces.view.choice] for _ in range(2))
    assert first == second
    used = faces.use("Billie", False, False, first, "")
    assert "Billie is in the training list" in used[faces.problem]
    assert faces.example("", selected(1))[faces.view.choice] != first  # it has left the tab


def test_an_example_is_not_joined_with_photos_of_another_person(with_examples, tmp_path):
    faces = with_examples.faces
    upload(with_examples, *[stored(tmp_path, portrait(255 - 25 * n), f"{n}.png") for n in (0, 1)])
    shown = faces.example("", selected(3))
    assert shown[faces.view.name] == "Drew" and not shown[faces.view.join]["visible"]


def test_consent_is_asked_once_per_person_and_recorded(page, view):
    workspace = page.shared.workspace("")
    first, second, third = (workspace.add_photo(portrait(shade), "x") for shade in (255, 230, 200))
    workspace.enlist(first, 0, "ada", consent=True)
    choice = view.show(workspace, second)[view.choice]
    asked = page.faces.check("ada", False, choice, "")
    assert not asked[view.consent]["visible"] and asked[view.use_button]["interactive"]
    asked = page.faces.check("bob", False, choice, "")
    assert asked[view.consent]["visible"] and not asked[view.use_button]["interactive"]
    workspace.enlist(second, 0, "ada", consent=False)
    with pytest.raises(CelebError, match="Tick"):
        workspace.enlist(third, 0, "bob", consent=False)
    assert workspace.trainee("ada").consent == f"{date.today()}, stated by the user"
    again = make_page(page.shared.core, page.shared.library.parent).shared.workspace("")
    assert again.trainee("ada").consent == workspace.trainee("ada").consent


def test_a_made_up_face_says_nothing_of_the_consent_of_a_person(page):
    workspace = page.shared.workspace("")
    example = workspace.add_photo(portrait(), "Ash", example=True)
    assert workspace.enlist(example, 0, "Ash", consent=False).consent == MADE_UP
    with pytest.raises(CelebError, match="Tick"):
        workspace.enlist(workspace.add_photo(portrait(), "x"), 0, "Ash", consent=False)
    listed = workspace.enlist(workspace.add_photo(portrait(), "x"), 0, "Ash", consent=True)
    assert "stated by the user" in listed.consent
