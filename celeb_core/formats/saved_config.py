"""The TrainConfig that a checkpoint or a job stored, of older formats too."""

from collections.abc import Mapping
from typing import Any

from celeb_core.types import TrainConfig

# Names of checkpoint format 1. Fields that are gone had one value per preset.
OLD_NAMES = {
    "decay": "linear_decay", "calibrated_rate": "calibrated_learning_rate",
    "jitter": "colour_jitter", "smallest": "min_scale", "canvas": "padding",
    "photo_words": "nuisance_tokens", "photo_rate": "nuisance_learning_rate",
    "background": "background_weight", "features": "landmark_weight",
    "stratified": "stratified_timesteps", "log_snr_min": "min_log_snr",
    "log_snr_max": "max_log_snr", "studio": "short", "way up": "truncated",
}  # fmt: skip
DROPPED = ("weight_decay", "ema_from_noise", "flip", "prompts")


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Make a config from `TrainConfig.flat()`, or from the flat fields of checkpoint format 1.

    Raises:
        TypeError: A name is no field.
    """
    renamed = {
        OLD_NAMES.get(name, name): OLD_NAMES.get(value, value)
        for name, value in values.items()
        if name not in DROPPED
    }
    return TrainConfig().changed(**renamed)
