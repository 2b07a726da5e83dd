"""OKLab, in which equal distances look about equally different and dark colours keep their hue.

Matrices: Björn Ottosson, https://bottosson.github.io/posts/oklab/; sRGB: IEC 61966-2-1.
"""

import numpy as np
from numpy.typing import NDArray

_LMS_FROM_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=np.float32,
)
_OKLAB_FROM_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=np.float32,
)
_LEVELS = np.arange(256) / 255
_LINEAR_BY_LEVEL = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def srgb_to_oklab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Lightness in [0, 1], green to red, blue to yellow: (..., 3) uint8 sRGB -> (..., 3) float32."""
    return np.asarray(np.cbrt(_LINEAR_BY_LEVEL[pixels] @ _LMS_FROM_RGB.T) @ _OKLAB_FROM_LMS.T)
