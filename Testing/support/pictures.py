"""Words in a picture, for tests of pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from IoUSynthLib.outputs.drawing import Text


def contains(picture: np.ndarray, text: Text) -> bool:
    """Tell whether words stand in a picture on black, in their size and colour, pixel by pixel.

    They are found at the beginning of a text only: within it, Pillow may shift letters by parts of a pixel.
    """
    stamp = _stamp(text)
    rows, columns = np.nonzero(stamp.any(axis=-1))
    height, width = picture.shape[0] - stamp.shape[0] + 1, picture.shape[1] - stamp.shape[1] + 1
    if min(height, width) < 1:
        return False
    places = np.indices((height, width)).reshape(2, -1).T
    for row, column in zip(rows, columns, strict=True):
        found = picture[places[:, 0] + row, places[:, 1] + column] == stamp[row, column]
        places = places[found.all(axis=-1)]
        if not len(places):
            return False
    return True


def _stamp(text: Text) -> np.ndarray:
    image = Image.new("RGB", (text.width, text.height))
    text.draw(ImageDraw.Draw(image), 0, 0)
    return np.asarray(image)
