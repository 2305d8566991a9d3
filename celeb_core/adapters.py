"""What makes a model faster: few-step LoRAs, and tiny VAEs for decoding."""

from pathlib import Path
from typing import Any

import diffusers
from safetensors import SafetensorError

from celeb_core.errors import ModelNotFound, ModelUnsupported
from celeb_core.models import Models
from celeb_core.types import SampleConfig

FAST = SampleConfig(steps=6, guidance_scale=1.5, scheduler="lcm")
"""For LCM and Turbo LoRAs. They have guidance trained in: more of it oversaturates."""
ADAPTER = "fast"
LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers' own name
# Short names of hub ids, for one text encoder and for SDXL's two.
FAST_LORAS = {"lcm": ("latent-consistency/lcm-lora-sdv1-5", "latent-consistency/lcm-lora-sdxl")}
TINY_VAES = {"tiny": ("madebyollin/taesd", "madebyollin/taesdxl")}
LOAD_ERRORS = (OSError, SafetensorError, ValueError, KeyError, RuntimeError, TypeError)


def add_fast_lora(models: Models, lora: str | Path) -> None:
    """Load an LCM or Turbo LoRA into the UNet, to generate in few steps as in FAST.

    It is a file, owner/model or owner/model/file of the hub, or "lcm", the usual one of the model's
    family (SD 2.x has none). From then on the model is for generating only: people trained on it
    would fit the LoRA.

    Raises:
        ModelError: It is not there, not whole, does not fit the model, or peft is not installed.
    """
    path = Path(lora).expanduser()
    source, weights = str(path), None
    if not path.is_file():
        lora = FAST_LORAS.get(str(lora), (lora, lora))[len(models.encoders) > 1]
        parts = str(lora).split("/")
        if path.is_absolute() or len(parts) not in (2, 3) or parts[0] in (".", ".."):
            raise ModelNotFound(f"The LoRA {lora} is not there. Check the path, or name a hub id.")
        source, weights = "/".join(parts[:2]), "".join(parts[2:]) or LORA_FILE
    try:
        models.pipeline.load_lora_weights(source, weight_name=weights, adapter_name=ADAPTER)
    except ImportError as error:
        raise ModelUnsupported("A LoRA needs the package peft: pip install peft.") from error
    except LOAD_ERRORS as error:
        raise _unusable(f"The LoRA {lora}", error) from error
    if ADAPTER not in models.pipeline.get_list_adapters().get("unet", []):
        raise ModelUnsupported(f"{lora} has no LoRA for the UNet of {models.title}.")
    models.unet.requires_grad_(False)


def load_tiny_vae(models: Models, source: str | Path = "tiny") -> Any:
    """Load an AutoencoderTiny in the model's precision; "tiny" is the usual one for its family.

    Raises:
        ModelError: It is not there, not whole, or does not fit the model.
    """
    source = TINY_VAES.get(str(source), (source, source))[len(models.encoders) > 1]
    try:
        vae = diffusers.AutoencoderTiny.from_pretrained(source, dtype=models.unet.dtype)
    except LOAD_ERRORS as error:
        raise _unusable(f"The VAE {source}", error) from error
    takes, makes = (part.config.latent_channels for part in (vae, models.vae))
    if takes != makes:
        raise ModelUnsupported(
            f"The VAE {source} takes {takes} channels, {models.title} makes {makes}."
        )
    return vae.to(models.device).requires_grad_(False).eval()


def _unusable(what: str, error: Exception) -> ModelNotFound | ModelUnsupported:
    reason = str(error).strip().partition("\n")[0][:200]
    if isinstance(error, OSError | SafetensorError):
        return ModelNotFound(
            f"{what} is not there, or not whole ({reason}). Check the path or the connection."
        )
    return ModelUnsupported(f"{what} does not fit this model ({reason}).")
