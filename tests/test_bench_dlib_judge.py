from __future__ import annotations

import sys

import numpy as np
import torch
from conftest import portrait
from PIL import Image

from bench import dlib_judge as module
from bench.dlib_judge import compare
from celeb_core import find_face


class Shades:
    """Stands in for the judge: an embedding of the face's red."""

    def embed(self, image, faces):
        reds = torch.stack([torch.tensor(float(np.asarray(f.image)[..., 0].max())) for f in faces])
        return torch.stack([reds, 255 - reds], 1) / 255


def test_the_nearest_face_is_compared(studio, tmp_path):
    two = portrait(200, at=(0, 0))
    two.paste(portrait(255, at=(2, 2)).crop((64, 64, 128, 128)), (64, 64))
    images = {"same": portrait(), "two": two, "none": Image.new("RGB", (128, 128))}
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in images]
    same, nearest, none = compare(paths[0], paths, None, studio, Shades())
    assert same == f"{paths[0]}: recogniser 1.000, judge 1.000"
    original = find_face(portrait(), studio.faces).embedding
    cosine = max(float(one.embedding @ original) for one in studio.faces.find(two))
    assert nearest.startswith(f"{paths[1]}: recogniser {cosine:.3f}, judge ")
    assert none == f"{paths[2]}: recogniser 0.000, judge 0.000"


def test_command(world, tmp_path, monkeypatch, capsys):
    path = tmp_path / "ada.png"
    portrait().save(path)
    monkeypatch.setattr(sys, "argv", ["prog", str(path), str(path), "--model", str(world)])
    monkeypatch.setattr(module, "load_dlib_judge", Shades)
    assert module.main() == 0
    assert capsys.readouterr().out == f"{path}: recogniser 1.000, judge 1.000\n"
    monkeypatch.setattr(module, "load_dlib_judge", lambda: None)
    assert module.main() == 1
    assert "requirements-judge.txt" in capsys.readouterr().err
