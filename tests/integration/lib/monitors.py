"""What the tests of monitors alone share: the fixture `which` with its marks, and that all a test has started ends.

A test module that imports the fixtures has them.
"""

import pytest

from . import conmon

both = pytest.mark.parametrize("which", conmon.NAMES, ids=["reference", "podspan"], indirect=True)
subject_only = pytest.mark.parametrize("which", ["podspan-conmon"], ids=["podspan"], indirect=True)


@pytest.fixture(name="which")
def fixture_which(request):
    """The monitor under test."""
    return conmon.monitor(request.param)


@pytest.fixture(autouse=True)
def fixture_everything_ends():
    """What a test has started ends with it."""
    yield
    conmon.collect()
