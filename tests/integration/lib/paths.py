"""Where things are: the checkout, the built programs, the peers, the packaged programs."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

INTEGRATION = Path(__file__).resolve().parent.parent
REPO = INTEGRATION.parent.parent
PEERS = REPO / "tests" / "peers"

_BUILT = {
    "podspand": "agent/podspand",
    "podspan-cri": "cri-hooks/podspan-cri",
    "podspan-hook": "oci-hooks/podspan-hook",
    "podspan-watch": "proc-watch/podspan-watch",
    "podspan": "cli/podspan",
    "podspan-probe": "cli/podspan-probe",
    "podspan-conmon": "shim/podspan-conmon",
    "conmon-dynamic": "tests/bench/conmon-dynamic",
    "fakeruntime": "tests/bench/fakeruntime",
}


class Missing(Exception):
    """Something that the tests need is not there."""


def built(name):
    """The path of one of podspan's own programs, in $PODSPAN_BUILD or <repo>/build."""
    folder = Path(os.environ.get("PODSPAN_BUILD") or REPO / "build").absolute()
    path = folder / _BUILT[name]
    if not os.access(path, os.X_OK):
        raise Missing(f"{path} is not built")
    return path


@functools.lru_cache(maxsize=None)
def _peer_folders():
    listing = subprocess.run([PEERS / "build", "--list"], check=True, capture_output=True, text=True).stdout
    return dict(line.split("\t") for line in listing.splitlines())


def peer(name, program=""):
    """The folder of a built peer, or one file in it."""
    path = Path(_peer_folders()[name]) / program
    if not path.exists():
        raise Missing(f"{path} does not exist; run tests/peers/build")
    return path


def packaged(name):
    """The path of a program that comes from a Debian package."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Missing(f"{name} is not installed; see tests/peers/packages")
    return Path(path)


def oci_runtime(name):
    """runc, or crun behind the script that makes Debian's version accept today's bundles."""
    program = packaged(name)
    return INTEGRATION / "lib" / "crun" if name == "crun" else program
