"""A browser without a screen: fires the page's own events over HTTP, by the ids of its widgets."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

TIMEOUT = 60.0  # seconds


class PageClient:
    """One tab of a browser.

    Args:
        address: Of the page, such as http://127.0.0.1:7860.
        login: Name and password, if it asks for them.
    """

    def __init__(self, address: str, login: tuple[str, str] | None = None) -> None:
        self._http = httpx.Client(base_url=address, timeout=TIMEOUT)
        if login:
            form = dict(zip(("username", "password"), login, strict=True))
            self._http.post("/login", data=form).raise_for_status()
        self._tab = uuid.uuid4().hex
        page = self._http.get("/config").raise_for_status().json()
        self._widgets = {widget["id"]: widget["props"] for widget in page["components"]}
        self._events = page["dependencies"]
        self._load()
        threading.Thread(target=self._stay, daemon=True).start()

    def __enter__(self) -> PageClient:
        return self

    def __exit__(self, *error: Any) -> None:
        self._http.close()

    def fire(
        self, widget: str, event: str, values: Mapping[str, Any] | None = None, data: Any = None
    ) -> dict[str, Any]:
        """Fire an event as the browser does, and wait for its end.

        Args:
            widget: Its elem_id.
            event: "click", "upload", "select", ...
            values: elem_id -> value, of the widgets that the handler reads; the others have the
                value that they had when the page was loaded.
            data: Of the event, such as {"index": 0} of a selection.

        Returns:
            elem_id -> what the handler returned for it, of widgets with an elem_id; of an event
            that failed, {"error": the message that the user sees}.
        """
        found = next(e for e in self._events if [widget, event] in self._targets(e))
        return self._by_name(found, self.call(found, values or {}, data))

    def update(self, widget: str, kind: str) -> dict[str, Any]:
        """Fire the first event of a kind that updates a widget, and return as `fire`.

        Args:
            widget: Its elem_id.
            kind: "tick" for its timer, "select" for its tab.
        """
        found = next(
            event
            for event in self._events
            if any(target == kind for _, target in event["targets"])
            and event["queue"] is False  # selecting an image is a queued event
            and any(self._widgets[n].get("elem_id") == widget for n in event["outputs"])
        )
        return self._by_name(found, self.call(found, {}))

    def call(
        self, event: Mapping[str, Any], values: Mapping[str, Any], data: Any = None
    ) -> dict[str, Any]:
        """Send an event as the page's configuration describes it; return gradio's answer."""
        body = self._body(event, values, data)
        if event["queue"] is False:
            answer = self._http.post("/gradio_api/run/predict", json=body)
            output: dict[str, Any] = answer.json()
            return output
        self._http.post("/gradio_api/queue/join", json=body).raise_for_status()
        return self._result()

    def body_of(self, widget: str, event: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `fire` sends."""
        found = next(e for e in self._events if [widget, event] in self._targets(e))
        return self._body(found, values, None)

    def get(self, address: str) -> httpx.Response:
        """Request an address of the page, as its images are."""
        return self._http.get(address)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of this browser."""
        return dict(self._http.cookies)

    def _body(
        self, event: Mapping[str, Any], values: Mapping[str, Any], data: Any
    ) -> dict[str, Any]:
        inputs = [self._widgets[number] for number in event["inputs"]]
        return {
            "data": [values.get(props.get("elem_id"), props.get("value")) for props in inputs],
            "event_data": data,
            "fn_index": event["id"],
            "session_hash": self._tab,
            "trigger_id": None,
        }

    def _stay(self) -> None:
        """Keep the connection by which the server knows that the tab is open."""
        with (
            suppress(httpx.HTTPError, RuntimeError),  # the tab is closed, or the server is killed
            self._http.stream("GET", f"/gradio_api/heartbeat/{self._tab}", timeout=None) as stream,
        ):
            for _ in stream.iter_bytes():
                pass

    def _load(self) -> None:
        """Fire what a browser fires when the page is loaded: it gives the session its cookie."""
        for event in self._events:
            if any(kind == "load" for _, kind in event["targets"]) and event["backend_fn"]:
                self.call(event, {})

    def upload(self, file: Path, name: str = "") -> dict[str, Any]:
        """Upload a file, and return the value of the widget that took it."""
        with open(file, "rb") as content:
            files = {"files": (name or file.name, content)}
            response = self._http.post("/gradio_api/upload", files=files).raise_for_status()
        path = response.json()[0]
        return {"path": path, "orig_name": name or file.name, "meta": {"_type": "gradio.FileData"}}

    def _by_name(self, event: Mapping[str, Any], output: Mapping[str, Any]) -> dict[str, Any]:
        if "data" not in output:
            return {"error": output.get("error")}
        names = [self._widgets[number].get("elem_id") for number in event["outputs"]]
        return {name: value for name, value in zip(names, output["data"], strict=True) if name}

    def _targets(self, event: dict[str, Any]) -> list[list[Any]]:
        known = [(self._widgets.get(number, {}), kind) for number, kind in event["targets"]]
        return [[props.get("elem_id"), kind] for props, kind in known]

    def _result(self) -> dict[str, Any]:
        """Read the tab's stream of messages until the event is over."""
        query = {"session_hash": self._tab}
        with self._http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    output: dict[str, Any] = message["output"]
                    return output
        raise httpx.RemoteProtocolError("the stream ended before the event")
