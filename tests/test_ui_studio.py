from __future__ import annotations

import ast
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import portrait
from ui_help import finish, make_page, make_shared

import app
from celeb_core import CelebError, fit, load_studio, save_calibration, save_identity
from celeb_core.studio import with_calibration
from celeb_core.types import Framing, TrainConfig
from ui.api import endpoints
from ui.limits import DAY
from ui.page import Page
from ui.serving import Serving, credentials
from ui.studio import Shared

ROOT = Path(app.__file__).parent


def test_at_home_every_session_sees_the_same(studio, tmp_path):
    shared = make_shared(studio, tmp_path)
    assert shared.workspace("one") is shared.workspace("")


def test_away_from_home_nobody_sees_what_others_do(studio, tmp_path):
    page = make_page(studio, tmp_path, isolated=True)
    one, two = page.shared.new_session(), page.shared.new_session()
    mine, theirs = page.shared.workspace(one), page.shared.workspace(two)
    mine.enlist(mine.add_photo(portrait(), "ada"), 0, "ada", consent=True)
    page.train.start(list(mine.trainees), "fast", 1, 0, one)
    finish(page.train.job(one))
    assert list(mine.people()) == ["ada"]
    assert not theirs.people() and not theirs.trainees and not theirs.photos
    assert page.train.job(two) is None
    assert "ada" in page.compose.box.refresh(one) and page.compose.box.refresh(two) == "[]"
    form = {"grid_people": [], "count": 1, "seed": 0, "new_seed": False, "strength": 1.0}
    form |= {"embed_settings": True, "steps": 1, "guidance_scale": 2.0}
    page.compose.start("a photo of <ada>", session=one, **form)
    (image,) = finish(page.compose.results.job(one)).images
    assert page.compose.results.job(two) is None
    assert page.compose.history.find(image.path.name, one) is image
    assert page.compose.history.find(image.path.name, two) is None
    library = page.library
    assert library.refresh("ada", two)[library.people]["value"] == []
    assert "Nobody is called" in library.delete("ada", two)[library.problem]
    assert list(mine.people()) == ["ada"]


def test_a_changed_studio_is_used_everywhere(world, faceless, calibration, tmp_path):
    about = json.loads((faceless / "studio.json").read_text())
    del about["faces"]["framing"]
    (faceless / "studio.json").write_text(json.dumps(about))
    core = load_studio(faceless, device="cpu", face_pack=world / "faces")
    shared = make_shared(core, tmp_path)
    workspace = shared.workspace("")
    ada = workspace.enlist(workspace.add_photo(portrait(side=400), "ada"), 0, "ada", consent=True)
    photo = workspace.add_photo(portrait(side=400), "next")
    changed = with_calibration(core, replace(calibration, framing=Framing(1.2, 0.5, 0.5)))
    shared.use(changed)
    assert shared.core is shared.estimates.core is changed
    assert shared.workspace("") is workspace
    after = workspace.trainees[ada.id]
    for face, before in ((after.faces[0], ada.faces[0]), (photo.faces[0], ada.faces[0])):
        assert face.image.width < before.image.width
        assert face.embedding @ before.embedding > 0.999
    assert list(workspace.photos) == [photo.id]


@pytest.mark.parametrize("id", ["", "../../etc", "x" * 32, None])
def test_a_session_id_that_is_not_ours_is_refused(studio, tmp_path, id):
    shared = make_shared(studio, tmp_path, isolated=True)
    with pytest.raises(CelebError, match="Reload"):
        shared.workspace(id)


def test_strangers_get_the_samples_and_not_the_people_of_the_owner(
    studio, tmp_path, person, models, basis
):
    (ada,) = fit([person], models, basis, TrainConfig(steps=0)).values()
    save_identity(ada, tmp_path / "identities")
    path = save_identity(replace(ada, name="sample"), tmp_path / "identities")
    path.rename(path.with_name("sample.sample.safetensors"))
    shared = make_shared(studio, tmp_path, isolated=True)
    assert list(shared.workspace(shared.new_session()).people()) == ["sample"]


def test_what_sessions_leave_behind_is_deleted_after_a_day(studio, tmp_path):
    shared = make_shared(studio, tmp_path, isolated=True)
    old = shared.workspace(shared.new_session()).library.parent
    long_ago = time.time() - DAY - 1
    os.utime(old / "used", (long_ago, long_ago))
    shared.tidy()
    assert old.exists()  # somebody uses it
    os.utime(old / "used", (long_ago, long_ago))
    make_shared(studio, tmp_path, isolated=True).tidy()  # after a restart
    assert not old.exists()


def test_the_page_offers_no_public_endpoint_but_the_api(studio, tmp_path):
    shared = make_shared(studio, tmp_path)
    blocks = Page(shared).build()
    public = [fn.api_name for fn in blocks.fns.values() if fn.api_visibility == "public"]
    assert public == [endpoint.__name__ for endpoint in endpoints(shared)]
    assert len(blocks.fns) > 2 * len(public)


def test_a_share_link_never_goes_without_a_password():
    ((name, password),) = credentials(Serving("127.0.0.1", share=True))
    assert name == "studio" and len(password) >= 12
    (account,) = app.parser().parse_args(["--auth", "me:a:b"]).auth
    assert credentials(Serving("127.0.0.1", share=True, accounts=[account])) == [("me", "a:b")]
    assert credentials(Serving("127.0.0.1")) is None


def test_a_wrong_model_is_an_error_message_and_an_exit_code(capsys):
    assert app.main(["--model", "/nowhere"]) == 1
    assert "error: There is no model" in capsys.readouterr().err


@pytest.fixture
def launched(monkeypatch) -> list[Shared]:
    shared: list[Shared] = []
    monkeypatch.setattr(app, "launch", lambda core, options: shared.append(core))
    return shared


def test_the_page_opens_without_a_face_pack(faceless, tmp_path, launched, caplog):
    given = ["--model", str(faceless), "--device", "cpu", "--identities", str(tmp_path / "people")]
    given += ["--cache", str(tmp_path / "cache")]
    with caplog.at_level("INFO"):
        assert app.main(given) == 0
    assert not launched[0].core.faces.ready and launched[0].core.cache == tmp_path / "cache"
    assert "the page's Faces tab says how to get one" in caplog.text


def test_what_is_named_is_used(world, calibration, tmp_path, launched, capsys):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(calibration.names))
    save_calibration(calibration, tmp_path / "c")
    given = ["--model", str(world), "--device", "cpu", "--names", str(names)]
    given += ["--face-pack", str(world / "faces"), "--calibration", str(tmp_path / "c")]
    given += ["--identities", str(tmp_path), "--cache", str(tmp_path)]
    assert app.main(given) == 0
    core = launched[0].core
    assert core.faces.ready and core.basis.names == calibration.names
    assert core.calibration is not None and core.calibration.source == str(tmp_path / "c")
    assert app.main([*given, "--face-pack", "auraface"]) == 1
    assert "celeb-basis pack auraface" in capsys.readouterr().err


WITHOUT_TENSORS = sorted({*(ROOT / "ui").glob("*.py")} - {ROOT / "ui" / "celeb_map.py"})


@pytest.mark.parametrize("path", [ROOT / "app.py", *WITHOUT_TENSORS], ids=lambda path: path.name)
def test_the_page_does_nothing_with_torch_but_name_its_type(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            assert [alias.name for alias in node.names] == ["Tensor"]
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("torch") for alias in node.names)
