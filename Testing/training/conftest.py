"""Fixtures of the training's tests."""

import pytest


class _NoBoard:
    """TensorBoard's place, for speed."""

    def __init__(self, *arguments):
        pass

    def add(self, *arguments):
        pass

    def close(self):
        pass


@pytest.fixture(scope="session")
def no_board():
    """A class for ``loop.Board`` that writes nothing."""
    return _NoBoard
