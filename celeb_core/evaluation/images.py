"""Blocks of images: generated and scored batch by batch, what is finished is not repeated."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from celeb_core.evaluation.data import EditPrompt
from celeb_core.evaluation.run import Record, Run
from celeb_core.prompt import strip_people
from celeb_core.sampling import generate_each
from celeb_core.scoring import AttributeReader, ClipScorer
from celeb_core.studio import Studio
from celeb_core.types import Prompt, RegionConfig, SampleConfig

SEED = 7_000  # of the images; far from a calibration's


@dataclass(frozen=True, eq=False)
class Block:
    """Images that are generated with the same settings; number i from `seed` + i."""

    key: str  # of its parts, with their number
    prompts: Sequence[Prompt]
    seed: int
    regions: RegionConfig | None = None
    square: bool = False  # as wide as an image of one person

    def part(self, index: int) -> str:
        """Return the key of one image."""
        return f"{self.key}/{index}"


def score_block(
    block: Block, studio: Studio, run: Run, score: Callable[[int, Image.Image], Record]
) -> list[Record]:
    """Generate and score the images of a block that the run has not finished.

    Args:
        block: What to generate.
        studio: With which model.
        run: Keeps the records, batch by batch.
        score: Number of an image and the image -> its record.

    Returns:
        The records of all images of the block, in their order.
    """
    missing = [i for i in range(len(block.prompts)) if block.part(i) not in run.records]
    run.advance(len(block.prompts) - len(missing))
    for batch in _batches(missing, SampleConfig().batch_size):
        width = studio.models.width if block.square else None
        config = SampleConfig(seed=block.seed + batch[0], width=width, regions=block.regions)
        images = generate_each(
            [block.prompts[i] for i in batch], studio.models, studio.basis, config,
            on_step=lambda step, steps: run.say(f"step {step}/{steps}"),
        )  # fmt: skip
        scored = zip(batch, images, strict=True)
        run.keep({block.part(i): score(i, image) for i, image in scored})
        run.advance(len(batch))
    return [run.records[block.part(i)] for i in range(len(block.prompts))]


def score_edit(
    image: Image.Image,
    edit: EditPrompt,
    reader: AttributeReader | None,
    clip: ClipScorer | None,
) -> Record:
    """Score whether an image shows what its edit prompt asks for.

    Returns:
        clip: cosine of the image and the text without people, if there is a CLIP; right and asked:
        how many of the expected attributes a reader finds, and of how many.
    """
    labels = reader.read(image) if reader and edit.expects else {}
    right = sum(labels[group] == label for group, label in edit.expects.items() if labels)
    record: Record = {"right": right, "asked": len(edit.expects) if labels else 0}
    if clip is not None:
        record["clip"] = clip.score(image, strip_people(edit.prompt.format("<x>")))
    return record


def _batches(numbers: Sequence[int], most: int) -> Iterator[list[int]]:
    """Divide rising numbers into batches of numbers that follow one another, as seeds do."""
    for _, follow in itertools.groupby(enumerate(numbers), lambda at: at[1] - at[0]):
        batch = [number for _, number in follow]
        yield from (batch[first : first + most] for first in range(0, len(batch), most))
