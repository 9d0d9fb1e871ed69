from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from node.work.messages import read_message, write_message


def test_arrays_come_as_they_were_and_cannot_be_written() -> None:
    pipe = BytesIO()
    turned = np.asfortranarray(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    every_other = np.arange(10.0)[::2]
    sent = {"a": np.arange(5), "turned": turned, "step": every_other, "empty": np.zeros((0, 3))}
    write_message(pipe, sent)
    write_message(pipe, "next")
    pipe.seek(0)
    read = read_message(pipe)
    for name, array in sent.items():
        assert np.array_equal(read[name], array), name
        assert read[name].dtype == array.dtype, name
    assert read["turned"].flags.f_contiguous
    with pytest.raises(ValueError, match="read-only"):
        read["a"][0] = 1
    assert read_message(pipe) == "next"


@pytest.mark.parametrize("kept", [0, 3, 8, 20, -1])
def test_a_message_that_is_cut_is_the_end_of_the_other_side(kept: int) -> None:
    pipe = BytesIO()
    write_message(pipe, np.arange(100))
    with pytest.raises(EOFError):
        read_message(BytesIO(pipe.getvalue()[:kept]))
