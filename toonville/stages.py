"""The stages in which the bundled model is made, in their order.

`python -m toonville STAGE` runs one of them, `python -m toonville all` the chain of them
(toonville.chain). The minutes here are the budgets in docs/toonville.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from toonville import (
    clip,
    decoder,
    detector,
    judge,
    reader,
    recogniser,
    stage_runs,
    unet,
    unnamed_people,
)
from toonville.stage_runs import ENCODED, RENDERED, Run, Settings, training

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "assets" / "toonville"

Work = Literal["training", "every core", "one core"]


@dataclass(frozen=True)
class Stage:
    """One stage.

    Paths are relative to --work; those that begin with "assets/" to the chain's --assets.
    """

    name: str
    run: Run
    minutes: float
    """Of a training: of computing, whatever its number of cores. Of others: of one core."""
    work: Work
    about: str
    needs: tuple[str, ...] = ()  # paths
    makes: tuple[str, ...] = ()  # paths
    resumes: tuple[str, ...] = ()  # paths that it goes on from, removed to do it anew
    faces: bool = False  # a face model that a chain keeps as it is, unless told otherwise
    options: Mapping[str, float] = field(default_factory=dict)  # name of a weight -> default

    def estimate(self, threads: int) -> float:
        """Return its minutes with a number of cores."""
        return self.minutes / threads if self.work == "every core" else self.minutes


_stores = {kind: f"data/{kind}" for kind in RENDERED}
_encoded = tuple(f"data/{kind}_encoded" for kind in ENCODED)
_text = ("models/clip", "models/tokenizer")
_model = ("assets/toonville/model_index.json",)
_prepared = (*_model, "assets/toonville/calibration.safetensors")
_samples = (*_prepared, "assets/identities")
_people = f"data/{unnamed_people.PEOPLE_FILE}"
_old = "models/start"

STAGES: tuple[Stage, ...] = (
    Stage(
        "unpack",
        stage_runs.unpack,
        0.2,
        "one core",
        "put --assets into --work, to start from",
        makes=(_old, *(f"models/{name}" for name in stage_runs.SHIPPED_FACES)),
    ),
    Stage(
        "render",
        stage_runs.render,
        14.0,
        "every core",
        "render the training images",
        makes=tuple(_stores.values()),
        resumes=tuple(_stores.values()),
    ),
    Stage(
        "vae",
        training("vae", stage_runs.train_vae, on_device=True),
        40.0,
        "training",
        "train the autoencoder",
        needs=(_old, _stores["vae_single"], _stores["vae_pair"]),
        makes=("models/vae",),
        resumes=("models/vae.pt",),
    ),
    Stage(
        "clip",
        training("clip", clip.train_clip),
        40.0,
        "training",
        "train text and image tower",
        needs=(_old, *(_stores[kind] for kind in clip.STORES)),
        makes=_text,
        resumes=("models/clip.pt",),
        options={"name_weight": 0.1, "attribute_weight": 0.05},
    ),
    Stage(
        "between",
        stage_runs.between,
        6.0,
        "every core",
        "make people between the celebrities",
        needs=_text,
        makes=(_people,),
    ),
    Stage(
        "encode",
        stage_runs.encode,
        120.0,
        "every core",
        "render images, and encode them and their captions for the UNet",
        needs=("models/vae", *_text, _people),
        makes=_encoded,
        resumes=_encoded,
    ),
    Stage(
        "unet",
        training("unet", unet.train_unet, on_device=True),
        180.0,
        "training",
        "train the diffusion model",
        needs=(_old, *_encoded),
        makes=("models/unet",),
        resumes=("models/unet.pt",),
    ),
    Stage(
        "decoder",
        training("decoder", decoder.train_decoder, stage_runs.keep_vae),
        20.0,
        "training",
        "train the autoencoder's decoder on the UNet's latents",
        needs=("models/vae", "models/unet", "data/single_encoded", "data/pair_encoded"),
        makes=("models/vae",),
        resumes=("models/decoder.pt",),
    ),
    Stage(
        "reader",
        training("reader", reader.train_reader, stage_runs.render_for_reader),
        18.0,
        "training",
        "train the reader of attributes",
        makes=("models/reader.onnx", "models/reader.json"),
        resumes=("models/reader.pt", "data/labelled"),
    ),
    Stage(
        "recogniser",
        training("recogniser", recogniser.train_recogniser, stage_runs.render_for_recogniser),
        14.0,
        "training",
        "train the face recogniser",
        makes=("models/faces/rec.onnx",),
        resumes=("models/recogniser.pt", "data/people_rec"),
        faces=True,
    ),
    Stage(
        "detector",
        training("detector", detector.train_detector, stage_runs.render_for_detector),
        15.0,
        "training",
        "train the face detector",
        needs=(_stores["single"], _stores["pair"]),
        makes=("models/faces/det.onnx",),
        resumes=("models/detector.pt", "data/canvases"),
        faces=True,
    ),
    Stage(
        "judge",
        training("judge", judge.train_judge, stage_runs.render_for_judge),
        10.0,
        "training",
        "train the judge of identities",
        makes=("models/judge.onnx",),
        resumes=("models/judge.pt", "data/people_judge"),
        faces=True,
    ),
    Stage(
        "export",
        stage_runs.export_model,
        2.0,
        "one core",
        "write --assets",
        needs=("models/vae", "models/unet", *_text, "models/faces", "models/judge.onnx"),
        makes=_model,
    ),
    Stage(
        "basis",
        stage_runs.basis,
        0.1,
        "one core",
        "build the celeb basis",
        needs=_model,
        makes=("assets/basis.pt",),
        resumes=("cache",),
    ),
    Stage(
        "prepare",
        stage_runs.prepare,
        35.0,
        "one core",
        "fit the closed-form initialisation, with a self-check",
        needs=_model,
        makes=("assets/toonville/calibration.safetensors",),
        resumes=("prepared",),
    ),
    Stage(
        "people",
        stage_runs.sample_people,
        1.0,
        "one core",
        "train the sample people",
        needs=_prepared,
        makes=("assets/identities",),
    ),
    Stage(
        "images",
        stage_runs.docs_images,
        2.0,
        "one core",
        "generate the images of the docs",
        needs=_samples,
        makes=("assets/images",),
    ),
    Stage(
        "examples",
        stage_runs.page_examples,
        2.0,
        "one core",
        "generate examples/ of --assets: what the page shows first",
        needs=_samples,
        makes=("assets/toonville/examples",),
    ),
    Stage(
        "report",
        stage_runs.measure,
        25.0,
        "one core",
        "measure the weights on held-out seeds",
        needs=_model,
        makes=("report.json",),
    ),
)


def shipped_settings(work: Path, assets: Path) -> Settings:
    """Return the settings of a single stage: what it makes goes into the repository."""
    return Settings(
        work,
        assets,
        start=assets,
        basis=ROOT / "assets" / "basis.pt",
        identities=ROOT / "identities",
        images=ROOT / "docs" / "images",
    )


def chain_settings(work: Path, out: Path) -> Settings:
    """Return the settings of a chain: everything that ships goes into one folder."""
    return Settings(
        work,
        out / "toonville",
        start=SHIPPED,
        basis=out / "basis.pt",
        identities=out / "identities",
        images=out / "images",
    )
