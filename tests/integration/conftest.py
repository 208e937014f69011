"""The test run's frame: its own namespaces and folder, and what is left running at the end."""

import atexit
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lib.session import Session  # noqa: E402  (the path has to be set first)

# Whatever the tests make podspan do, a system call that a filter lacks ends the program instead of failing there.
os.environ["PODSPAN_SECCOMP"] = "kill"

# Who starts this in the background of a shell ignores these for us, and every program we run would inherit that.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# A test that waits for ever would take the others with it.
TEST_SECONDS = 400

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


def _hangs(*_):
    raise TimeoutError(f"the test took more than {TEST_SECONDS} s")


@pytest.fixture(autouse=True)
def fixture_ends():
    """No test takes longer than TEST_SECONDS."""
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
