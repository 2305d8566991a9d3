from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from celeb_core.face_orientation import quarter_turns

SQUARE = (20.0, 20.0, 60.0, 60.0)


def arrow() -> Image.Image:
    """Return an image whose upper part is red."""
    image = Image.new("RGB", (90, 90))
    image.paste((255, 0, 0), (0, 0, 90, 30))
    return image


def up(photo: Image.Image) -> int:
    """Return by how many quarters, counter-clockwise, red comes to the top."""
    red = np.asarray(photo)[..., 0].astype(float)
    sides = [turned[: len(turned) // 2].sum() for turned in (np.rot90(red, k) for k in range(4))]
    return int(np.argmax(sides))


def detector(*scores: float, own: bool = False):
    """Return a detector of these scores by the quarters that a face has to be turned.

    Args:
        *scores: None is found below .5.
        own: Landmarks are in the face's orientation, else they always look upright.
    """

    def detect(photo):
        turns = up(photo)
        found = [(scores[turns], SQUARE, turns if own else 0)]
        return found if scores[turns] >= 0.5 else []

    return detect


@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize(
    "detect",
    [
        detector(0.99, 0, 0, 0),
        detector(0.99, 0.6, 0.97, 0.6),
        detector(0.8, 0, 0, 0),
        detector(0.9, 0.8, 0.9, 0.8, own=True),
    ],
)
def test_a_photo_is_turned_so_that_its_faces_are_upright(detect, turned):
    photo = arrow().rotate(-90 * turned)
    assert quarter_turns(photo, detect) == turned


def test_without_a_clear_advantage_a_photo_stays_as_it_is():
    for scores in ((0, 0, 0, 0), (0.9, 0.9, 0.9, 0.9), (0.7, 0, 0.8, 0), (0, 0.55, 0, 0.5)):
        assert quarter_turns(arrow(), detector(*scores)) == 0


def test_a_face_that_is_upright_for_certain_costs_no_crops():
    asked = []

    def detect(photo):
        asked.append(photo.size)
        return detector(0.99, 0, 0.6, 0)(photo)

    assert quarter_turns(arrow(), detect) == 0 and asked == [(90, 90)] * 4
