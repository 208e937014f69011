"""A wall clock for the programs under test that can be stepped without stepping the machine's."""

import os
import struct
import tempfile
from pathlib import Path

from .process import run

_SOURCE = Path(__file__).with_name("stepclock.c")


class Clock:
    """`env` gives programs (but static ones, such as podspan-hook) this clock."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="clock-"))
        os.chmod(self._folder, 0o755)
        library = self._folder / "stepclock.so"
        run("cc", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", library, _SOURCE)
        self._file = self._folder / "offset"
        self.seconds = 0
        self.step(0)
        self.env = {"LD_PRELOAD": str(library), "STEPCLOCK": str(self._file)}

    def step(self, seconds):
        """Steps it, from where it is."""
        self.seconds += seconds
        with open(self._file, "r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("=q", self.seconds * 10**9))
