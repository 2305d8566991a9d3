"""Portraits of the people in a library: generated images to recognise them by."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from celeb_core import load_photo
from celeb_core.errors import PhotoError
from celeb_core.marks.provenance import Marker
from ui.images import save_generated
from ui.library_files import LibraryFiles
from ui.page_files import PageFiles

log = logging.getLogger(__name__)


class Portraits:
    """The portraits of one workspace.

    Args:
        owner: Id of the workspace.
        files: Of its library.
        shown: Temporary files of images that the page shows.
        marker: Marks generated images.
    """

    def __init__(self, owner: str, files: LibraryFiles, shown: PageFiles, marker: Marker) -> None:
        self._owner, self._files, self._shown, self._marker = owner, files, shown, marker

    def save(self, name: str, image: Image.Image, settings: Mapping[str, Any]) -> None:
        """Save a generated image to recognise the person by.

        Args:
            name: Of a person in the library.
            image: The portrait.
            settings: Written into the file; "identity" is its identity score.

        Raises:
            SaveFailed: The file cannot be written.
        """
        save_generated(image, self._files.portrait_path(name), settings, self._marker)
        self.forget([name])

    def find(self, name: str) -> Path | None:
        """Return a file that shows the portrait of a person in the library, if there is one."""
        path = self._files.portrait_path(name)
        try:
            changed = path.stat().st_mtime_ns
            show = partial(self._shown.show, marker=self._marker)
            return Path(show(self._key(name), str(changed), lambda: load_photo(path)))
        except (OSError, PhotoError) as error:
            if path.exists():
                log.warning("skipped: the portrait %s (%s)", path, error)
            return None

    def forget(self, names: Iterable[str]) -> None:
        """Delete the files that show the portraits of these people."""
        for name in names:
            self._shown.forget(self._key(name))

    def _key(self, name: str) -> str:
        return hashlib.sha256(f"{self._owner} {name}".encode()).hexdigest()
