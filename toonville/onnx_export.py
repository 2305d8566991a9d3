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
SMALLEST = 1024  # smaller tensors are not worth storing with less precision


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
        if weight.data_type != TensorProto.FLOAT or values.size < SMALLEST:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        cast = helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT)
        casts.append(cast)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def store_in_bytes(path: Path, out: Path) -> None:
    """Copy a file of `export` with its weights in int8 and a scale for each output channel.

    They are multiplied when the file is loaded; the computations stay in float32. For networks
    that only measure: the embeddings of a recogniser are what people are trained on.

    Args:
        path: Of a file with weights in float16, or already in int8.
        out: Of the copy.
    """
    model = onnx.load(path)
    halves = {w.name: w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in model.graph.node:
        half = halves.get(node.input[0]) if node.op_type == "Cast" else None
        if half is None:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(half).astype(np.float32)
        most = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
        scale = np.maximum(most, 1e-12) / 127
        (name,) = node.output
        whole, scales, cast = f"{name}_int8", f"{name}_scale", f"{name}_cast"
        half.CopyFrom(numpy_helper.from_array(np.rint(values / scale).astype(np.int8), whole))
        model.graph.initializer.append(numpy_helper.from_array(scale, scales))
        nodes.append(helper.make_node("Cast", [whole], [cast], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Mul", [cast, scales], [name]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, out)
