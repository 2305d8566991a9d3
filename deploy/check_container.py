"""Build the container's image and check its health: python -m deploy.check_container.

With docker where its engine answers, or with the builder that is named. Otherwise the Dockerfile's
steps are run in a new folder, but for those that need a system of its own (apt-get, useradd), and
the program as the user “nobody”.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from celeb_core.cli import program
from celeb_core.errors import CelebError
from deploy.dockerfile import ROOT, Instruction, entry_point, health_command, instructions

BUILDERS = ("docker", "podman", "buildah")
IMAGE = "localhost/celeb-basis-studio:check"
PORT = 7860  # in the container
PATIENCE = 300.0  # seconds until it is healthy
OF_SYSTEM = ("apt-get", "useradd")  # first words of what is not run in a folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, run, check, stop; return the exit code."""
    options = program.Parser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--builder", choices=(*BUILDERS, "none"), help="docker by default where its engine answers"
    )
    options.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="of the Dockerfile"
    )
    options.add_argument(
        "--volume", action="append", default=[], metavar="HERE:THERE", help="while it is built"
    )
    return program.run(lambda: check(options.parse_args(arguments)))


def check(options: argparse.Namespace) -> None:
    """Build, run, check, stop.

    Raises:
        CelebError: A step failed, or the page did not answer.
    """
    steps = instructions()
    builder = options.builder or ("docker" if succeeds(["docker", "info"]) else "none")
    print(f"builder: {builder}", flush=True)
    if builder == "none":
        with tempfile.TemporaryDirectory(prefix="celeb-basis-container-") as name:
            check_in_folder(steps, Path(name))
        return
    extra = [word for one in options.build_arg for word in ("--build-arg", one)]
    extra += [word for one in options.volume for word in ("--volume", one)]
    docker = [] if builder == "docker" else ["--format", "docker"]  # OCI's has no HEALTHCHECK
    isolation = ["--isolation", "chroot"] if builder == "buildah" else []
    run([builder, "build", *docker, *isolation, *extra, "--tag", IMAGE, str(ROOT)])
    running = in_buildah(steps) if builder == "buildah" else in_engine(builder)
    with running as command:
        wait(lambda: succeeds([*command, *health_command(steps)]))


@contextmanager
def in_engine(engine: str) -> Iterator[list[str]]:
    """Run the image; yield what a command is put after to be run within."""
    publish = f"127.0.0.1:{free_port()}:{PORT}"
    started = run([engine, "run", "--detach", "--rm", "--publish", publish, IMAGE], capture=True)
    try:
        yield [engine, "exec", started.strip()]
    finally:
        run([engine, "stop", started.strip()])


@contextmanager
def in_buildah(steps: list[Instruction]) -> Iterator[list[str]]:
    """Run the image in a change of root, with the network of this machine."""
    name = run(["buildah", "from", "--pull-never", IMAGE], capture=True).strip()
    command = ["buildah", "run", "--isolation", "chroot", name, "--"]
    process = subprocess.Popen([*command, *entry_point(steps)])
    try:
        yield command
    finally:
        process.terminate()
        process.wait(30)
        run(["buildah", "rm", name])


def check_in_folder(steps: list[Instruction], folder: Path) -> None:
    """Run the steps with a folder in place of / and this Python, as nobody if this is root."""
    port, (python, user) = free_port(), python_and_user()
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    home = folder
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "DEVICE": "cpu"}
    for name in ("PIP_CERT", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        variables |= {name: os.environ[name]} if name in os.environ else {}

    def here(text: str) -> str:
        text = re.sub(r"(?<![\w/])/(app|data)(?![\w.])", rf"{folder}/\1", text)
        return text.replace(str(PORT), str(port))

    for step in steps:
        if step.name == "WORKDIR":
            home = Path(here(step.text))
            home.mkdir(parents=True, exist_ok=True)
        elif step.name == "COPY":
            *sources, target = step.words()
            for source in sources:
                copy(source, home / target)
        elif step.name == "ENV":
            variables |= dict(
                word.split("=", 1) for word in Instruction("", here(step.text)).words()
            )
        elif step.name == "RUN" and not step.text.startswith(OF_SYSTEM):
            run(["sh", "-c", here(step.text)], home=home, variables=variables)
        else:
            print(f"left out: {step.name} {step.text[:60]}", flush=True)
    for data in (folder / "data", folder / "data" / "people", folder / "data" / "models"):
        data.mkdir(exist_ok=True)
        if user:
            shutil.chown(data, user)
    entry, healthy = ([here(word) for word in one(steps)] for one in (entry_point, health_command))
    process = subprocess.Popen(entry, cwd=home, env=variables, user=user, extra_groups=[])

    def answers() -> bool:
        if process.poll() is not None:
            raise CelebError(f"The program ended with exit code {process.returncode}. See above.")
        return succeeds(healthy)

    try:
        wait(answers)
    finally:
        process.terminate()
        process.wait(30)


def python_and_user() -> tuple[str, str | None]:
    """Return a Python, and the user to run it as; None is who runs this."""
    own = os.path.realpath(sys.executable)
    if os.getuid():
        return own, None
    for python in (own, "/usr/bin/python3"):
        with suppress(OSError):  # in a home folder that others may not enter
            command = [python, "-c", "import ensurepip"]
            if not subprocess.run(command, user="nobody", extra_groups=[], check=False).returncode:
                return python, "nobody"
    print("as root: nobody else can run a Python of this machine", flush=True)
    return own, None


def copy(source: str, target: Path) -> None:
    """Copy what COPY names, without compiled code and the people of whoever runs this."""
    path = ROOT / source
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "*.pyi", ".*")
    if not path.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    elif path.name == "identities":
        target.mkdir()
        for sample in path.glob("*.sample.safetensors"):
            shutil.copy(sample, target)
    else:
        shutil.copytree(path, target, ignore=skipped)


def run(
    command: Sequence[str],
    capture: bool = False,
    home: Path | None = None,
    variables: dict[str, str] | None = None,
) -> str:
    """Run a command and return what it printed if that is captured.

    Raises:
        CelebError: It failed.
    """
    print("+", *command, flush=True)
    output = subprocess.PIPE if capture else None
    done = subprocess.run(command, stdout=output, text=True, cwd=home, env=variables, check=False)
    if done.returncode:
        raise CelebError(f"{command[0]} failed with exit code {done.returncode}. See above.")
    return done.stdout or ""


def succeeds(command: Sequence[str]) -> bool:
    """Return whether a command ends with exit code 0, and hide what it prints."""
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait(condition: Callable[[], bool]) -> None:
    """Wait until the page answers.

    Raises:
        CelebError: It does not.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise CelebError(f"The page did not answer within {PATIENCE:.0f} s.")
        time.sleep(1)
    print(f"healthy after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
