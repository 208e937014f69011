"""Which execs are health checks: podspan-conmon goes by the positions of the words in its caller's command line."""

import contextlib
import shlex
import subprocess

import pytest

from lib.conmon import Run, shell
from lib.monitors import fixture_everything_ends, fixture_which, subject_only  # noqa: F401  (fixtures)
from test_conmon_faults import State

# Starts the script that the environment names as its child, whatever its own command line says.
CALLER = """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", getenv("CALLER_SCRIPT"), (char *) 0);
        _exit(126);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
"""

LINES = {
    "a check": (["healthcheck", "run", "c"], True),
    "a check with options": (["--log-level", "debug", "--syslog", "healthcheck", "run", "c"], True),
    "a container called healthcheck": (["exec", "healthcheck", "true"], False),
    "a command healthcheck run": (["exec", "c", "healthcheck", "run"], False),
    "a root called healthcheck": (["--root", "healthcheck", "exec", "c", "true"], False),
}


@pytest.fixture(name="podman", scope="module")
def fixture_podman(tmp_path_factory):
    """A program called podman that only starts its child."""
    folder = tmp_path_factory.mktemp("caller")
    (folder / "podman.c").write_text(CALLER, encoding="ascii")
    subprocess.run(["gcc", "-O2", "-o", folder / "podman", folder / "podman.c"], check=True)
    return folder / "podman"


@subject_only
@pytest.mark.parametrize("line", LINES)
def test_caller(which, tmp_path, podman, line):
    """An exec is told, unless its caller is `podman healthcheck run`."""
    words, check = LINES[line]
    state = State(tmp_path)
    script = tmp_path / "script"
    with contextlib.closing(Run(which, tmp_path, shell("exit 0"), "-u", "0" * 64, exec_=True, foreground=True, api=1,
                                env={**state.env, "CALLER_SCRIPT": str(script)})) as one:
        script.write_text(f"exec {shlex.join(one.command)}\n", encoding="utf-8")
        one.command = [str(podman), *words]
        one.start()
        assert one.message()["data"] > 0
        assert one.message() == {"data": 0}
        assert one.wait() == 0
    assert ([span for span in state.spans() if span.name == "fakeruntime exec"] == []) == check, state.spans()
