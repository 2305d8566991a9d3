"""Ready-made training settings."""

from __future__ import annotations

import math

from celeb_core.types import TrainConfig

PRESETS: dict[str, TrainConfig] = {
    "instant": TrainConfig(preset="instant", steps=0),
    "fast": TrainConfig(preset="fast", steps=20),
    "best": TrainConfig(),
    "paper": TrainConfig(
        preset="paper",
        steps=400,
        batch_size=2,
        learning_rate=1e-2,
        decay=False,
        norm="paper",
        calibrated=False,
        shrink=1.0,
        ema=0.99,
        ema_from_noise=True,
        views=0,
        jitter=0.2,
        smallest=0.1,
        canvas="black",
        templates="paper",
        prompts=2,
        photo_words=False,
        background=1.0,
        features=0.0,
        gradients="exact",
        stratified=False,
        log_snr_min=-math.inf,
        log_snr_max=math.inf,
    ),
}
"""instant (no training), fast, best, paper (the official recipe, METHOD.md §2)."""
