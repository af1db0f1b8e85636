"""Multiplications of networks, against counts by hand and PyTorch's own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from IoUSynthLib.evaluation.operations import multiplications  # noqa: E402


class Mixed(torch.nn.Module):
    """A convolution in groups, a transposed one, and a product that depends on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.down = torch.nn.Conv2d(2, 8, 4, stride=2, padding=1, groups=2)
        self.up = torch.nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.line = torch.nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows = self.up(self.down(image))
        return self.line(rows) + (rows @ rows.transpose(-1, -2)).mean()


def exported(network: torch.nn.Module, image: torch.Tensor) -> onnx.ModelProto:
    return torch.onnx.export(network.eval(), (image,), dynamo=True, verbose=False).model_proto


def test_as_by_hand_and_by_pytorch() -> None:
    """PyTorch counts a multiplication and its addition as two."""
    from torch.utils.flop_counter import FlopCounterMode

    network, image = Mixed(), torch.zeros(1, 2, 16, 16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    expected = 8 * 8 * 8 * 4 * 4 + 8 * 8 * 8 * 3 * 2 * 2 + 3 * 16 * 16 * 5 + 3 * 16 * 16 * 16
    assert multiplications(exported(network, image), (1, 2, 16, 16)) == expected
    assert counter.get_total_flops() == 2 * expected


def test_the_shape_counts_and_not_that_of_the_export() -> None:
    model = exported(torch.nn.Conv2d(1, 4, 3), torch.zeros(1, 1, 10, 10))
    assert multiplications(model, (1, 1, 20, 12)) == 4 * 18 * 10 * 9


def test_a_network_with_a_loop_does_not_tell() -> None:
    graph = onnx.helper.make_graph([], "body", [], [])
    node = onnx.helper.make_node("Loop", ["times", "go"], ["out"], body=graph)
    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "loop", [value], []))
    assert multiplications(model, (1, 1)) is None
