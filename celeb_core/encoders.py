"""The text encoders of a pipeline: one in Stable Diffusion 1.x and 2.x, two in SDXL.

What two encoders make of a text stands side by side, as SDXL's UNet hears it: words (k, d) and
text states (tokens, d) are as wide as all encoders together, and `share` is one encoder's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """One tokenizer and the text model that reads its tokens."""

    tokenizer: Any  # transformers.CLIPTokenizer
    model: Any  # transformers.CLIPTextModel, or CLIPTextModelWithProjection
    share: slice  # of the last dimension of words and text states
    penultimate: bool  # the UNet hears the last layer but one, as SDXL's does

    @property
    def table(self) -> Tensor:
        """The token embeddings (vocabulary, width)."""
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Token ids (b, n) -> text states (b, n, width), and (b, projection) of the whole text
        from a model that has such an output in SDXL."""
        if not self.penultimate:
            return self.model(ids)[0], None
        output = self.model(ids, output_hidden_states=True)
        return output.hidden_states[-2], output.get("text_embeds")


def text_encoders(pipeline: Any) -> tuple[TextEncoder, ...]:
    """The encoders of a pipeline in the order in which its UNet hears them."""
    two = hasattr(pipeline, "text_encoder_2")
    found: list[TextEncoder] = []
    start = 0
    for suffix in ("", "_2") if two else ("",):
        tokenizer = getattr(pipeline, f"tokenizer{suffix}")
        model = getattr(pipeline, f"text_encoder{suffix}")
        end = start + int(model.get_input_embeddings().weight.shape[1])
        found.append(TextEncoder(tokenizer, model, slice(start, end), two))
        start = end
    return tuple(found)
