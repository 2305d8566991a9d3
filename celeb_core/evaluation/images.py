"""Blocks of images: generated and scored batch by batch, what is finished is not repeated.

Whoever generates images also examines them, so that none has to be sent: the result of a batch is
the faces' embeddings and places, and what an edit shows. The scores are made of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from celeb_core.evaluation.data import EditPrompt
from celeb_core.evaluation.run import Record, Run
from celeb_core.evaluation.work import Executor, Tools
from celeb_core.faces import largest_face
from celeb_core.prompt import strip_people
from celeb_core.sampling import generate_each
from celeb_core.scoring import AttributeReader, ClipScorer
from celeb_core.types import Box, Prompt, RegionConfig, SampleConfig

SEED = 7_000  # of the images; far from a calibration's


@dataclass(frozen=True, eq=False)
class SeenFace:
    """A face of an image, as the judge sees it."""

    embedding: Tensor  # (d,) the judge's
    box: Box


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen in an image."""

    size: tuple[int, int]  # pixels
    embeddings: Tensor  # (n, d) the judge's, of the faces
    boxes: tuple[Box, ...]  # (n,)
    edit: Record  # of `score_edit`; empty where nothing was asked for

    @property
    def faces(self) -> list[SeenFace]:
        """The faces."""
        return [SeenFace(*one) for one in zip(self.embeddings, self.boxes, strict=True)]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images that are generated together, and what is looked for in them."""

    note: str
    prompts: tuple[Prompt, ...]
    config: SampleConfig
    edits: tuple[EditPrompt | None, ...]  # of each image, for `score_edit`
    largest: bool  # whether the largest face is all that counts

    def do(self, tools: Tools, say: Callable[[str], None]) -> list[Seen]:
        """Generate and examine the images."""
        images = generate_each(
            self.prompts, tools.studio.models, tools.studio.basis, self.config,
            on_step=lambda step, steps: say(f"step {step}/{steps}"),
        )  # fmt: skip
        return [self._examine(*one, tools) for one in zip(images, self.edits, strict=True)]

    def _examine(self, image: Image.Image, edit: EditPrompt | None, tools: Tools) -> Seen:
        faces = tools.studio.faces.find(image)
        if self.largest and faces:
            faces = [largest_face(faces)]
        embeddings = tools.judge.embed(image, faces)
        shown = score_edit(image, edit, tools.reader, tools.clip) if edit else {}
        return Seen(image.size, embeddings, tuple(face.box for face in faces), shown)


@dataclass(frozen=True, eq=False)
class Block:
    """Images that are generated with the same settings; number i from `seed` + i."""

    key: str  # of its parts, with their number
    note: str  # for the progress
    prompts: Sequence[Prompt]
    seed: int
    score: Callable[[int, Seen], Record]  # number of an image and what is seen in it -> its record
    edits: Sequence[EditPrompt | None] = ()  # of each image; its scores are added to the record
    largest: bool = False  # whether the largest face is all that counts
    regions: RegionConfig | None = None
    width: int | None = None  # pixels; None: wider for several people

    def part(self, index: int) -> str:
        """Return the key of one image."""
        return f"{self.key}/{index}"

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Return the images of these numbers, which follow one another."""
        config = SampleConfig(seed=self.seed + numbers[0], width=self.width, regions=self.regions)
        wanted = [self.prompts[i] for i in numbers]
        # There is no negative prompt, so that nobody else need be sent.
        prompts = [replace(prompt, people=prompt.identities) for prompt in wanted]
        edits = [self.edits[i] if self.edits else None for i in numbers]
        return Batch(self.note, tuple(prompts), config, tuple(edits), self.largest)


def score_blocks(blocks: Sequence[Block], executor: Executor, run: Run) -> list[list[Record]]:
    """Generate and score the images of blocks that the run has not finished.

    A batch of which a crash has left a part is generated again, and that part is kept as it is.

    Args:
        blocks: What to generate, and how to score it.
        executor: Generates and examines the images.
        run: Keeps the records, batch by batch.

    Returns:
        The records of all images of each block, in their order.
    """
    batches = list[tuple[Block, range]]()
    for block in blocks:
        missing = [numbers for numbers in _batches(block) if _missing(numbers, block, run)]
        run.advance(len(block.prompts) - sum(map(len, missing)))
        batches += [(block, numbers) for numbers in missing]
    for at, result in executor.do([block.batch(numbers) for block, numbers in batches], run):
        block, numbers = batches[at]
        new, seen = _missing(numbers, block, run), dict(zip(numbers, result, strict=True))
        run.keep({block.part(i): block.score(i, seen[i]) | seen[i].edit for i in new})
        run.advance(len(numbers))
    return [[run.records[block.part(i)] for i in range(len(block.prompts))] for block in blocks]


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


def _batches(block: Block) -> list[range]:
    """Divide the images of a block into batches, always the same: they decide the rounding."""
    every, most = range(len(block.prompts)), SampleConfig().batch_size
    return [every[first : first + most] for first in range(0, len(every), most)]


def _missing(numbers: Sequence[int], block: Block, run: Run) -> list[int]:
    """Return which of a block's images have no record yet."""
    return [i for i in numbers if block.part(i) not in run.records]
