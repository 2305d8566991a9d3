"""Pictures in few steps: a LoRA of the LCM or Turbo kind, and a tiny VAE for previews."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from celeb_core.errors import ModelNotFound, ModelUnsupported

if TYPE_CHECKING:
    from celeb_core.models import Models

ADAPTER = "fast"
LORA_FILE = "pytorch_lora_weights.safetensors"  # as diffusers calls it
STEPS = 6
GUIDANCE = 1.5  # such LoRAs have guidance trained in: more of it burns the picture
SCHEDULER = "lcm"
TINY = {"sd": "madebyollin/taesd", "sdxl": "madebyollin/taesdxl"}
FAILURES = (OSError, SafetensorError, ValueError, KeyError, RuntimeError, TypeError)


def add_fast_lora(models: Models, lora: str | Path) -> None:
    """Load a LoRA file, or owner/model or owner/model/file of the hub, into the UNet.

    The model draws in few steps from then on, and is for drawing only: trained on, people would
    fit the LoRA. Raises ModelNotFound, ModelUnsupported.
    """
    path = _lora_file(str(lora))
    if not path.is_file():
        raise ModelNotFound(f"The LoRA {lora} is not there. Check the path, or name a hub id.")
    try:
        models.pipeline.load_lora_weights(str(path), adapter_name=ADAPTER)
    except ImportError as error:
        raise ModelUnsupported("A LoRA needs the package peft: pip install peft.") from error
    except FAILURES as error:
        raise _unusable(f"The LoRA {lora}", error) from error
    if ADAPTER not in models.pipeline.get_list_adapters().get("unet", []):
        raise ModelUnsupported(f"{lora} has no LoRA for the UNet of {models.title}.")
    models.unet.requires_grad_(False)


def _lora_file(lora: str) -> Path:
    """A LoRA on this machine; what is no file and looks like a hub id is downloaded."""
    from huggingface_hub import errors, hf_hub_download

    path = Path(lora).expanduser()
    parts = lora.split("/")
    if path.is_file() or path.is_absolute() or len(parts) not in (2, 3) or parts[0] in (".", ".."):
        return path
    try:
        return Path(hf_hub_download("/".join(parts[:2]), parts[2] if parts[2:] else LORA_FILE))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise _unusable(f"The LoRA {lora}", OSError(str(error))) from error


def load_tiny_vae(models: Models, place: str | Path = "tiny") -> Any:
    """An AutoencoderTiny in the model's precision: “tiny” is the well-known one of its kind.

    Raises ModelNotFound, ModelUnsupported.
    """
    from diffusers import AutoencoderTiny

    where = TINY["sdxl" if len(models.encoders) > 1 else "sd"] if place == "tiny" else str(place)
    try:
        vae = AutoencoderTiny.from_pretrained(where, dtype=models.unet.dtype)
    except FAILURES as error:
        raise _unusable(f"The VAE {where}", error) from error
    if vae.config.latent_channels != models.vae.config.latent_channels:
        raise ModelUnsupported(
            f"The VAE {where} takes {vae.config.latent_channels} channels, {models.title} makes "
            f"{models.vae.config.latent_channels}."
        )
    return vae.to(models.device).requires_grad_(False).eval()


def _unusable(what: str, error: Exception) -> ModelNotFound | ModelUnsupported:
    reason = str(error).strip().partition("\n")[0][:200]
    if isinstance(error, OSError | SafetensorError):
        return ModelNotFound(
            f"{what} is not there, or not whole ({reason}). Check the path or the connection."
        )
    return ModelUnsupported(f"{what} does not fit this model ({reason}).")
