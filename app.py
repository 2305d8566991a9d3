"""Celeb Basis Studio: python app.py, then open the page that it names."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from celeb_core.files import private_folder

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by gradio when it is imported
os.environ["GRADIO_TEMP_DIR"] = str(private_folder() / "gradio")  # too; later see PageFiles

from celeb_core import CelebError, load_studio  # noqa: E402
from celeb_core.device import DTYPES, MODES  # noqa: E402
from celeb_core.identity import add_samples  # noqa: E402
from ui.page import Page  # noqa: E402
from ui.studio import Shared  # noqa: E402
from ui.theme import CSS, SCRIPT, THEME  # noqa: E402
from ui.time_estimate import EstimateJob  # noqa: E402
from ui.workspace import PRIVATE_FOLDER  # noqa: E402

CACHE = Path("~/.cache/celeb-basis-studio").expanduser()
LIBRARY = Path("identities")  # in the folder where the app is started
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
LARGEST_UPLOAD = "100mb"


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the models and serve the page until interrupted.

    Args:
        arguments: Of the command line; those of the process by default.

    Returns:
        The exit code.
    """
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "transformers", "diffusers"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`")  # of diffusers, to the hub
    try:
        core = load_studio(
            options.model,
            device=options.device,
            dtype=options.dtype,
            memory=options.memory,
            compiled=options.compile,
            face_pack=options.face_pack,
            names=options.names,
            cache=options.cache,
            calibration=options.calibration,
            require_faces=False,
            vae=options.vae,
            allow_pickle=options.allow_pickle,
        )
        if options.identities == LIBRARY:
            add_samples(LIBRARY)
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    logging.info(core.models.note)
    if not core.faces.ready:
        logging.warning("There is no face pack yet: the page's Faces tab says how to get one.")
    local = options.host in LOCAL_HOSTS and not options.share
    shared = Shared(core, options.identities, isolated=not local)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: store, then exit
    try:
        launch(shared, options)
    finally:
        shared.close()
    return 0


def launch(shared: Shared, options: argparse.Namespace) -> None:
    """Serve the page. Unless it is local, every browser session is isolated."""
    os.environ["GRADIO_TEMP_DIR"] = str(shared.files.cache)  # private, and deleted in the end
    if not shared.estimates.measured:
        shared.runner.submit(EstimateJob(owner="", estimates=shared.estimates))
    Page(shared).build().queue(max_size=32, api_open=False).launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        auth=credentials(options),
        theme=THEME,
        css=CSS,
        js=SCRIPT,
        max_file_size=LARGEST_UPLOAD,
        allowed_paths=[] if shared.isolated else outside([shared.images, shared.library]),
        blocked_paths=[str(shared.library.resolve() / PRIVATE_FOLDER)],
        run_history=False,
        enable_monitoring=False,
        footer_links=["settings"],
        show_error=False,
        strict_cors=True,
        ssr_mode=False,
        pwa=False,
    )


def outside(folders: Sequence[Path]) -> list[str]:
    """Return those of the folders that gradio would not serve images from unasked."""
    known = Path.cwd()
    return [str(folder) for folder in folders if not folder.resolve().is_relative_to(known)]


def credentials(options: argparse.Namespace) -> tuple[str, str] | None:
    """Return name and password; a share link is open to the world, so it never goes without."""
    if options.auth:
        name, _, password = options.auth.partition(":")
        return name, password
    if not options.share:
        return None
    password = secrets.token_urlsafe(12)
    print(f"The share link asks for a password. Name: studio, password: {password}")
    return "studio", password


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--model", default="auto", help="auto, toonville, sd15, sdxl, folder, file, hub id"
    )
    options.add_argument("--vae", help="in place of the model's, or a tiny one to decode images")
    options.add_argument(
        "--allow-pickle", action="store_true", help="read pickled weights' tensors"
    )
    options.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for the whole network")
    options.add_argument("--port", type=int, help="7860 or the next free one by default")
    options.add_argument("--share", action="store_true", help="a public link, with a password")
    options.add_argument("--auth", metavar="NAME:PASSWORD", help="ask for these")
    options.add_argument("--identities", type=Path, default=LIBRARY, help="folder of your people")
    options.add_argument("--face-pack", help="insightface pack: a name or a folder")
    options.add_argument("--names", type=Path, help="text file with one celebrity per line")
    options.add_argument("--calibration", help="file, or hub id; the one that fits by default")
    options.add_argument("--cache", type=Path, default=CACHE, help="folder for what is made once")
    options.add_argument("--device", help="cuda, mps or cpu; the best there is by default")
    options.add_argument("--dtype", choices=DTYPES, help="of the UNet; the device's by default")
    options.add_argument("--memory", choices=MODES, help="how lean; by the free memory by default")
    options.add_argument("--compile", action="store_true", help="compile the UNet's blocks")
    return options


if __name__ == "__main__":
    sys.exit(main())
