"""Compare the person of a photo with those of images, by the recogniser and by dlib's network.

Optional: `pip install -r requirements-judge.txt`.

python -m bench.dlib_judge PHOTO IMAGE... [--model MODEL]   cosines of the person of a photo
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from celeb_core.errors import CelebError, FeatureMissing
from celeb_core.evaluation.dlib_judge import load_dlib_judge
from celeb_core.evaluation.judges import FaceJudge
from celeb_core.faces import find_face
from celeb_core.formats.image_file import load_photo
from celeb_core.studio import Studio, load_studio


def main() -> int:
    """Print how alike the person of a photo is to those of images; return the exit code."""
    options = _parser().parse_args()
    try:
        if (judge := load_dlib_judge()) is None:
            raise FeatureMissing("dlib is missing: pip install -r requirements-judge.txt.")
        studio = load_studio(options.model, device=options.device, face_pack=options.face_pack)
        for line in compare(options.photo, options.images, options.face, studio, judge):
            print(line)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def compare(
    photo: Path, images: Sequence[Path], choose: int | None, studio: Studio, judge: FaceJudge
) -> list[str]:
    """Describe, for each image, the face nearest to the photo's by the recogniser.

    Args:
        photo: Of the person; of several, face number `choose`.
        images: To be compared.
        choose: 1 is the leftmost face.
        studio: Its recogniser finds the faces.
        judge: The second opinion. An image without a face scores zero.
    """
    original = load_photo(photo)
    face = find_face(original, studio.faces, choose)
    (reference,) = judge.embed(original, [face])
    lines = []
    for path in images:
        image = load_photo(path)
        recogniser = judged = 0.0
        if found := studio.faces.find(image):
            cosines = torch.stack([one.embedding for one in found]) @ face.embedding
            nearest = int(cosines.argmax())
            recogniser = float(cosines[nearest])
            judged = float(judge.embed(image, [found[nearest]])[0] @ reference)
        lines.append(f"{path}: recogniser {recogniser:.3f}, judge {judged:.3f}")
    return lines


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m bench.dlib_judge", description=about)
    parser.add_argument("photo", type=Path, help="of the person")
    parser.add_argument("images", nargs="+", type=Path, help="generated, or other photographs")
    parser.add_argument("--face", type=int, help="which face of the photo, 1 is the leftmost")
    parser.add_argument("--model", default="auto", help="whose face pack finds the faces")
    parser.add_argument("--device")
    parser.add_argument("--face-pack", help="insightface pack: a name or a folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
