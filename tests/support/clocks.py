"""A process' wall clock that jumps, by Debian's libfaketime; its steady clock goes on as it is."""

import os
from pathlib import Path

import pytest

_PLACES = (Path(__file__).parents[2] / ".tools" / "libfaketime" / "usr" / "lib", Path("/usr/lib"))


class JumpingClock:
    """Moves the clock of processes that run in its `environment`."""

    def __init__(self, folder: Path) -> None:
        found = [one for place in _PLACES for one in place.glob("*/faketime/libfaketimeMT.so.1")]
        if not found:
            pytest.skip("libfaketime is not here: `make test` gets it where apt can")
        self._file = folder / "clock"
        self.jump("+0")
        # It refuses to sleep until a steady clock shows some time, which is how Python sleeps.
        code = (
            "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds) and None\n"
        )
        (folder / "sitecustomize.py").write_text(code)
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, offset: str) -> None:
        """To so far from the real time: ``"+2d"``, ``"-1d"``, ``"+0"``."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)
