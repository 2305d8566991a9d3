"""A running page for the tests of its endpoints."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from ui.page import Page
from ui.serving import Serving, launch_options
from ui.studio import Shared


@contextmanager
def served(shared: Shared, **how: Any) -> Iterator[str]:
    """Serve a page on a free port, as `ui.serving` does, and return its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(shared.files.cache))
        page = Page(shared).build()
        options = launch_options(shared, Serving("127.0.0.1", **how))
        page.queue(api_open=False).launch(**options, prevent_thread_lock=True, quiet=True)
        try:
            yield page.local_url.rstrip("/")
        finally:
            page.close()
            shared.close()


def data_url(image: Image.Image) -> str:
    """The image as a text."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
