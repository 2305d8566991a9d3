"""What a training says about its photo; `{}` is the person."""

from __future__ import annotations

STUDIO = (
    "a photo of {}",
    "a depiction of {}",
    "a portrait of {}",
    "a picture of {}",
    "a close-up photo of {}",
    "an image of {}",
)
"""Short sentences of the paper's kind (METHOD.md §1.5)."""

_KINDS = (
    "photo",
    "good photo",
    "bright photo",
    "dark photo",
    "cropped photo",
    "close-up photo",
    "blurry photo",
    "small photo",
    "large photo",
    "clean photo",
    "black and white photo",
    "low resolution photo",
    "jpeg corrupted photo",
    "drawing",
    "painting",
    "sketch",
    "sculpture",
    "rendering",
    "doodle",
    "cartoon",
    "tattoo",
    "plastic toy",
    "video game scene",
    "origami",
    "embroidery",
    "plush toy",
    "depiction",
)

PAPER = tuple(
    f"{article} {kind} of {determiner}face of {{}} person"
    for kind in _KINDS
    for article, determiner in (("a", "a "), ("the", "the "), ("one", "my "))
)
"""81 sentences about “the face of V person”, as the official code trains with (METHOD.md §2)."""
