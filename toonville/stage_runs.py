"""What the stages of toonville.stages run.

Each can be run again after it was interrupted, and goes on where it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from celeb_core.__main__ import main as celeb_basis
from celeb_core.scoring import judge_crop
from toonville import (
    detector,
    encoded,
    examples,
    export,
    images,
    judge,
    people_store,
    reader,
    recogniser,
    report,
    vae,
)
from toonville.dataset import Captioned, captioned, render_store, unknown_example
from toonville.detector_data import make_canvases
from toonville.unnamed_people import (
    NUM_PEOPLE,
    PEOPLE_FILE,
    fit_probe,
    load_unnamed_people,
    make_unnamed_people,
    save_unnamed_people,
    unnamed_example,
)
from toonville.world import PIXELS

SHIPPED_FACES = ("faces", "judge.onnx", "reader.onnx", "reader.json")

TINY_EXAMPLES, TINY_NAMES = 64, 40  # of a store; celebrities whom the model is prepared with
TINY_NUMBERS = ("seconds_per_image", "assets_mb")  # of the report

# Store in <work>/data -> number of people, of examples, and pixels per unit. The VAE needs images
# of full size, CLIP's image tower sees 128 x 128.
RENDERED = {
    "vae_single": (1, 10_000, PIXELS),
    "vae_pair": (2, 3_000, PIXELS),
    "single": (1, 26_000, 1),
    "pair": (2, 13_000, 1),
    "triple": (3, 5_000, 1),
}
# Kind of store -> number of people and of examples. That in <work>/data is <kind>_encoded.
ENCODED = {
    "single": (1, 20_000),
    "pair": (2, 10_000),
    "triple": (3, 5_000),
    "unknown_single": (1, 8_000),
    "between_single": (1, 30_000),
    "between_pair": (2, 12_000),
    "between_triple": (3, 5_000),
}
FIRST_SEED = {
    "single": 1_000_000,
    "pair": 2_000_000,
    "between_single": 3_000_000,
    "between_pair": 4_000_000,
    "unknown_single": 5_000_000,
    "triple": 6_000_000,
    "between_triple": 7_000_000,
}

Numbers = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What a stage is run with."""

    work: Path  # data, checkpoints and trained models
    assets: Path  # the model folder that is made
    start: Path  # the model folder whose weights trainings start from
    basis: Path  # file of the celeb basis
    identities: Path  # folder of the sample people
    images: Path  # folder of the docs' images
    minutes: float = 0.0  # of a training, see trainer.Budget
    resume: bool = True
    device: str = "cpu"
    threads: int = 2
    tiny: bool = False
    options: Mapping[str, float] = field(default_factory=dict)  # of a training alone

    @property
    def data(self) -> Path:
        """Folder of rendered and encoded images."""
        return self.work / "data"

    @property
    def models(self) -> Path:
        """Folder of trained models and checkpoints."""
        return self.work / "models"

    def count(self, n: int) -> int:
        """Return how many examples to make instead of n."""
        return min(n, TINY_EXAMPLES) if self.tiny else n


Run = Callable[[Settings], Numbers]


def unpack(s: Settings) -> Numbers:
    """Put the weights to start from into <work>/models/start, and the face models to keep."""
    start = s.models / "start"
    start.mkdir(parents=True, exist_ok=True)
    export.unpack(s.start, start)
    for name in SHIPPED_FACES:
        if (start / name).is_dir():
            shutil.copytree(start / name, s.models / name, dirs_exist_ok=True)
        else:
            shutil.copy(start / name, s.models / name)
    return {}


def render(s: Settings) -> Numbers:
    """Render the training images of the VAE and of CLIP."""
    counts = {kind: s.count(n) for kind, (_, n, _) in RENDERED.items()}
    for kind, (people, _, pixels) in RENDERED.items():
        first, example = FIRST_SEED[kind.removeprefix("vae_")], partial(captioned, people)
        folder = s.data / kind
        render_store(folder, counts[kind], people, first, example, s.threads, pixels)
    return {**counts}


def training(
    name: str,
    train: Callable[..., None],
    before: Callable[[Settings], None] = lambda _: None,
    on_device: bool = False,
) -> Run:
    """Return the function of a training stage.

    Args:
        name: Of the checkpoint.
        train: (data, models, minutes, resume) -> None.
        before: Makes the data that only this training needs.
        on_device: Whether `train` takes a device.
    """

    def run(s: Settings) -> Numbers:
        before(s)
        options = {**s.options, **({"device": s.device} if on_device else {})}
        train(s.data, s.models, s.minutes, s.resume, **options)
        checkpoint = s.models / f"{name}.pt"
        return {"steps": torch.load(checkpoint, "cpu", weights_only=True, mmap=True)["step"]}

    run.__doc__ = train.__doc__
    return run


