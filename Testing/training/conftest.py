"""Fixtures of the training's tests."""

import pytest
from support.training import NoBoard


@pytest.fixture(scope="session")
def no_board():
    """A class for ``trainer.Board`` that writes nothing."""
    return NoBoard
