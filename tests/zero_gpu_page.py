"""A page on ZeroGPU without a GPU: what it did, as JSON. `test_ui_zero_gpu.py` runs it.

The package `spaces` is the real one, with its imitation of CUDA here, its forked worker, its
client and its queue. Only what needs a driver is replaced: the worker finds the models on the CPU.
"""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import torch

# A PyTorch for CPUs lacks these, which the package keeps and replaces.
torch.version.cuda = torch.version.cuda or "12.8"
torch._C._cuda_init = getattr(torch._C, "_cuda_init", lambda: None)
torch.cuda._is_in_bad_fork = torch.cuda.is_available

from app import ZERO_GPU  # noqa: E402

assert ZERO_GPU and "spaces" in sys.modules

from gradio.context import LocalContext  # noqa: E402
from spaces.config import Config  # noqa: E402
from spaces.zero import client  # noqa: E402
from spaces.zero import torch as zero  # noqa: E402
from spaces.zero.torch.patching import cuda_aliases  # noqa: E402
from starlette.datastructures import Headers  # noqa: E402
from ui_help import finish, make_shared  # noqa: E402

from celeb_core import load_studio  # noqa: E402
from ui import gpu_tasks  # noqa: E402
from ui.page import Page  # noqa: E402
from ui.zero_gpu import use_zero_gpu  # noqa: E402


class Visitor:
    """The part of a request that says whose quota is used."""

    def __init__(self) -> None:
        payload = base64.urlsafe_b64encode(b'{"user": "someone"}').decode().rstrip("=")
        self.headers = Headers({"x-ip-token": f"head.{payload}.tail"})


def imitate_a_worker(studio: Any) -> None:
    """Take the weights away here, as packing does, and put them back in the worker, on the CPU."""
    weights = dict(cuda_aliases.items())
    for fake in weights:
        cuda_aliases[fake] = None

    def move(callback: Any = None) -> None:
        for fake, weight in weights.items():
            fake.data = weight
        models = replace(studio.models, device=torch.device("cpu"))
        gpu_tasks.use(replace(studio, models=models))

    zero.init, zero.size, zero.move = (lambda uuid: None), (lambda: 0), move


def main(folder: Path) -> dict[str, Any]:
    studio = load_studio("toonville")
    shared = make_shared(studio, folder)
    use_zero_gpu(shared)
    page = Page(shared)
    page.build()
    imitate_a_worker(studio)
    client.startup_report()
    LocalContext.request.set(Visitor())

    workspace = shared.workspace("")
    image, _ = shared.examples()[0]
    workspace.enlist(workspace.add_photo(image, "ada"), 0, "ada", consent=True)
    told: dict[str, Any] = {
        "device": str(studio.models.device),
        "measured": shared.estimates.measured,
    }

    def train(preset: str, steps: int, seed: int) -> dict[str, Any]:
        page.train.start(list(workspace.trainees), preset, steps, seed, "")
        job = finish(page.train.job(""), 120)
        (ada,) = job.people
        return {
            "status": job.status, "error": job.error, "warning": job.warning,
            "steps": [step for step, _ in job.losses],
            "scores": [image.settings["identity"] for image in job.results],
            "coefficients": ada.coefficients.flatten().tolist(),
        }  # fmt: skip

    def generate() -> dict[str, Any]:
        form = {"grid_people": [], "count": 2, "seed": 5, "new_seed": False, "strength": 1.0}
        form |= {"embed_settings": True, "steps": 2, "guidance_scale": 3.0, "session": ""}
        page.compose.start(text="a photo of <ada>", **form)
        job = finish(page.compose.results.job(""), 120)
        return {"status": job.status, "error": job.error, "images": len(job.images)}

    told["instant"] = train("instant", 0, 0)
    told["fast"] = train("fast", 3, 0)
    told["generated"] = generate()
    httpx.post(f"{Config.zero_device_api_url}/spend-the-quota")
    told["refused"] = generate()
    told["instant again"] = train("instant", 0, 1)
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("told:" + json.dumps(main(Path(sys.argv[1]))))
    sys.stdout.flush()
