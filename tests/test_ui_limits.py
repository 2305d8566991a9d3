from __future__ import annotations

import pytest

from celeb_core.errors import UsageError
from ui.limits import HOME, PUBLIC, LimitReached, Limits, changed


def test_at_home_nothing_is_limited():
    HOME.check_images(10**6)
    HOME.check_people(10**6)


def test_a_limit_says_how_much_it_is(tmp_path):
    limits = Limits(images=8, people=2, storage=1000)
    with pytest.raises(LimitReached, match="9 images; this page generates at most 8"):
        limits.check_images(9)
    with pytest.raises(LimitReached, match="at most 2 people"):
        limits.check_people(3)
    limits.check_storage(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "photo.png").write_bytes(bytes(1001))
    with pytest.raises(LimitReached, match="take 0 MB"):
        limits.check_storage(tmp_path)


def test_single_limits_are_changed():
    limits = changed(PUBLIC, ["jobs=5", "images=none"])
    assert limits.jobs == 5 and limits.images is None and limits.photos == PUBLIC.photos


@pytest.mark.parametrize("setting", ["jobs", "jobs=", "jobs=0", "jobs=-1", "jobs=x", "jobs=²"])
def test_a_wrong_number_is_refused(setting):
    with pytest.raises(UsageError, match="no whole number above zero"):
        changed(PUBLIC, [setting])


def test_an_unknown_limit_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="no limit “people_” .*|no limit .*jobs, images"):
        changed(PUBLIC, ["people_=3"])
