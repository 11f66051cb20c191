"""One random stream per concern, so that switching one feature off leaves the others' draws alone."""

from enum import IntEnum

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import InvalidInput


class Stream(IntEnum):
    """What a stream is used for. The numbers are part of the seeding: never reuse or reorder them."""

    TREE = 0
    NAMES = 1
    LIFETIMES = 2
    ECONOMICS = 3
    BUDGETS = 4
    MARKET = 5
    DRIFT = 6
    CONVERSION_NOISE = 7
    CLICK_NOISE = 8
    PRICE_NOISE = 9
    PACING = 10
    ALLOCATION = 11
    IMPRESSIONS = 12
    CLICKS = 13
    LEADS = 14
    LAG = 15
    CHANGES = 16
    FATIGUE = 17


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """The generator of one concern of one account: the stream's child of ``SeedSequence(seed).spawn(...)``.

    Raises
    ------
    InvalidInput
        If the seed is negative.
    """
    if seed < 0:
        raise InvalidInput.at("seed", f"is {seed}; expected 0 or more")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(stream),))))


def uniforms(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Uniform numbers strictly inside (0, 1), as quantile functions need them."""
    return np.asarray((rng.integers(0, 2**52, size=shape) + 0.5) / 2.0**52, dtype=np.float64)
