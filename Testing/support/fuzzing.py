"""Files that nobody means, by Hypothesis, and what must hold whatever a reader is given: a result, or one clear line.

As a rule a property sees few examples, the same in every run. ``make fuzz`` sets IOUSYNTH_FUZZ to a larger number.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from IoUSynthLib.volume import InputError

Result = TypeVar("Result")

#: Examples of a long run; 0 for the usual, short one.
LONG = int(os.environ.get("IOUSYNTH_FUZZ", "0"))
#: Processor time in seconds that nothing in these small files may take: reading them takes milliseconds.
LONGEST_S = 5.0
#: Numbers that a program, a slip or malice may write where a sound one is wanted.
STRANGE_NUMBERS = (
    "0", "-1", "1", "2", "3", "4", "8", "-0.5", "1e-30", "1e30", "1e308", "1e999", "nan", "inf", "-inf", "255", "65536",
    "2147483647", "-2147483648", "4294967296", "9223372036854775807", "99999999999999999999", "0x10", "1,5", "", "x",
    "1 1", "(1,0,0)", "none", "LIST", "%d", "true", "../a", "/dev/zero",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def examples(usual: int, share: float = 1.0) -> settings:
    """How a property is tried: so many examples as a rule, and a share of those of a long run."""
    return settings(
        max_examples=max(1, round(LONG * share)) if LONG else usual,
        derandomize=not LONG,
        database=None,
        deadline=None,  # wall time says nothing on a busy machine; see read_or_refuse
        suppress_health_check=list(HealthCheck),
    )


def read_or_refuse(read: Callable[[], Result], *names: Path) -> Result | None:
    """What a reader makes of its files: its result, or None where it refuses them with a line as users want it.

    Parameters
    ----------
    read
        Reads.
    names
        Files and folders of which the line must name one, by its path without the suffix.
    """
    started = time.process_time()
    try:
        result = read()
    except InputError as error:
        message, result = str(error), None
        assert any(message.startswith(str(name.with_suffix(""))) for name in names), message
        assert "; " in message, f"a remedy follows the cause: {message}"
    assert time.process_time() - started < LONGEST_S
    return result


@st.composite
def damaged(draw: st.DrawFn, content: bytes, head: int | None = None) -> bytes:
    """A file with one to three faults, most of them in its first ``head`` bytes."""
    for _ in range(draw(st.integers(1, 3))):
        edit = draw(st.sampled_from(_EDITS))
        end = head if head is not None and draw(st.integers(0, 4)) else len(content)
        content = edit(draw, content, max(1, min(end, len(content))))
        if not content:
            break
    return content


def _another_byte(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    place = draw(st.integers(0, end - 1))
    return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]


def _another_word(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    """Two, four or eight bytes that are an extreme as an integer or as a floating-point number."""
    extremes = ["00", "ff", "0000", "ffff", "7fff", "ff7f", "8000", "0080", "00000000", "ffffffff", "7fffffff"]
    extremes += ["ffffff7f", "0000c07f", "7fc00000", "0000807f", "000080ff", "80000000", "00000080", "0000803f"]
    extremes += ["ffffffffffffff7f"]
    word = bytes.fromhex(draw(st.sampled_from(extremes)))
    place = draw(st.integers(0, max(0, end - len(word))))
    return content[:place] + word + content[place + len(word) :]


def _cut(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    return content[: draw(st.integers(0, end))]


def _without_a_part(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    start = draw(st.integers(0, end - 1))
    return content[:start] + content[start + draw(st.integers(1, 40)) :]


def _with_a_part_twice(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    start = draw(st.integers(0, end - 1))
    stop = start + draw(st.integers(1, 40))
    return content[:stop] + content[start:stop] + content[stop:]


def _with_other_bytes(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    place = draw(st.integers(0, end))
    return content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:]


def _another_number(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    """Another number in the text."""
    found = list(_NUMBER.finditer(content, 0, end))
    if not found:
        return content
    match = draw(st.sampled_from(found))
    return content[: match.start()] + draw(st.sampled_from(STRANGE_NUMBERS)).encode() + content[match.end() :]


def _another_value(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    """Another value of an entry "name: value" or "name = value", as a whole."""
    found = list(re.finditer(rb"(?m)(?<=[:=] )[^\n]*$", content[:end]))
    if not found:
        return content
    match = draw(st.sampled_from(found))
    value = " ".join(draw(st.lists(st.sampled_from(STRANGE_NUMBERS), min_size=1, max_size=4)))
    return content[: match.start()] + value.encode() + content[match.end() :]


def _other_lines(draw: st.DrawFn, content: bytes, end: int) -> bytes:
    """A line less, a line twice, or two lines in each other's place."""
    lines = content.split(b"\n")
    most = content.count(b"\n", 0, end)
    first, second = (draw(st.integers(0, most)) for _ in range(2))
    match draw(st.integers(0, 2)):
        case 0:
            del lines[first]
        case 1:
            lines.insert(second, lines[first])
        case _:
            lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


_EDITS = (
    _another_byte, _another_word, _cut, _without_a_part, _with_a_part_twice, _with_other_bytes, _another_number,
    _another_value, _other_lines,
)  # fmt: skip
