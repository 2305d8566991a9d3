"""Celeb Basis Studio: python app.py, then open the page that it names."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from celeb_core.temporary_files import private_folder

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by gradio when it is imported
os.environ["GRADIO_TEMP_DIR"] = str(private_folder() / "gradio")  # too; later see PageFiles

# On ZeroGPU it must come before anything that may look for CUDA devices.
ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
if ZERO_GPU:
    import spaces  # noqa: F401

from celeb_core import CelebError, Studio, load_studio  # noqa: E402
from celeb_core.cli import option_values as value  # noqa: E402
from celeb_core.cli import program  # noqa: E402
from celeb_core.device import DTYPES, MODES  # noqa: E402
from celeb_core.errors import SaveFailed  # noqa: E402
from celeb_core.face_packs import PACKS, download_pack  # noqa: E402
from celeb_core.identity import add_samples  # noqa: E402
from celeb_core.library import PRIVATE_FOLDER  # noqa: E402
from celeb_core.many.work import StudioOptions  # noqa: E402
from celeb_core.marks.provenance import load_marker  # noqa: E402
from celeb_core.safety import OFF, load_safety_checker  # noqa: E402
from ui import hosting, ray_executor, serving  # noqa: E402
from ui.api import prepare_mcp  # noqa: E402
from ui.estimate_job import EstimateJob  # noqa: E402
from ui.limits import KINDS, changed  # noqa: E402
from ui.serving import Serving  # noqa: E402
from ui.studio import Shared  # noqa: E402

LIBRARY = Path("identities")  # in the folder where the app is started
CHECKS = {
    "identities": value.check_out_folder,
    "names": value.check_file,
    "cache": value.check_may_be_folder,
    "c2pa_cert": value.check_file,
    "c2pa_key": value.check_file,
}
EPILOG = "Each option can be given as a variable, too: CELEB_MODEL=sd15 is --model sd15."


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the models and serve the page until interrupted.

    Args:
        arguments: Of the command line; those of the process by default.

    Returns:
        The exit code.
    """
    return program.run(lambda: serve(parse(arguments)))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options: of the command line, else of the environment.

    Raises:
        UsageError: A variable of the environment is wrong.
    """
    options = parser()
    given = hosting.arguments(os.environ, vars(options.parse_args([])))
    if given:  # without their values: one is a password
        names = ", ".join(argument.partition("=")[0] for argument in given)
        logging.info("Options of the environment: %s", names)
    return options.parse_args([*given, *(sys.argv[1:] if arguments is None else arguments)])


def serve(options: argparse.Namespace) -> None:
    """Load the models and serve the page until interrupted.

    Raises:
        CelebError: The model or the page cannot be used as the options say.
    """
    value.check_options(options, CHECKS)
    if options.mcp:
        prepare_mcp()
    isolated = hosting.isolated(options, os.environ)  # what can be wrong, before a model is loaded
    hosting.check_address(options.host, options.port)
    limits = KINDS[options.limits or ("public" if isolated else "none")]
    limits = changed(limits, options.limit)
    marks = (options.c2pa_cert, options.c2pa_key, options.invisible_mark)
    marker = load_marker(options.identities / PRIVATE_FOLDER, *marks)
    cluster = ray_executor.connect(options.workers, options.device) if options.workers else None
    core = load(options, options.safety or ("on" if isolated else "off"))
    if options.identities == LIBRARY:
        try:
            add_samples(LIBRARY)
        except SaveFailed as error:  # the page says it again before work whose result is lost
            logging.warning("%s", error)
    shared = Shared(
        core,
        options.identities,
        isolated=isolated,
        accounts=isolated and bool(options.auth),
        limits=limits,
        marker=marker,
    )
    if ZERO_GPU:
        from ui.zero_gpu import use_zero_gpu

        use_zero_gpu(shared)
    if cluster is not None:
        studio = StudioOptions(options.model, model_options(options))
        ray_executor.use_cluster(shared, cluster, studio)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: store, then exit
    try:
        launch(shared, options)
    except OSError as error:  # gradio's: an address that was taken meanwhile, a folder
        raise CelebError(
            f"The page cannot be served ({error}). Choose another --port or --host, and check that "
            "the system's temporary folder can be written."
        ) from error
    finally:
        shared.close()


def load(options: argparse.Namespace, safety: str) -> Studio:
    """Load all that the page needs.

    Args:
        options: Of the command line.
        safety: "on", "off" or the id of a checker.

    Raises:
        CelebError: Something of it is not there, or does not fit.
    """
    if options.get_face_pack:
        logging.info(PACKS[options.get_face_pack].licence)
        options.face_pack = download_pack(options.get_face_pack)
    given = model_options(options)
    if options.workers:  # they have the GPUs
        given |= {"device": "cpu", "dtype": None, "memory": None, "compiled": False}
    core = load_studio(
        options.model,
        face_pack=options.face_pack,
        calibration=options.calibration,
        require_faces=False,
        **given,
    )
    logging.info(core.models.note)
    if not core.faces.ready:
        logging.warning("There is no face pack yet: the page's Faces tab says how to get one.")
    return replace(core, safety=load_safety_checker(safety, core.models))


def model_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return how a model is loaded, wherever that is, as arguments of `load_studio`."""
    return {
        "device": options.device,
        "dtype": options.dtype,
        "memory": options.memory,
        "compiled": options.compile and not ZERO_GPU,
        "names": options.names,
        "cache": options.cache or program.cache_folder(),
        "vae": options.vae,
        "allow_pickle": options.allow_pickle,
    }


