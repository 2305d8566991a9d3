"""Who does the slow parts of an evaluation: this process, or the workers of an engine.

An item is something to be done, with all that it needs besides models: a training, or images to be
generated and examined. Its result is what the process that began the evaluation scores and keeps.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from celeb_core.errors import CelebError, UsageError
from celeb_core.evaluation.data import EvaluationSet
from celeb_core.evaluation.judges import FaceJudge, PackJudge, find_clip, find_judge
from celeb_core.evaluation.run import Record, Run
from celeb_core.many.engine import Pool, distribute
from celeb_core.many.records import DONE, FAILED, Outcome
from celeb_core.many.work import Ready, StudioOptions, labels_of
from celeb_core.many.workers import KeptPool
from celeb_core.scoring import AttributeReader, ClipScorer
from celeb_core.studio import Studio


@dataclass(frozen=True, eq=False)
class Tools:
    """What items are done with, in whatever process."""

    studio: Studio
    judge: FaceJudge = PackJudge()
    reader: AttributeReader | None = None
    clip: ClipScorer | None = None


class Item(Protocol):
    """Something to be done; picklable, like its result."""

    @property
    def note(self) -> str:
        """What is being done, for the progress."""

    def do(self, tools: Tools, say: Callable[[str], None]) -> Any:
        """Do it; `say` gets how far it is."""


class Executor(Protocol):
    """Whoever does items."""

    def do(self, items: Sequence[Item], run: Run) -> Iterator[tuple[int, Any]]:
        """Do items and yield the number and the result of each, in any order, as they come."""


@dataclass(frozen=True, eq=False)
class Here:
    """This process does one item after the other."""

    tools: Tools

    def do(self, items: Sequence[Item], run: Run) -> Iterator[tuple[int, Any]]:
        """Do items."""
        for number, item in enumerate(items):
            run.begin(item.note)
            yield number, item.do(self.tools, run.say)


def here(studio: Studio, data: EvaluationSet) -> Here:
    """Return this process with its studio and the scorers of an evaluation set."""
    return Here(Tools(studio, data.judge, data.reader, data.clip))


class OnWorkers:
    """The workers of a pool do items; they stay loaded until `close`."""

    def __init__(self, work: "EvaluateWork", pool: Pool) -> None:
        self.work, self.pool = work, KeptPool(pool)
        self.made_by: Mapping[str, Any] | None = None  # of the first worker that was loaded

    def do(self, items: Sequence[Item], run: Run) -> Iterator[tuple[int, Any]]:
        """Do items.

        Raises:
            CelebError: What an item raised, or its workers died each time.
            UsageError: Two workers have loaded different things.
        """
        if items:
            run.begin(items[0].note)
        every = [*enumerate(items)]
        # Tensors in what multiprocessing pickles itself would be shared memory, with open files.
        for one in distribute(every, self.work, self.pool, self._check, pickle.dumps):
            if one.record["status"] == FAILED:
                raise CelebError(one.record["error"])
            number = one.record["number"]
            run.begin(items[number].note)
            yield number, pickle.loads(one.record["result"])

    def _check(self, ready: Ready) -> None:
        self.made_by = self.made_by or ready.made_by
        check_same(ready.made_by, self.made_by)

    def close(self) -> None:
        """End the workers."""
        self.pool.end()


@dataclass(frozen=True)
class EvaluateWork:
    """What workers load."""

    studio: StudioOptions
    judge: str | None = None  # as in `find_judge`
    clip: str | None = None  # as in `find_clip`

    def load(self, device: str | None) -> "EvaluateWorker":
        """Load the studio, the judge and CLIP."""
        studio = self.studio.load(device)
        judge, (clip, _) = find_judge(studio, self.judge).judge, find_clip(studio, self.clip)
        return EvaluateWorker(Tools(studio, judge, studio.scorers.reader, clip))

    def lost(self, item: tuple[int, Item], reason: str) -> Outcome:
        """Return an outcome that ends everything: a mean over the rest would be another one."""
        return Outcome({"status": FAILED, "error": f"{item[1].note}: {reason}"})


@dataclass(frozen=True, eq=False)
class EvaluateWorker:
    """The tools, in the process of a worker."""

    tools: Tools
    at_once: int = 1

    @property
    def made_by(self) -> Mapping[str, Any]:
        """JSON values that decide the results, besides the items."""
        return describe(self.tools.studio)

    def do(self, items: Sequence[bytes]) -> list[Outcome]:
        """Do pickled pairs of a number and an item."""
        outcomes = []
        for number, item in map(pickle.loads, items):
            result = pickle.dumps(item.do(self.tools, lambda _: None))
            outcomes.append(Outcome({"status": DONE, "number": number, "result": result}))
        return outcomes


@dataclass(frozen=True)
class Describe:
    """The item whose result is what its process has loaded."""

    note: str = "loading"

    def do(self, tools: Tools, say: Callable[[str], None]) -> Record:
        """Describe the studio."""
        return describe(tools.studio)


def describe(studio: Studio) -> Record:
    """Return what of a studio the results of an evaluation depend on."""
    return {**labels_of(studio), "tiny VAE": studio.models.tiny_vae is not None}


def check_same(there: Mapping[str, Any], here: Mapping[str, Any], *apart: str) -> None:
    """Raise UsageError if two processes have loaded different things, but for those `apart`."""
    wrong = [name for name in here if name not in apart and here[name] != there[name]]
    if wrong:
        texts = [f"{name}: {here[name]} and {there[name]}" for name in wrong]
        raise UsageError(
            f"Two processes would not evaluate the same ({'; '.join(texts)}). All machines need "
            "the same model, face pack and calibration, and devices that compute alike: name each "
            "of them.",
            option="--model, --face-pack, --calibration, --dtype",
        )
