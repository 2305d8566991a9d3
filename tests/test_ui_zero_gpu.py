from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import gradio as gr
import httpx
import pytest
import spaces
import torch
from gradio.context import LocalContext
from ui_help import make_shared

from celeb_core import Person, find_face, fit_identities, load_studio, recipe
from celeb_core.prompt import encode_prompt, parse_prompt
from ui import gpu_tasks
from ui.calls import OutOfProcess
from ui.executor import GpuUnavailable
from ui.gpu_costs import MOST
from ui.zero_gpu import Call, use_zero_gpu

HERE = Path(__file__).parent


class Device(BaseHTTPRequestHandler):
    """What ZeroGPU asks for a GPU."""

    server: DeviceServer

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        self.server.asked.append((url.path, query))
        if url.path == "/spend-the-quota":
            self.server.spent = True
        if url.path != "/schedule":
            return self._answer(200, {})
        if self.server.spent:
            return self._answer(429, {"left": 3, "wait": 3600})
        idle = sum(path == "/schedule" for path, _ in self.server.asked) > 1
        gpu = {"idle": idle, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}
        return self._answer(200, gpu)

    def _answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


class DeviceServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Device)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.spent = False


Asked = list[tuple[str, dict[str, str]]]  # paths and queries


def run_page(folder: Path) -> tuple[dict, Asked]:
    """What a page on ZeroGPU told, and what it asked for."""
    (folder / "cgroup").write_text("0::/space\n")
    with DeviceServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "SPACES_ZERO_GPU": "true",
            "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
            "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
            "HOME": str(folder),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
            "OMP_NUM_THREADS": "1",
            "no_proxy": "127.0.0.1",
        }
        command = [sys.executable, str(HERE / "zero_gpu_page.py"), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        server.shutdown()
    lines = [line for line in done.stdout.splitlines() if line.startswith("told:")]
    assert done.returncode == 0 and lines, done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("told:")), server.asked


def test_a_page_on_zero_gpu(tmp_path):
    """One test: a page takes a while to start."""
    told, asked = run_page(tmp_path)
    trained_and_generated_in_the_forked_process(told, tmp_path)
    each_call_declared_its_seconds_for_the_visitor_who_asked(asked)
    a_spent_quota_was_a_plain_message_and_instant_went_on(told)


def trained_and_generated_in_the_forked_process(told: dict, folder: Path) -> None:
    toonville = load_studio("toonville", device="cpu")
    assert told["device"].startswith("cuda") and told["measured"]
    assert told["fast"]["status"] == "done", told["fast"]
    assert told["fast"]["steps"] == [1, 2, 3] and len(told["fast"]["scores"]) == 2
    assert told["generated"] == {"status": "done", "error": "", "images": 2}
    image, _ = make_shared(toonville, folder / "here").examples()[0]
    ada = Person("ada", (find_face(image, toonville.faces),))
    for preset, steps in (("fast", 3), ("instant", 0)):
        config = recipe(preset, toonville.calibration).changed(steps=steps)
        options = {"calibration": toonville.calibration}
        *_, last = fit_identities([ada], toonville.models, toonville.basis, config, **options)
        expected = last.people[0].coefficients.flatten().tolist()
        assert told[preset]["coefficients"] == pytest.approx(expected, abs=1e-3)


def each_call_declared_its_seconds_for_the_visitor_who_asked(asked: Asked) -> None:
    schedules = [query for path, query in asked if path == "/schedule"]
    # A slice or more, their images, others, one refused; none for instant.
    assert len(schedules) >= 4
    assert all(0 < int(query["durationSeconds"]) <= MOST for query in schedules)
    assert all(query["token"].startswith("head.") for query in schedules)
    assert len({query["taskId"] for query in schedules}) == 1
    assert [path for path, _ in asked].count("/allow") == 1  # one worker, used again
    assert [path for path, _ in asked].count("/release") == len(schedules) - 1


def a_spent_quota_was_a_plain_message_and_instant_went_on(told: dict) -> None:
    assert told["refused"]["status"] == "failed" and told["refused"]["images"] == 0
    assert "ZeroGPU quota exceeded" in told["refused"]["error"]
    assert "3s left" in told["refused"]["error"] and "kept" in told["refused"]["error"]
    assert told["instant again"]["status"] == "done" and not told["instant again"]["error"]


# --- without ZeroGPU


def test_elsewhere_the_decorator_does_nothing():
    assert spaces.GPU(duration=gpu_tasks.declared_seconds)(gpu_tasks.perform) is gpu_tasks.perform
    assert gpu_tasks.declared_seconds(12, b"") == 12


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (gr.Error("GPU task aborted", title="ZeroGPU worker error"), "GPU task aborted"),
        (httpx.ConnectError("refused"), "does not answer: refused"),
        (RuntimeError("ZeroGPU API /schedule error: 500"), "/schedule error"),
    ],
)
def test_what_goes_wrong_with_the_device_is_said_to_the_visitor(error, says):
    def fail(seconds, request):
        assert LocalContext.event_id.get() is None
        raise error

    with pytest.raises(GpuUnavailable, match=says):
        Call(fail)(1, b"")


def test_the_page_has_a_studio_of_its_own_without_a_gpu(studio, tmp_path):
    shared = make_shared(studio, tmp_path)
    use_zero_gpu(shared)
    assert isinstance(shared.executor, OutOfProcess) and shared.estimates.measured
    own = shared.core.models
    assert own.device == torch.device("cpu") and own.unet is studio.models.unet
    for mine, theirs in zip(own.encoders, studio.models.encoders, strict=True):
        assert mine.model is not theirs.model and torch.equal(mine.table, theirs.table)
    prompt = parse_prompt("a photo", {})
    ours, theirs = (encode_prompt(prompt, studio.basis, m) for m in (own, studio.models))
    assert torch.equal(ours.hidden_states, theirs.hidden_states)
