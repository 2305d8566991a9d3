"""The page's `gr.Blocks`: whatever an event raises reaches the person with a reason."""

from __future__ import annotations

import html
import logging
from typing import Any

import gradio as gr

from celeb_core import CelebError
from celeb_core.errors import SettingsError, quote
from ui.errors import explain

log = logging.getLogger(__name__)


class StudioBlocks(gr.Blocks):
    """Of any other error than its own, gradio tells the browser only that there was one."""

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run an event: check its values, call the handler, convert what it returns.

        Raises:
            gr.Error: With what the user reads, as HTML.
        """
        try:
            return await super().process_api(*args, **kwargs)
        except gr.Error as error:  # of a widget, about its value, which may be long
            raise _shown(quote(error.message)) from error
        except Exception as error:
            raise _shown(explain(error)) from error

    async def preprocess_data(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Convert the values of a request, which need not come from the page.

        Raises:
            SettingsError: They do not fit the widgets.
        """
        try:
            values: list[Any] = await super().preprocess_data(*args, **kwargs)
            return values
        except gr.Error:
            raise
        except Exception as error:  # each widget has its own; gradio wraps them
            if isinstance(error.__cause__, CelebError):
                raise error.__cause__ from None
            log.warning("values that do not fit: %s", type(error).__name__)
            raise SettingsError(
                "What was sent does not fit the fields of this page. Reload it and try again."
            ) from error


def _shown(text: str) -> gr.Error:
    return gr.Error(html.escape(text, quote=False), print_exception=False)
