import numpy as np
import pytest

from models.oklab import srgb_to_oklab


def test_oklab_of_known_colours() -> None:
    oklab = srgb_to_oklab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], dtype=np.uint8))
    expected = [[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    assert oklab == pytest.approx(np.array(expected), abs=1e-4)
