"""Models that change while they are used, and two programs on one model folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.tiny_models import convolution_model, generator_network, write_bundle

from IoUSynthLib.inference import open_session
from IoUSynthLib.models import bundle
from IoUSynthLib.models import install as installing
from IoUSynthLib.models.install import install
from IoUSynthLib.volume import InputError

pytest.importorskip("onnx")


def other_network() -> bytes:
    return convolution_model(np.zeros((3, 3, 3, 3)), np.array([1.0, 2.0, 3.0]))


def test_a_model_replaced_while_it_is_open_is_used_from_the_next_run_on(tmp_path):
    """The run that is under way keeps the weights that it began with; none mixes them."""
    path = write_bundle(tmp_path / "tiny", generator_network())
    before = open_session(bundle.load(path), "cpu")
    path.rename(tmp_path / "old")
    write_bundle(path, other_network())
    image = np.ones((1, 3, 8, 8), np.float32)
    assert before.run(image)[0, 0, 4, 4] == -0.5
    assert open_session(bundle.load(path), "cpu").run(image)[0, 0, 4, 4] == 1.0


@pytest.mark.parametrize("change", [lambda content: content[:-100], lambda _: other_network()], ids=["cut", "swapped"])
def test_weights_that_were_cut_or_swapped_are_refused(tmp_path, change):
    path = write_bundle(tmp_path / "tiny", generator_network())
    model = bundle.load(path)
    (path / bundle.NETWORK_FILE).write_bytes(change(generator_network()))
    with pytest.raises(InputError, match="checksum does not match the metadata; install the model tiny again"):
        open_session(model, "cpu")


def test_two_programs_on_one_model_folder_leave_one_whole_model(tmp_path, monkeypatch):
    home = tmp_path / "home"
    for module in (bundle, installing):
        monkeypatch.setattr(module, "user_folder", lambda: home)
    given = [
        write_bundle(tmp_path / name / "tiny", network)
        for name, network in (("one", generator_network()), ("two", other_network()))
    ]

    def once(number: int) -> str:
        try:
            return install(given[number % 2], replace=True)[1]
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(once, range(24)))
    assert {"replaced", "installed"} & set(outcomes)
    assert [path.name for path in home.iterdir()] == ["tiny"], "nothing half-done, and no hidden folder"
    bundle.load(home / "tiny").verify()
    odd = set(outcomes) - {"installed", "replaced", "already there"}
    assert all("another program is changing it" in text for text in odd), odd
