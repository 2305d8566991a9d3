"""Images -> an animation that goes there and back: WebP, GIF and MP4.

WebP and GIF by Pillow, MP4 by OpenCV, which insightface brings along: VP9 inside, the one codec of
its FFmpeg that an MP4 may hold and that browsers play.
"""

# Not diffusers' export_to_gif and export_to_video: the one writes in place, so that a full disk
# leaves half a file, the other's MP4 needs imageio's ffmpeg to be played by browsers.

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from celeb_core.files import changing, read_bytes, write_atomically
from celeb_core.marks.provenance import Marker
from celeb_core.temporary_files import temporary_path

RATE = 12  # frames per second
HOLD = 6  # frames for which each end is shown
SIDE = 512  # longer side at most, in pixels: enough for an animation
GIF_COLOURS = 256
MAX_VIDEO = 1_000_000_000  # bytes
GIF_SAMPLE = 64  # pixels: what of each frame the common palette is made from


def save_animation(
    images: Sequence[Image.Image], path: Path, should_stop: Callable[[], bool], marker: Marker
) -> dict[str, Path] | None:
    """Write an animation in all formats.

    Args:
        images: Two or more of one size.
        path: The files are beside it, with suffixes of their own.
        should_stop: Asked between frames.
        marker: Marks all of them.

    Returns:
        Format -> file; without MP4 where OpenCV has no encoder for it. None if it was stopped.

    Raises:
        SaveFailed: A file cannot be written.
    """
    if should_stop():
        return None
    frames = there_and_back([_fitted(image) for image in images])
    files: dict[str, Path] = {}
    for name, write in (("MP4", _mp4), ("WebP", _webp), ("GIF", _gif)):
        file = path.with_suffix(f".{name.lower()}")
        if write(frames, file, should_stop, marker):
            files[name] = file
        if should_stop():
            return None
    return files


def there_and_back(images: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames of one round, to be played in a loop; rests at both ends."""
    first, *between, last = images
    return [*[first] * HOLD, *between, *[last] * HOLD, *reversed(between)]


def _webp(
    frames: Sequence[Image.Image], path: Path, should_stop: Callable[[], bool], marker: Marker
) -> bool:
    return _by_pillow(frames, path, marker, "WEBP", quality=85, method=0)


def _gif(
    frames: Sequence[Image.Image], path: Path, should_stop: Callable[[], bool], marker: Marker
) -> bool:
    """One palette for all frames: a palette of its own for each would flicker."""
    small = [np.asarray(frame.resize((GIF_SAMPLE, GIF_SAMPLE))) for frame in frames]
    palette = Image.fromarray(np.concatenate(small)).quantize(GIF_COLOURS)
    reduced = []
    for frame in frames:
        if should_stop():
            return False
        reduced.append(frame.quantize(palette=palette))
    return _by_pillow(reduced, path, marker, "GIF", optimize=False)


def _by_pillow(
    frames: Sequence[Image.Image], path: Path, marker: Marker, kind: str, **options: Any
) -> bool:
    content = marker.encode(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        duration=round(1000 / RATE),
        loop=0,
        **options,
    )
    write_atomically(path, content)
    return True


def _mp4(
    frames: Sequence[Image.Image], path: Path, should_stop: Callable[[], bool], marker: Marker
) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished, codec = temporary_path(path), cv2.VideoWriter.fourcc(*"vp09")
    writer = cv2.VideoWriter(str(unfinished), cv2.CAP_FFMPEG, codec, RATE, frames[0].size)
    if not writer.isOpened():
        return False
    try:
        for frame in frames:
            if should_stop():
                return False
            writer.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
        writer.release()
        with changing(path):
            content = read_bytes(unfinished, MAX_VIDEO)
        write_atomically(path, marker.mp4(content))
    finally:
        writer.release()
        unfinished.unlink(missing_ok=True)
    return True


def _fitted(image: Image.Image) -> Image.Image:
    """RGB, at most SIDE on its longer side, with even sides as video wants them."""
    factor = min(1.0, SIDE / max(image.size))
    width, height = (max(2, round(length * factor / 2) * 2) for length in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
