"""The sample people and the images of README and docs: real outputs of the shipped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from celeb_core import (
    Identity,
    Person,
    SampleConfig,
    Studio,
    find_face,
    fit,
    generate,
    generate_each,
    interpolate,
    list_identities,
    load_studio,
    parse_prompt,
    save_identity,
)
from celeb_core.identity import SAMPLE_SUFFIX
from toonville.export import HELD_OUT_SEED, held_out_people, portrait
from toonville.identity import sample_traits
from toonville.world import SIZES

SAMPLE_PEOPLE = {"ada": 100, "bob": 101, "cleo": 102}
"""Name -> row of the held-out people; the app's examples and the evaluation start at row 0."""

ROWS = ("a photo of {}", "{} smiling on the beach", "{} plays the guitar in space",
        "{} wearing a crown on stage", "a pencil sketch of {}")  # fmt: skip
NUM_STRANGERS, STRANGERS_SEED = 3000, 9191
MARGIN = 6  # pixels
COLOURS = 256  # of a palette: a third of the size
LINE = 12  # height of a line of a caption, in pixels


def sample_photo(name: str) -> Image.Image:
    """Return the photo that a sample person was trained on."""
    row = SAMPLE_PEOPLE[name]
    return portrait(held_out_people()[row], HELD_OUT_SEED + row).image


def render_strangers(out: Path) -> None:
    """Render portraits of people who are in no other set, for `celeb-basis refine`."""
    out.mkdir(parents=True, exist_ok=True)
    strangers = sample_traits(np.random.default_rng(STRANGERS_SEED), NUM_STRANGERS)
    for row, traits in enumerate(strangers):
        portrait(traits, 100 * STRANGERS_SEED + row).image.save(out / f"{row:04}.png")
    print(f"{out}: {NUM_STRANGERS} photos")


def make_people(assets: Path, out: Path) -> None:
    """Train the sample people, each on one photo with the default preset, and save them."""
    studio = load_studio(str(assets))
    for name in SAMPLE_PEOPLE:
        person = Person(name, (find_face(sample_photo(name), studio.faces),))
        people = fit(
            [person],
            studio.models,
            studio.basis,
            calibration=studio.calibration,
            recogniser=studio.faces.id,
        )
        path = save_identity(people[name], out)
        print(path.rename(path.with_suffix(SAMPLE_SUFFIX)))


def make_images(assets: Path, identities: Path, out: Path) -> None:
    """Generate the images of the docs: a grid, pairs, an interpolation, celebrities.

    Args:
        assets: The model folder.
        identities: Has the sample people.
        out: Gets the images.
    """
    studio = load_studio(str(assets))
    people = {n: p for n, p in list_identities(identities).items() if n in SAMPLE_PEOPLE}
    out.mkdir(parents=True, exist_ok=True)
    sheets = {
        "people": _people_grid(studio, people),
        "pairs": _pairs(studio, people),
        "interpolation": _strip(studio),
        "celebrities": _celebrities(studio),
    }
    for name, image in sheets.items():
        image.quantize(COLOURS).save(out / f"{name}.png", optimize=True)
    sample_photo("ada").save(out / "ada.png", optimize=True)


def _people_grid(studio: Studio, people: dict[str, Identity]) -> Image.Image:
    tiles, captions = [], []
    for name in people:
        prompts = [parse_prompt(row.format(f"<{name}>"), people) for row in ROWS]
        images = generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=1))
        tiles.append([sample_photo(name), *images])
        captions.append(["one photo", *(row.format(f"<{name}>") for row in ROWS)])
    return sheet(tiles, captions)


def _pairs(studio: Studio, people: dict[str, Identity]) -> Image.Image:
    first, second, third = people
    celebrity = studio.models.names[0]
    texts = [
        f"<{first}> and <{second}> at dinner",
        f"<{second}> shakes hands with <{third}>",
        f"<{third}> and <{first}> on the beach",
        f"<{first}> shakes hands with {celebrity}",
    ]
    prompts = [parse_prompt(text, people) for text in texts]
    wide = SampleConfig(seed=3, width=SIZES[2][0], height=SIZES[2][1])
    return sheet([generate_each(prompts, studio.models, studio.basis, wide)], [texts])


def _strip(studio: Studio, count: int = 7) -> Image.Image:
    a, b = studio.models.names[1:3]
    images, captions = [], []
    for i in range(count):
        lam = 1 - i / (count - 1)
        embeddings = interpolate(a, b, lam, studio.basis, studio.models)
        prompt = parse_prompt("a photo of <mix>", {"mix": embeddings})
        images += generate(prompt, studio.models, studio.basis, SampleConfig(seed=5))
        captions.append(a if lam == 1 else b if lam == 0 else f"{lam:.2f}")
    return sheet([images], [captions])


def _celebrities(studio: Studio, columns: int = 8, rows: int = 3) -> Image.Image:
    names = studio.models.names[: columns * rows]
    prompts = [parse_prompt(f"a photo of {name}", {}) for name in names]
    images = generate_each(prompts, studio.models, studio.basis, SampleConfig(seed=7))
    cuts = [slice(i, i + columns) for i in range(0, columns * rows, columns)]
    return sheet([images[cut] for cut in cuts], [list(names[cut]) for cut in cuts])


def sheet(rows: list[list[Image.Image]], captions: list[list[str]]) -> Image.Image:
    """Return an image of images in rows, each with its caption below.

    Args:
        rows: Images, of one size.
        captions: Of the images; long ones are wrapped.
    """
    width = max(image.width for row in rows for image in row)
    height = max(image.height for row in rows for image in row)
    font = ImageFont.load_default(10)
    wrapped = [[_lines(text, font, width) for text in texts] for texts in captions]
    caption = LINE * max(len(lines) for texts in wrapped for lines in texts) + 8
    step_x, step_y = width + MARGIN, height + caption + MARGIN
    size = (MARGIN + step_x * max(map(len, rows)), MARGIN + step_y * len(rows))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for y, (row, texts) in enumerate(zip(rows, wrapped, strict=True)):
        for x, (image, lines) in enumerate(zip(row, texts, strict=True)):
            left, top = MARGIN + x * step_x, MARGIN + y * step_y
            page.paste(image, (left, top))
            for number, line in enumerate(lines):
                corner = (left, top + height + 3 + number * LINE)
                draw.text(corner, line, (60, 60, 70), font)
    return page


def _lines(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Wrap a caption to lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
