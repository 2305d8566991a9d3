"""Networks -> ONNX files that plain onnxruntime loads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 18  # grid_sample needs 16
HALF_FROM = 1024  # smaller tensors are not worth storing in half precision


def export(
    model: nn.Module,
    path: Path,
    example: torch.Tensor,
    input_name: str,
    output_names: Sequence[str],
    dynamic: Sequence[int] = (0,),
) -> None:
    """Write a network; weights are stored as float16 and cast to float32 when it is loaded.

    Args:
        model: Takes one tensor of images.
        path: Of the file.
        example: An input.
        input_name: Of the input in the file.
        output_names: Of the outputs in the file.
        dynamic: Axes of the input whose sizes are free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    model = model.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        # The exporter that is to replace this one takes a minute for free heights and widths.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_axes={input_name: {axis: f"axis_{axis}" for axis in dynamic}},
        )
    graph = onnx.load(path)
    _store_in_half(graph)
    _drop_origin(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _drop_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on the source of each node: half of a small file."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.value_info[:]


def _store_in_half(model: onnx.ModelProto) -> None:
    """Replace the large float32 weights of a model by float16 ones and a cast, in place."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < HALF_FROM:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        cast = helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
