"""What mutes the images of a result."""

import pytest

from IoUSynthLib.synthesis.trust import UNCERTAIN, UNFAMILIAR, reasons_to_mute

NEAR, FAR = {"distance": 1.2, "limit": 1.8}, {"distance": 2.4, "limit": 1.8}


@pytest.mark.parametrize(
    ("familiarity", "error", "expected"),
    [
        (None, None, []),
        (NEAR, 0.15, []),
        (FAR, 0.1, [UNFAMILIAR]),
        (None, 0.16, [UNCERTAIN]),
        (FAR, 0.3, [UNFAMILIAR, UNCERTAIN]),
    ],
)
def test_reasons(familiarity, error, expected):
    assert list(reasons_to_mute(familiarity, error, "ours-2.5d")) == expected


def test_each_reason_says_what_to_do():
    said = reasons_to_mute(FAR, 0.214, "ours-2.5d")
    assert "unlike all that ours-2.5d has learned from (distance 2.40, familiar up to 1.80)" in said[UNFAMILIAR]
    assert "ours-2.5d expects to be wrong by 21% of the intensity range" in said[UNCERTAIN]
    assert all("trust the ultrasound and the preoperative MRI instead, or" in text for text in said.values())
