"""How much a network multiplies, told from its ONNX file: what its time on another machine may be guessed from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def multiplications(model: onnx.ModelProto, shape: Sequence[int]) -> int | None:
    """Multiplications with additions of convolutions and matrix products, for one input; two FLOPs each.

    Parameters
    ----------
    model
        A network, of whose first input the shape is set.
    shape
        Of that input: batch, channels, and the window.

    Returns
    -------
    int or None
        None where the file does not tell: of a network with loops, or with sizes that only a run gives.
    """
    import onnx

    model = onnx.ModelProto.FromString(model.SerializeToString())
    for size, number in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        size.dim_value = number
    del model.graph.value_info[:]  # is of other windows
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {constant.name: list(constant.dims) for constant in graph.initializer}  # fmt: skip
    counts = [_of_node(node, shapes) for node in graph.node]
    return None if None in counts else sum(counts)


def _of_node(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int | None:
    if any(attribute.HasField("g") for attribute in node.attribute):
        return None
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    first, second, result = (shapes.get(name, ()) for name in (*node.input[:2], node.output[0]))
    if not all((*first, *second, *result)) or not first or not second or not result:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):  # kernels are (to, from, ...), or (from, to, ...) of the transposed
        return math.prod(result if node.op_type == "Conv" else first) * math.prod(second[1:])
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(result) * first[-2 if turned else -1]
