"""Where the page is served: options from the environment, and who may reach it."""

from __future__ import annotations

import errno
import logging
import re
import socket
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from urllib.parse import urlsplit

from celeb_core.cli.option_values import word
from celeb_core.errors import UsageError, quote

PREFIX = "CELEB_"  # and the name of an option: CELEB_MODEL is --model
GRADIO = {  # gradio's own variables, and the options that they stand for
    "GRADIO_SERVER_NAME": "host",
    "GRADIO_SERVER_PORT": "port",
    "GRADIO_ROOT_PATH": "root_path",
}
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
SPACE_PORT = "7860"
# Networks that are not the internet's: whoever calls a Space from there is one of its proxies.
SPACE_PROXIES = "127.0.0.1,::1,10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fc00::/7"
GPU_MODEL = "sd15"  # of a Space with a GPU
FACE_PACK = ("CELEB_GET_FACE_PACK", "CELEB_FACE_PACK")

log = logging.getLogger(__name__)


def is_space(environ: Mapping[str, str]) -> bool:
    """Return whether this is a Space of Hugging Face."""
    return bool(environ.get("SPACE_ID"))


def space_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options that differ on a Space, by name; none elsewhere.

    Stable Diffusion is the model where the Space has a GPU, of its own or shared (ZeroGPU), and its
    owner has chosen a face pack: because of the licences none is downloaded unasked, and without
    one a model of photographs is of no use.
    """
    if not is_space(environ):
        return {}
    options = {"host": "0.0.0.0", "port": SPACE_PORT}
    accelerator = environ.get("ACCELERATOR", "").lower()
    has_gpu = accelerator not in ("", "none") and not accelerator.startswith("cpu")
    has_gpu = has_gpu or environ.get("SPACES_ZERO_GPU", "").lower() in YES
    if has_gpu and any(environ.get(name) for name in FACE_PACK):
        options["model"] = GPU_MODEL
    return options


def arguments(environ: Mapping[str, str], known: Mapping[str, object]) -> list[str]:
    """Return the options that the environment gives, to be put before those of the command line.

    A variable CELEB_NAME gives --name, before gradio's own variables, before what a Space needs.
    One that is empty is as good as absent; of a flag it is 1 or 0.

    Args:
        environ: The variables.
        known: All options and their defaults, by name (“root_path”): a bool is that of a flag, a
            list that of an option that may be repeated; its variable has words between spaces.

    Raises:
        UsageError: A flag's variable is neither yes nor no.
    """
    given = space_defaults(environ)
    given |= {option: environ[name] for name, option in GRADIO.items() if environ.get(name)}
    found: list[str] = []
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        option, text = name.removeprefix(PREFIX).lower(), environ[name]
        if option not in known:
            log.warning("%s is no option and does nothing. See --help.", quote(name))
        elif isinstance(known[option], bool):
            found += [_flag(option)] * _is_yes(name, text)
        elif isinstance(known[option], list):
            found += [f"{_flag(option)}={word}" for word in text.split()]
        elif text:
            given[option] = text
    return [*(f"{_flag(option)}={text}" for option, text in given.items()), *found]


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _is_yes(name: str, text: str) -> bool:
    if text.strip().lower() in ("", *NO, *YES):
        return text.strip().lower() in YES
    raise UsageError(f"{name} is “{quote(text)}”. Write 1 for yes, 0 for no.")


def isolated(options: Namespace, environ: Mapping[str, str]) -> bool:
    """Return whether each browser session has people of its own, because strangers may come.

    Args:
        options: `host`, `share`, `root_path`, and `one_library`, which says that none will.
        environ: The variables.

    Raises:
        UsageError: One library for all of a Space's or a share link's visitors.
    """
    world = is_space(environ) or options.share
    if options.one_library and world:
        where = "share link" if options.share else "Space"
        raise UsageError(
            f"Whoever has the address of a {where} would see your people. Leave out --one-library."
        )
    foreign = options.host not in LOCAL_HOSTS or bool(options.root_path)
    return world or (foreign and not options.one_library)


def names(root_path: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return the host names by which the page is known to be called, none of an address."""
    hosts = (urlsplit(root_path or "").hostname, environ.get("SPACE_HOST"))
    return [host for host in hosts if host]


def root_path(text: str) -> str:
    """Parse the path under which a proxy serves the page, or its whole address."""
    if not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^/\s?#]+)*/?", word(text)):
        raise ArgumentTypeError(
            f"“{quote(text)}” is no path. Write /studio, or https://example.org/studio"
        )
    return text.rstrip("/")


def check_address(host: str, port: int | None) -> None:
    """Bind an address, so that one that cannot be used is found before anything is loaded.

    Raises:
        UsageError: The port is taken, or the host is none of this machine.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(
                f"--host {quote(host)} is no address of this machine ({reason}). Choose 127.0.0.1 "
                "for this machine alone, 0.0.0.0 for the whole network."
            ) from error
        raise UsageError(
            f"Port {port} of {host} cannot be used ({reason}). Choose another --port, or leave it "
            "out for the next one that is free."
        ) from error
