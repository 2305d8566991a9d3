"""Pictures -> a film that goes there and back: WebP, GIF and MP4.

WebP and GIF by Pillow, MP4 by OpenCV, which insightface brings along: VP9 inside, the one codec of
its FFmpeg that an MP4 may hold and that browsers play.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from celeb_core.files import write_atomically

RATE = 12  # pictures per second
HOLD = 6  # times that each end is shown
SIDE = 512  # longer side at most, in pixels: films are large enough
GIF_COLOURS = 256
GIF_SAMPLE = 64  # pixels: what of each picture the common palette is made from


def there_and_back(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """One round of the film, to be played in a loop; rests at both ends."""
    first, *between, last = pictures
    return [*[first] * HOLD, *between, *[last] * HOLD, *reversed(between)]


def save_film(
    pictures: Sequence[Image.Image], path: Path, stopped: Callable[[], bool]
) -> dict[str, Path] | None:
    """Write two or more pictures of one size beside `path` -> format: file.

    None if it was stopped. MP4 is left out where OpenCV comes without its encoder. Raises
    SaveFailed.
    """
    if stopped():
        return None
    frames = there_and_back([_fitted(picture) for picture in pictures])
    files: dict[str, Path] = {}
    for name, write in (("MP4", _mp4), ("WebP", _webp), ("GIF", _gif)):
        file = path.with_suffix(f".{name.lower()}")
        if write(frames, file, stopped):
            files[name] = file
        if stopped():
            return None
    return files


def _webp(frames: Sequence[Image.Image], path: Path, stopped: Callable[[], bool]) -> bool:
    return _by_pillow(frames, path, "WEBP", quality=85, method=0)


def _gif(frames: Sequence[Image.Image], path: Path, stopped: Callable[[], bool]) -> bool:
    """One palette for all pictures: a palette of its own for each would flicker."""
    small = [np.asarray(frame.resize((GIF_SAMPLE, GIF_SAMPLE))) for frame in frames]
    palette = Image.fromarray(np.concatenate(small)).quantize(GIF_COLOURS)
    reduced = []
    for frame in frames:
        if stopped():
            return False
        reduced.append(frame.quantize(palette=palette))
    return _by_pillow(reduced, path, "GIF", optimize=False)


def _by_pillow(
    frames: Sequence[Image.Image], path: Path, format: str, **options: int | bool
) -> bool:
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format=format,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / RATE),
        loop=0,
        **options,
    )
    write_atomically(path, buffer.getvalue())
    return True


def _mp4(frames: Sequence[Image.Image], path: Path, stopped: Callable[[], bool]) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, RATE, frames[0].size)
    if not writer.isOpened():
        return False
    try:
        for frame in frames:
            if stopped():
                return False
            writer.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()
    return True


def _fitted(picture: Image.Image) -> Image.Image:
    """RGB, at most SIDE on its longer side, with even sides as video wants them."""
    factor = min(1.0, SIDE / max(picture.size))
    width, height = (max(2, round(length * factor / 2) * 2) for length in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