def launch(shared: Shared, options: argparse.Namespace) -> None:
    """Measure the device once, then serve the page until interrupted."""
    if not shared.estimates.measured:
        estimate = EstimateJob(owner="", estimates=shared.estimates, executor=shared.executor)
        shared.runner.submit(estimate)
    page = Serving(
        host=options.host,
        port=options.port,
        share=options.share,
        accounts=options.auth,
        allowed_hosts=[*options.allowed_host, *hosting.names(options.root_path, os.environ)],
        root_path=options.root_path or "",
        space=hosting.is_space(os.environ),
        mcp=options.mcp,
    )
    serving.serve(shared, page)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    options = program.Parser(description=__doc__, epilog=EPILOG)
    options.add_argument(
        "--model",
        type=value.source,
        default="auto",
        help="auto, toonville, sd15, sdxl, folder, file, hub id",
    )
    options.add_argument(
        "--vae", type=value.source, help="in place of the model's, or a tiny one to decode images"
    )
    options.add_argument(
        "--allow-pickle", action="store_true", help="read pickled weights' tensors"
    )
    options.add_argument(
        "--host", type=value.word, default="127.0.0.1", help="0.0.0.0: for the whole network"
    )
    options.add_argument(
        "--port", type=value.whole(1, 65535), help="7860 or the next free one by default"
    )
    options.add_argument(
        "--root-path", type=hosting.root_path, help="/studio: where a proxy serves it"
    )
    options.add_argument(
        "--one-library",
        action="store_true",
        help="all who reach it over the network share your people",
    )
    options.add_argument("--share", action="store_true", help="a public link, with a password")
    options.add_argument(
        "--auth",
        type=name_and_password,
        metavar="NAME:PASSWORD",
        action="append",
        default=[],
        help="ask for a login; may be repeated: each name has people of its own, kept in accounts/",
    )
    options.add_argument(
        "--allowed-host",
        type=value.word,
        metavar="NAME",
        action="append",
        default=[],
        help="name under which the page may be called, such as studio.example.org; may be repeated",
    )
    options.add_argument(
        "--limits",
        choices=list(KINDS),
        help="of a visitor: none by default on this machine alone, else public",
    )
    options.add_argument(
        "--limit",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="one of the limits, such as jobs=5 or images=none; see docs/hosting.md",
    )
    options.add_argument("--mcp", action="store_true", help="be an MCP server too, see docs/api.md")
    options.add_argument(
        "--identities", type=value.path, default=LIBRARY, help="folder of your people"
    )
    options.add_argument(
        "--face-pack", type=value.source, help="insightface pack: a name or a folder"
    )
    options.add_argument(
        "--get-face-pack",
        choices=PACKS,
        help="use this pack; download it unless it is there. Read its licence first",
    )
    options.add_argument("--names", type=value.path, help="text file with one celebrity per line")
    options.add_argument(
        "--calibration", type=value.source, help="file, or hub id; the one that fits by default"
    )
    options.add_argument("--cache", type=value.path, help="folder for what is made once")
    options.add_argument(
        "--device", type=value.device_name, help="cuda, mps or cpu; the best there is by default"
    )
    options.add_argument("--dtype", choices=DTYPES, help="of the UNet; the device's by default")
    options.add_argument("--memory", choices=MODES, help="how lean; by the free memory by default")
    options.add_argument(
        "--safety",
        type=value.source,
        metavar="on|off|MODEL",
        help="check generated images before they are saved or shown. on: by the model's own "
        f"checker; MODEL: by that of another model, or by an image classifier. {OFF}. "
        "By default on for strangers (--host, --share), off at home",
    )
    options.add_argument(
        "--c2pa-cert", type=value.path, help="PEM: certificates to sign images with (C2PA)"
    )
    options.add_argument("--c2pa-key", type=value.path, help="PEM: the signer's private key")
    options.add_argument(
        "--invisible-mark", action="store_true", help="mark the pixels, too, by TrustMark"
    )
    options.add_argument(
        "--workers",
        type=value.word,
        metavar="auto|ADDRESS",
        help="do the work of jobs on all GPUs of a Ray cluster: auto: of this machine; or an "
        "address, such as ray://HOST:10001. By default this process does it",
    )
    options.add_argument("--compile", action="store_true", help="compile the UNet's blocks")
    return options


def name_and_password(text: str) -> tuple[str, str]:
    """Parse “name:password”, both of which are needed."""
    name, _, password = value.line(text).partition(":")
    if not name.strip() or not password:
        raise argparse.ArgumentTypeError("write NAME:PASSWORD, both of at least one character")
    return name, password


if __name__ == "__main__":
    sys.exit(main())
