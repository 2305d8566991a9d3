"""The import rule: what a module of the core may import comes earlier in LAYERS.

That the core loads no page is a test of `test_wheel.py`, which starts it in a process of its own.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import celeb_core

CORE = Path(celeb_core.__file__).parent
LAYERS = """types errors checks temporary_files files downloads
formats.image_parts formats.image_file formats.tensor_file formats.checkpoint_file
formats.embedding_file formats.calibration_file formats.saved_config
precision text_encoder device face_packs face_orientation faces vocabulary loading models adapters
safety
basis mapper prompt layout person_positions identity library
marks.xmp marks.content_credentials marks.invisible_mark marks.provenance
textual_inversion augmentation denoising_loss name_regression regions sampling scoring verdicts
training_run training_checkpoint training training_group studio
many.store many.records many.work many.engine many.workers
prepare.calibration prepare.positions prepare.refinement prepare.names prepare.stand_ins
prepare.self_check prepare.preparation
evaluation.dlib_judge evaluation.judges evaluation.data evaluation.run evaluation.work
evaluation.images evaluation.single evaluation.groups evaluation.evaluate evaluation.tables
many.manifest many.train_work many.generate_work many.pools many.ray_pool many.table
many.contact_sheet many.run
cli.doctor cli.option_values cli.program cli.outputs cli.engines cli.executors
cli.commands cli.model_commands
cli.many_commands cli.many_options cli.options""".split()
PACKAGES = ["__init__", "__main__"]  # on top, as these; no module imports them
PACKAGES += [
    f"{name}.__init__" for name in ("cli", "evaluation", "formats", "many", "marks", "prepare")
]


def modules() -> dict[str, Path]:
    paths = sorted(CORE.rglob("*.py"))
    return {".".join(path.relative_to(CORE).with_suffix("").parts): path for path in paths}


def imports(path: Path) -> set[str]:
    """Absolute names of all that a file imports, also in functions and for type checkers."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_layer():
    assert sorted([*LAYERS, *PACKAGES]) == sorted(modules())


@pytest.mark.parametrize("module", LAYERS)
def test_a_module_imports_what_comes_earlier_alone(module):
    for name in imports(modules()[module]):
        top, _, rest = name.partition(".")
        assert top not in ("ui", "app", "toonville", "bench", "tests"), name
        if top == "celeb_core":
            # "celeb_core.prepare.names.candidates" is of the longest module that it begins with
            of = max((m for m in LAYERS if f"{rest}.".startswith(f"{m}.")), key=len, default=None)
            assert of in LAYERS[: LAYERS.index(module)], f"{module} imports {name}"
