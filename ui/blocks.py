"""The page's `gr.Blocks`: whatever an event raises reaches the person with a reason."""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.route_utils import get_root_url
from gradio_client.utils import is_file_obj, traverse
from starlette.requests import Request

from celeb_core import CelebError, checks
from celeb_core.errors import SettingsError, quote
from ui.api_answers import file_in_base64, for_mcp
from ui.errors import explain

log = logging.getLogger(__name__)

UNFIT_CALL = "These are not the arguments of this endpoint: /gradio_api/info lists them."
UNFIT = "What was sent does not fit the fields of this page. Reload it and try again."


class StudioBlocks(gr.Blocks):
    """Of any other error than its own, gradio tells the browser only that there was one.

    The value of the widget `session` is never the browser's: it is what `session_of` says of the
    request.
    """

    session: gr.Textbox | None = None
    _closed: Mapping[str, float] = MappingProxyType({})  # tab -> since when
    session_of: Callable[[gr.Request | None], str] = staticmethod(lambda request: "")

    async def process_api(
        self, block_fn: BlockFunction | int, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Run an event: check its values, call the handler, convert what it returns.

        Raises:
            gr.Error: With what the user reads, as HTML.
        """
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        request = kwargs.get("request")
        if isinstance(request, Request):  # not gradio's: it came from gradio's MCP server
            return await self._process_tool(fn, *args, **kwargs)
        try:
            if fn.collects_event_data:
                check_click(kwargs.get("event_data"))
            if kwargs.get("inputs") and kwargs.get("iterator") is None:
                session = self.session_of(kwargs.get("request"))
                kwargs["inputs"] = self._with_session(fn, kwargs["inputs"], session)
            return await super().process_api(fn, *args, **kwargs)
        except gr.Error as error:  # of a widget, about its value, which may be long
            raise _shown(explain(CelebError(quote(error.message)))) from error
        except Exception as error:
            text = explain(error)
            raise _shown(text, escaped=fn.preprocess) from error

    async def _process_tool(self, fn: BlockFunction, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run an endpoint for an MCP client, and shape its answer for one."""
        request: Request = kwargs["request"]
        try:
            result: dict[str, Any] = await super().process_api(fn, *args, **kwargs)
        except Exception as error:
            raise CelebError(explain(error)) from error
        server: Any = self.mcp_server_obj
        path = server.get_route_path(request)
        root = get_root_url(request=request, route_path=path, root_path=server.root_path)
        server.get_base64_data = file_in_base64
        result["data"] = for_mcp(result["data"][0], root)
        return result

    async def preprocess_data(
        self, block_fn: BlockFunction, *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Convert the values of a request, which need not come from the page.

        Raises:
            SettingsError: They do not fit the widgets.
        """
        if not block_fn.preprocess:  # an endpoint of ui/api.py
            return self._checked(block_fn, *args, **kwargs)
        try:
            values = await super().preprocess_data(block_fn, *args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:  # each widget has its own; gradio wraps them
            if isinstance(error.__cause__, CelebError):
                raise error.__cause__ from None
            log.warning("values that do not fit: %s", type(error).__name__)
            raise SettingsError(UNFIT) from error
        for widget, value in zip(block_fn.inputs, values, strict=True):
            if isinstance(widget, gr.BrowserState) and not isinstance(value, str):
                raise SettingsError(UNFIT)
        # An answer may hold no lone surrogates, so they do not come in.
        return [
            value.encode(errors="ignore").decode() if isinstance(value, str) else value
            for value in values
        ]

    def _checked(self, fn: BlockFunction, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
        """Return the values of a request to an endpoint, which checks each by itself.

        gradio would keep them as long as the session, copy any file that an MCP client names, and
        fetch any address without a bound: of a file only the path is passed on, as a text.
        """
        try:
            self.validate_inputs(fn, inputs)
            return list(traverse(inputs, lambda file: file["path"], is_file_obj))
        except (ValueError, TypeError, RecursionError) as error:
            raise SettingsError(UNFIT_CALL) from error

    def forget_closed_tabs(self, after: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Free the state of tabs that are closed: gradio keeps it, half a megabyte each.

        Args:
            after: Seconds; a tab that lost its connection for a moment comes back within these.
            clock: Returns seconds.
        """
        holder, now = self.state_holder, clock()
        closed = {tab for tab, state in list(holder.session_data.items()) if state.is_closed}
        self._closed = {tab: self._closed.get(tab, now) for tab in closed}
        for tab in [tab for tab, since in self._closed.items() if now - since > after]:
            with holder.lock:
                holder.session_data.pop(tab, None)
            holder.time_last_used.pop(tab, None)

    def _with_session(self, fn: BlockFunction, values: list[Any], session: str) -> list[Any]:
        pairs = zip(fn.inputs, values, strict=False)  # gradio says if they are too few
        return [session if widget is self.session else value for widget, value in pairs] + list(
            values[len(fn.inputs) :]
        )


def check_click(event: gr.EventData | None) -> None:
    """Check the place of a click: a number, or two.

    Raises:
        SettingsError: It is something else.
    """
    try:
        index = event.index if event is not None else None
    except (TypeError, AttributeError) as error:
        raise SettingsError(UNFIT) from error
    for place in index if isinstance(index, list | tuple) else [index]:
        checks.number(place, "The place of the click", 0, checks.MOST, whole=False)


def _shown(text: str, escaped: bool = True) -> gr.Error:
    text = html.escape(text, quote=False) if escaped else text
    return gr.Error(text, print_exception=False)