def keep_vae(s: Settings) -> None:
    """Let the decoder's training start from the VAE as it was before the decoder's training.

    It overwrites <work>/models/vae, and may be done again.
    """
    original, vae_folder = s.models / "vae_before_decoder", s.models / "vae"
    if not original.exists():
        copy = shutil.copytree(vae_folder, s.models / "vae.tmp", dirs_exist_ok=True)
        copy.rename(original)
    shutil.copytree(original, vae_folder, dirs_exist_ok=True)


def train_vae(data: Path, folder: Path, minutes: float, resume: bool, device: str) -> None:
    """Train the VAE, and forget the one that the decoder's training started from before."""
    vae.train_vae(data, folder, minutes, resume, device)
    shutil.rmtree(folder / "vae_before_decoder", ignore_errors=True)


def between(s: Settings) -> Numbers:
    """Make people between the celebrities, as the new text encoder implies them."""
    probe = fit_probe(encoded.load_text_encoder(s.models))
    people = make_unnamed_people(probe, s.count(NUM_PEOPLE))
    save_unnamed_people(people, s.data / PEOPLE_FILE)
    return {"people": len(people.traits)}


def encode(s: Settings) -> Numbers:
    """Encode images and captions for the UNet."""
    unnamed = load_unnamed_people(s.data / PEOPLE_FILE)
    counts = {kind: s.count(n) for kind, (_, n) in ENCODED.items()}
    for kind, (people, _) in ENCODED.items():
        out, among = s.data / f"{kind}_encoded", unnamed if kind.startswith("between") else None
        example: Callable[[int], Captioned] = partial(captioned, people)
        if kind == "unknown_single":
            example = unknown_example
        elif among:
            example = partial(unnamed_example, among.traits, people)
        n, first = counts[kind], FIRST_SEED[kind]
        encoded.encode_store(out, n, people, first, example, s.models, among, s.threads)
    return {**counts}


def render_for_reader(s: Settings) -> None:
    """Render the data of the reader's training."""
    n = s.count(reader.NUM_IMAGES)
    reader.render_labelled(s.data / "labelled", n, reader.SEED, s.threads)


def render_for_recogniser(s: Settings) -> None:
    """Render the data of the recogniser's training."""
    people_store.render_people_store(
        s.data / "people_rec",
        s.count(recogniser.NUM_PEOPLE),
        recogniser.FACES_EACH,
        recogniser.SEED,
        side=recogniser.INNER_SIDE,
        workers=s.threads,
    )


def render_for_judge(s: Settings) -> None:
    """Render the data of the judge's training."""
    n, each = s.count(judge.NUM_PEOPLE), judge.FACES_EACH
    people_store.render_people_store(
        s.data / "people_judge", n, each, judge.SEED, judge_crop, workers=s.threads
    )


def render_for_detector(s: Settings) -> None:
    """Render the data of the detector's training."""
    n = s.count(detector.NUM_CANVASES)
    make_canvases(s.data, s.data / "canvases", n, detector.SEED, s.threads)


def export_model(s: Settings) -> Numbers:
    """Write the model folder."""
    export.export(s.models, s.assets)
    if s.tiny:
        names = s.assets / "names.txt"
        names.write_text("\n".join(names.read_text().splitlines()[:TINY_NAMES]) + "\n")
    return report.assets_mb(report.Subject(s.assets, 0))


def _celeb_basis(s: Settings, command: str, *options: str | Path) -> None:
    """Run a command of celeb-basis on the model folder."""
    shared = ("--model", s.assets, "--device", s.device, "--cache", s.work / "cache")
    code = celeb_basis([command, *map(str, (*shared, *options))])
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RuntimeError(f"celeb-basis {command} ended with exit code {code}: see above")


def basis(s: Settings) -> Numbers:
    """Build the celeb basis."""
    _celeb_basis(s, "basis", "--out", s.basis)
    return {}


def prepare(s: Settings) -> Numbers:
    """Fit the closed-form initialisation, and find the training settings by a self-check."""
    made = s.work / "prepared" / "calibration.safetensors"
    made.parent.mkdir(parents=True, exist_ok=True)
    _celeb_basis(s, "prepare", "--level", "quick" if s.tiny else "full", "--out", made)
    shutil.copy(made, s.assets / made.name)
    return {}


def sample_people(s: Settings) -> Numbers:
    """Train the sample people."""
    s.identities.mkdir(parents=True, exist_ok=True)
    images.make_people(s.assets, s.identities)
    return {"people": len(images.SAMPLE_PEOPLE)}


def docs_images(s: Settings) -> Numbers:
    """Generate the images of the docs."""
    images.make_images(s.assets, s.identities, s.images)
    return {}


def page_examples(s: Settings) -> Numbers:
    """Generate what the page shows first."""
    examples.make_examples(s.assets, s.identities)
    return {}


def measure(s: Settings) -> Numbers:
    """Measure the model on held-out seeds, beside the one that it started from."""
    out = s.work / "report.json"
    report.run_report(s.assets, 0, out, s.start, TINY_NUMBERS if s.tiny else None)
    numbers: Numbers = json.loads(out.read_text())
    return numbers
