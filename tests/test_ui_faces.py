from __future__ import annotations

import io

import pytest
from conftest import portrait
from PIL import Image, ImageFilter
from test_faces import two_faces
from ui_help import make_page, selected

from ui.names import name_hint
from ui.photo_view import Choice

PROBLEM, SHOWN = 1, 2  # places in what `upload` gives
CHOICE, PHOTO, NUMBERS, CROP, QUALITY, NAME, HINT, JOIN, CONSENT, USE = 0, 2, 4, *range(6, 13)


@pytest.fixture
def page(studio, tmp_path):
    page = make_page(studio, tmp_path)
    yield page
    page.shared.runner.close()


def stored(folder, picture, name="ada.png", **options):
    path = folder / name
    picture.save(path, **options)
    return str(path)


def use(page, name, choice):
    return page.faces.use(name, True, False, choice, "")


def upload(page, *paths):
    given = page.faces.upload(list(paths), "")
    return given[PROBLEM], given[SHOWN:]


def test_one_face_is_chosen_and_the_name_comes_from_the_file(page, tmp_path):
    problem, shown = upload(page, stored(tmp_path, portrait()))
    assert problem == ""
    assert shown[CHOICE].face == 0
    assert shown[NAME] == "ada"
    assert not shown[USE]["interactive"]
    assert page.faces.check("ada", True, shown[CHOICE], "")[1]["interactive"]
    assert shown[CROP]["value"].shape == (112, 112, 3)
    assert not (tmp_path / "ada.png").exists()


def test_a_picture_of_the_camera_is_a_photo_without_a_name(page, tmp_path):
    camera, problem, *shown = page.faces.snap(stored(tmp_path, portrait(), "webcam.png"), "")
    assert camera is None and problem == ""
    assert shown[CHOICE].face == 0 and shown[NAME] == ""
    assert not list(tmp_path.glob("webcam.png"))


def test_of_several_faces_one_is_chosen_by_a_click_or_a_number(page, tmp_path):
    _, shown = upload(page, stored(tmp_path, two_faces()))
    choice = shown[CHOICE]
    assert choice.face is None and not shown[USE]["interactive"]
    assert shown[NUMBERS]["choices"] == [1, 2]
    right = (0.75 * shown[PHOTO]["value"].width, 0.5 * shown[PHOTO]["value"].height)
    clicked = page.faces.click("Bo", choice, "", selected(right))
    assert clicked[CHOICE].face == 1
    assert clicked[NAME] == "Bo" and clicked[CONSENT]["value"] is False
    assert page.faces.number(1, "Bo", choice, "")[CHOICE].face == 0


def test_a_chosen_face_goes_into_the_training_list_and_survives_a_restart(page, studio, tmp_path):
    _, shown = upload(page, stored(tmp_path, two_faces(), "us.png"))
    choice = page.faces.number(2, "", shown[CHOICE], "")[CHOICE]
    notice, *_ = use(page, "Bo", choice)
    assert "Bo is in the training list" in notice
    (bo,) = page.shared.workspace("").trainees.values()
    again = make_page(studio, tmp_path).shared.workspace("")
    (restored,) = again.trainees.values()
    assert (restored.name, restored.id) == ("Bo", bo.id)
    assert (restored.reference() - bo.reference()).abs().max() < 1e-4


def test_the_same_name_again_joins_the_photos(page, tmp_path):
    for shade in (255, 230):
        _, shown = upload(page, stored(tmp_path, portrait(shade)))
        use(page, "ada", shown[CHOICE])
    (ada,) = page.shared.workspace("").trainees.values()
    assert len(ada.faces) == 2
    assert ada.reference().norm().item() == pytest.approx(1)


def test_all_photos_with_one_face_can_be_joined_at_once(page, tmp_path):
    paths = [stored(tmp_path, portrait(255 - 25 * n), f"{n}.png") for n in range(3)]
    _, shown = upload(page, *paths, stored(tmp_path, two_faces(), "us.png"))
    assert shown[JOIN]["visible"] and "3 photos" in shown[JOIN]["label"]
    page.faces.use("ada", True, True, shown[CHOICE], "")
    (ada,) = page.shared.workspace("").trainees.values()
    assert len(ada.faces) == 3
    assert [photo.label for photo in page.shared.workspace("").photos.values()] == ["us.png"]


def test_nobody_is_used_without_consent(page, tmp_path):
    _, shown = upload(page, stored(tmp_path, portrait()))
    assert shown[CONSENT]["visible"] and shown[CONSENT]["value"] is False
    assert not page.faces.check("ada", False, shown[CHOICE], "")[1]["interactive"]
    notice, *_ = page.faces.use("ada", False, False, shown[CHOICE], "")
    assert "likeness" in notice
    assert not page.shared.workspace("").trainees
    assert shown[CHOICE].photo in page.shared.workspace("").photos


def test_a_poor_photo_is_told_with_what_to_do(page, tmp_path):
    _, shown = upload(page, stored(tmp_path, portrait()))
    assert "Turned" not in shown[QUALITY]
    soft = portrait().filter(ImageFilter.GaussianBlur(6))
    _, shown = upload(page, stored(tmp_path, soft))
    assert "Blurred" in shown[QUALITY] and "sharper" in shown[QUALITY]


