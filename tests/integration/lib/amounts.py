"""Amounts of output through a monitor into its log, and what came of them, byte by byte."""

import contextlib
import dataclasses
import filecmp
import os
import subprocess
import time

from .conmon import Run, process
from .paths import built
from .process import Failed, wait_for

MIB = 1 << 20
LINE_MAX = 16384
SILENCE_US = 99000  # as the wall clock counts 100 ms of the monotonic one
_NO_NEWLINE = bytes.maketrans(b"\n", b"\r")


def _block(kind, number):
    """About a mebibyte; no two are the same."""
    if kind == "100-byte lines":
        return b"".join(b"%099d\n" % (number * 10486 + line) for line in range(10486))
    data = os.urandom(MIB)
    return data if kind == "binary" else data[:-1].translate(_NO_NEWLINE) + b"\n"


@dataclasses.dataclass(frozen=True)
class Carried:
    """What a log, or the pieces of one that was rotated, had in it."""

    code: int
    exact: bool
    pieces: int
    partial: list  # of the records that are partial, as they come: bytes, microseconds since the record before
    rest: int  # bytes behind the last newline of the input
    seconds: float

    def needless(self):
        """Partial records of what is neither too long nor came after silence nor is the unfinished end."""
        partial = self.partial[:-1] if self.rest else self.partial
        return [(size, gap) for size, gap in partial if size < LINE_MAX and gap < SILENCE_US]


def _rotate(one, piece):
    """As kubelet does it: renamed away, then reopened. False if the monitor was no longer there."""
    os.rename(one.log_path, piece)
    with contextlib.suppress(OSError):
        one.ctl(b"2 0 0\n")
    wait_for(lambda: one.log_path.exists() or not one.alive(), "the new log", interval=0.005)
    return one.log_path.exists()


def carry(which, folder, kind, mib, chunk, rotations=0, timeout=120):
    """A container writes so many MiB, `chunk` bytes a write, and its log is reopened so many times meanwhile."""
    source, result, pieces = folder / "source", folder / "content", []
    with open(source, "wb") as file:
        for number in range(mib):
            file.write(_block(kind, number))
    rest = len(_tail(source))
    step = source.stat().st_size // (rotations + 1)
    begin = time.monotonic()
    with Run(which, folder, process(built("fakeruntime"), "write", source, str(chunk)), "--no-sync-log") as one:
        one.message()
        while len(pieces) < rotations and one.alive():
            if one.log_path.exists() and one.log_path.stat().st_size >= step:
                piece = folder / f"piece{len(pieces)}"
                pieces.append(piece)
                if not _rotate(one, piece):
                    break
            if time.monotonic() > begin + timeout:
                raise Failed(f"{len(pieces)} of {rotations} rotations within {timeout} s")
            time.sleep(0.002)
        code = one.wait(timeout)
        seconds = time.monotonic() - begin
        pieces += [one.log_path] if one.log_path.exists() else []
        with open(result, "wb") as output:
            done = subprocess.run([built("fakeruntime"), "content", *pieces], stdout=output, stderr=subprocess.PIPE,
                                  text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr[-1000:])
        partial = [tuple(map(int, line.split())) for line in done.stderr.splitlines()]
        exact = filecmp.cmp(result, source, shallow=False)
        for path in (*pieces, result, source):
            path.unlink()
    return Carried(code, exact, len(pieces), partial, rest, seconds)


def _tail(path):
    """What stands behind the last newline of a file."""
    with open(path, "rb") as file:
        file.seek(-MIB, os.SEEK_END)
        return file.read().rpartition(b"\n")[2]
