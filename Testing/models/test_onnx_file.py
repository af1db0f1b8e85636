"""What an ONNX file would have a runtime do is told from its bytes, as the package onnx tells it."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from support.fuzzing import damaged, examples
from support.tiny_models import generator_network, refiner_network, write_bundle

from IoUSynthLib.inference import open_session
from IoUSynthLib.models import bundle
from IoUSynthLib.models.install import install
from IoUSynthLib.models.onnx_file import check_onnx
from IoUSynthLib.volume import InputError

onnx = pytest.importorskip("onnx")


def changed(change) -> bytes:
    """The tiny generator, changed."""
    model = onnx.load_from_string(generator_network())
    change(model)
    return model.SerializeToString()


def elsewhere(tensor) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")


def custom(model) -> None:
    model.graph.node[0].domain = "com.evil"
    model.opset_import.add(domain="com.evil", version=1)


def in_a_branch(change):
    """The change within a graph of a node of the graph."""

    def nested(model) -> None:
        inner = onnx.GraphProto()
        inner.CopyFrom(model.graph)
        change(inner)
        model.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))

    return nested


def a_constant_elsewhere(model) -> None:
    value = onnx.numpy_helper.from_array(np.zeros(3, np.float32))
    elsewhere(value)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=value))


def a_sparse_weight(model) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[2**40])
    sparse.values.dims.extend([1])


def a_function(domain: str):
    def change(model) -> None:
        node = onnx.helper.make_node("Evil" if domain else "Relu", ["a"], ["b"], domain=domain)
        imports = [onnx.helper.make_opsetid("", 17)]
        model.functions.append(onnx.helper.make_function("ours", "Own", ["a"], ["b"], [node], imports))

    return change


REFUSED = {
    "weights elsewhere": (lambda model: elsewhere(model.graph.initializer[0]), "keeps weights in other files"),
    "a constant elsewhere": (a_constant_elsewhere, "keeps weights in other files"),
    "weights elsewhere in a branch": (in_a_branch(lambda graph: elsewhere(graph.initializer[0])), "in other files"),
    "a custom operator": (custom, r"the operator com\.evil\.Conv, which is none of ONNX"),
    "one of a runtime's own": (lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"), "none of ONNX"),
    "a custom operator in a function": (a_function("com.evil"), r"com\.evil\.Evil, which is none"),
    "a tensor of any size": (lambda model: model.graph.initializer[0].dims.extend([2**20, 2**20]), "has a tensor of"),
    "a negative size": (lambda model: model.graph.initializer[0].dims.append(-1), "has a tensor of"),
    "a sparse tensor of any size": (a_sparse_weight, "has a tensor of 1099511627776 numbers"),
    "no graph": (lambda model: model.ClearField("graph"), "no ONNX network"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_network_needs_is_refused_before_a_runtime_sees_it(name, tmp_path, monkeypatch):
    change, cause = REFUSED[name]
    path = write_bundle(tmp_path / "tiny", changed(change))
    for module in ("bundle", "install"):
        monkeypatch.setattr(f"IoUSynthLib.models.{module}.user_folder", lambda: tmp_path / "home")
    for use in (lambda: open_session(bundle.load(path), "cpu"), lambda: install(path)):
        with pytest.raises(InputError, match=cause) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_graphs_nested_without_end_are_refused():
    graph = onnx.load_from_string(generator_network()).graph
    for _ in range(25):
        outer = onnx.GraphProto()
        outer.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=onnx.GraphProto()))
        graph = outer
    with pytest.raises(ValueError, match="nests graphs"):
        check_onnx(onnx.ModelProto(graph=graph).SerializeToString())


def test_networks_of_ours_pass():
    for network in (generator_network(2, features=True), refiner_network(2), changed(a_function(""))):
        check_onnx(network)
    for name in (bundle.DEFAULT_GENERATOR, bundle.DEFAULT_SEGMENTER):
        bundle.load(bundle._shipped_folder() / name).read_network()


def test_a_damaged_network_is_refused_or_runs(tmp_path):
    """Its checksum is right, as that of whoever means harm would be; the runtime must not crash on what passes."""
    sound, number = generator_network(), iter(range(10**9))

    @examples(30, 0.2)
    @given(damaged(sound))
    def run(content: bytes) -> None:
        path = write_bundle(tmp_path / str(next(number)), content)
        with contextlib.suppress(InputError, MemoryError):
            prediction = open_session(bundle.load(path), "cpu").run(np.zeros((1, 3, 8, 16), np.float32))
            assert prediction.shape == (1, 3, 8, 16)

    run()