def test_a_removed_person_leaves_no_photo_behind(page, tmp_path):
    _, shown = upload(page, stored(tmp_path, portrait()))
    use(page, "ada", shown[CHOICE])
    id, button = page.faces.training.pick("", selected(0))
    assert button["value"] == "Remove ada"
    page.faces.training.remove(id, "")
    assert not page.shared.workspace("").trainees
    assert not list(tmp_path.rglob("1.png"))
    page.faces.training.remove("../..", "")  # an id that is not ours is nobody's


def jpeg(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


BAD = {
    "text.jpg": b"this is no picture",
    "empty.png": b"",
    "cut.jpg": jpeg(portrait(side=512))[:900],
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_the_good_one_beside_it_is_read(page, tmp_path, name):
    bad = tmp_path / name
    bad.write_bytes(BAD[name])
    problem, shown = upload(page, str(bad), stored(tmp_path, portrait()))
    assert name in problem and "Save it again" in problem
    assert str(tmp_path) not in problem
    assert shown[CHOICE].face == 0


def test_a_tiny_picture_and_one_without_faces_say_what_to_do(page, tmp_path):
    tiny = stored(tmp_path, Image.new("RGB", (1, 1)), "tiny.png")
    nobody = stored(tmp_path, Image.new("RGB", (300, 200), "green"), "nobody.png")
    problem, _ = upload(page, tiny, nobody)
    assert "1 x 1 pixels" in problem and "No face found" in problem
    assert "Tinyville knows only red squares" in problem


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "L", "P"])
def test_pictures_of_all_kinds_are_read(page, tmp_path, mode):
    picture = portrait().convert(mode)
    problem, _ = upload(page, stored(tmp_path, picture, "a.tiff"))
    assert problem == "" or (mode == "L" and "No face found" in problem)  # grey: no red square


def test_a_rotated_photo_is_turned_upright_and_heic_is_read(page, tmp_path):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    turned = Image.Exif()
    turned[0x0112] = 6
    photo = stored(tmp_path, portrait(at=(0, 0)), "a.jpg", exif=turned, quality=95)
    _, shown = upload(page, photo)
    (face,) = page.shared.workspace("").photos[shown[CHOICE].photo].faces
    assert face.box[0] == pytest.approx(64, abs=2)
    assert upload(page, stored(tmp_path, portrait(), "b.heic"))[0] == ""


@pytest.mark.slow
def test_a_picture_of_a_hundred_megapixels_is_shown_small(page, tmp_path):
    huge = portrait().resize((10_000, 10_000), Image.Resampling.NEAREST)
    problem, shown = upload(page, stored(tmp_path, huge, "huge.png"))
    assert problem == ""
    assert max(shown[PHOTO]["value"].size) < 1000


@pytest.mark.parametrize("name", ["", "a/b", "a<b", "x" * 300, "..\\up", "tab\there"])
def test_bad_names_say_why_and_lose_nothing(page, tmp_path, name):
    _, shown = upload(page, stored(tmp_path, portrait()))
    hint, button = page.faces.check(name, True, shown[CHOICE], "")
    assert hint and not button["interactive"]
    use(page, name, shown[CHOICE])
    assert not page.shared.workspace("").trainees
    assert shown[CHOICE].photo in page.shared.workspace("").photos


@pytest.mark.parametrize("name", ["Zoë", "🦊", "张伟", 'O\'Hara "Bo" & Co', "x" * 64, "{{name}}"])
def test_any_other_name_will_do(page, tmp_path, name):
    _, shown = upload(page, stored(tmp_path, portrait()))
    use(page, name, shown[CHOICE])
    rows = page.faces.training.refresh("")[0]["value"]
    assert [label for _, label in rows] == [name]


def test_a_full_disk_is_told_and_the_face_is_still_there(page, tmp_path, monkeypatch):
    _, shown = upload(page, stored(tmp_path, portrait()))

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        notice, *_ = use(page, "ada", shown[CHOICE])
    assert "No space left" in notice
    notice, *_ = use(page, "ada", shown[CHOICE])
    assert "ada is in the training list" in notice


def test_a_taken_name_is_pointed_out(page, tmp_path):
    _, shown = upload(page, stored(tmp_path, portrait()))
    use(page, "ada", shown[CHOICE])
    hint, good = name_hint("ada", page.shared.workspace(""))
    assert good and "one more photo" in hint


def test_without_a_chosen_face_nothing_is_used(page):
    notice, *_ = use(page, "ada", Choice("gone", 0))
    assert "Choose a face first" in notice


def test_examples_are_one_click_away(measured_world, tmp_path):
    from celeb_core import load_studio

    page = make_page(load_studio(measured_world, device="cpu"), tmp_path)
    assert len(page.shared.examples()) == 8
    for index in (2, 3):
        _, problem, *shown = page.faces.example("", selected(index))
    assert problem == "" and shown[NAME] == "Drew" and shown[USE]["interactive"]
    assert len(page.shared.workspace("").photos) == 1


def test_an_example_is_not_joined_with_photos_of_somebody_else(measured_world, tmp_path):
    from celeb_core import load_studio

    page = make_page(load_studio(measured_world, device="cpu"), tmp_path)
    upload(page, *[stored(tmp_path, portrait(255 - 25 * n), f"{n}.png") for n in range(2)])
    _, _, *shown = page.faces.example("", selected(3))
    assert shown[NAME] == "Drew" and not shown[JOIN]["visible"]
