"""Temporary files of the page: uploads, and the images of people that it shows.

`<temporary>/page-<process>/` is private and belongs to one process. `cache/` is gradio's, for
uploads (see `ui.uploads`) and for copies of what it serves. `shown/` is served without a copy: what
is deleted there is gone at once. `photos/` has the photos of the Faces tab.
"""

from __future__ import annotations

import filecmp
import glob
import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import gradio as gr
from PIL import Image

from celeb_core.files import matching, write_atomically
from celeb_core.marks.provenance import Marker
from celeb_core.temporary_files import is_alive, this_process

OUTPUTS = "outputs"  # in gradio's cache: copies of what the page serves, apart from uploads
SIDE = 1024  # longer side of an image that the page shows, in pixels


class PageFiles:
    """Temporary files of this process; those of processes that died are deleted.

    Args:
        temporary: Private folder of the user.
    """

    def __init__(self, temporary: Path) -> None:
        self.folder = temporary / f"page-{this_process()}"
        self.cache, self._shown = self.folder / "cache", self.folder / "shown"
        self.photos = self.folder / "photos"  # of the Faces tab, never served
        for folder in (temporary, self.folder, self.cache, self._shown, self.photos):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in matching(temporary, "page-*-*"):
            if not is_alive(other.name.removeprefix("page-")):
                shutil.rmtree(other, ignore_errors=True)
        gr.set_static_paths([self._shown])

    def show(
        self,
        key: str,
        name: str,
        image: Image.Image | Callable[[], Image.Image],
        marker: Marker | None = None,
    ) -> str:
        """Return the path of a file that shows an image; it is written unless it is there.

        Args:
            key: Of what is shown, for `forget`; nobody else can guess it.
            name: Of this image among those of the key. The same name shows the same image.
            image: RGB, or what returns it.
            marker: Of a generated image, what marks it.
        """
        path = self._shown / key / f"{name}.webp"
        if not path.is_file():
            whole = image if isinstance(image, Image.Image) else image()
            small, buffer = whole.copy(), io.BytesIO()
            small.thumbnail((SIDE, SIDE))
            if marker:
                write_atomically(path, marker.encode(small, "WEBP", quality=90))
            else:
                small.save(buffer, "WEBP", quality=90)
                write_atomically(path, buffer.getvalue())
        return str(path)

    def forget(self, key: str) -> None:
        """Delete all images of a key: their addresses lead nowhere from now on."""
        shutil.rmtree(self._shown / key, ignore_errors=True)

    def forget_copies(self, path: Path) -> None:
        """Delete the copies of a file that the page has served."""
        for copy in matching(self.cache / OUTPUTS, f"*/{glob.escape(path.name)}"):
            with suppress(OSError):  # gradio deletes old ones, too
                if filecmp.cmp(copy, path, shallow=False):
                    copy.unlink()

    def serve_outputs_apart(self, page: gr.Blocks) -> None:
        """Keep copies of what the page serves apart from uploads, which are deleted when read."""
        for block in page.blocks.values():
            takes = isinstance(block, gr.File | gr.UploadButton | gr.Image)
            if not takes or getattr(block, "interactive", None) is False:
                block.GRADIO_CACHE = str(self.cache / OUTPUTS)

    def close(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)
