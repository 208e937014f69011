"""The test run's frame: its own namespaces and folder, and what is left running at the end."""

import atexit
import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib.session import Session  # noqa: E402  (the path has to be set first)

# Whatever the tests make podspan do, a system call that a filter lacks ends the program instead of failing there.
os.environ["PODSPAN_SECCOMP"] = "kill"

# The session must exist before any test module starts a thread: namespaces are entered by the calling thread only.
# It is left at the interpreter's exit, after pytest has tidied its own temporary folders inside.
_session = Session()
tempfile.tempdir = str(_session.folder)
atexit.register(_session.close)


@pytest.fixture(scope="module", autouse=True)
def fixture_nothing_is_left():
    """After each module nothing of what its tests started is there any more."""
    yield
    assert not _session.leftovers()
