"""What both command lines share: how a command is run, its messages and exit codes."""

import argparse
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import diffusers.utils.logging
import transformers.utils.logging
from huggingface_hub import constants

from celeb_core.errors import CelebError, PromptUnreadable, UsageError
from celeb_core.temporary_files import private_folder

LONGEST = 2000  # characters of argparse's own messages, which quote what was given

log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """A parser whose message is one line, without the list of all options before it."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit with code 2."""
        short = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
        self.exit(2, f"error: {short.rstrip('.')}. See {self.prog} --help.\n")


def run(command: Callable[[], None]) -> int:
    """Run a command and return its exit code, after one message if something is wrong.

    0 done, 1 with a message that says what to do, 2 wrong usage, 130 interrupted, 141 the reader
    of the output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack characters
            stream.reconfigure(errors="replace")
    _quiet_libraries()
    _ensure_home()
    try:
        command()
        sys.stdout.flush()
    except CelebError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError | PromptUnreadable) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _discard_output()
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _discard_output()
        print(f"error: {error.strerror}. Free some space and try again.", file=sys.stderr)
        return 1
    return 0


def _discard_output() -> None:
    """Let what Python prints when it exits go nowhere: it would be another error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _quiet_libraries() -> None:
    """Show our messages and hide libraries' notices and bars."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in (transformers.utils.logging, diffusers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    for client in ("httpx", "httpx2"):  # the hub's, by its version
        logging.getLogger(client).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`")  # of diffusers, to the hub


def _ensure_home() -> None:
    """Where there is no home folder, libraries and our caches get a temporary one."""
    try:
        home = Path.home()
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        usable = os.access(there, os.R_OK | os.X_OK | (0 if there == home else os.W_OK))
    except (RuntimeError, OSError):  # no HOME and no such user; folders that may not be read
        usable = False
    if usable:
        return
    home = private_folder()
    log.warning("There is no home folder: caches, models and face packs go to %s", home)
    os.environ["HOME"] = str(home)
    if constants.HF_HUB_CACHE.startswith("~"):
        constants.HF_HUB_CACHE = os.path.expanduser(constants.HF_HUB_CACHE)


def cache_folder() -> Path:
    """Return the folder for bases and calibrations, where none is named."""
    folder = Path.home() / ".cache" / "celeb-basis-studio"
    try:
        folder.is_dir()
    except OSError as error:  # as root made it, for example
        folder = private_folder()
        log.warning("%s. What is kept there goes to %s.", error, folder)
    return folder
