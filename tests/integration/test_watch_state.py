"""podspan-watch where it cannot run: it says what is missing and ends for good; and the record of its state."""

import contextlib
import fcntl
import os
import signal
import struct

import pytest

from lib.paths import built, packaged
from lib.podspan import Notify
from lib.process import Daemon, run, wait_for

CANNOT_RUN = 3
RECORD = "watch-state"
# As its unit has them.
ALL = ("bpf", "perfmon", "dac_read_search")
HIDE_BTF = 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$@"'
FLOCK = "hhlli4x"


def _with(*capabilities):
    return [packaged("setpriv"), "--bounding-set=" + ",".join(["-all", *(f"+{name}" for name in capabilities)])]


# What it lacks: how to start it so, the record's `missing`, a word of its message.
LACKS = {
    "CAP_BPF": (_with("perfmon", "dac_read_search"), "capability", "CAP_BPF is missing"),
    "CAP_PERFMON": (_with("bpf", "dac_read_search"), "capability", "CAP_PERFMON is missing"),
    "namespace": ([packaged("unshare"), "--pid", "--fork"], "namespace", "the host's pid namespace"),
    "BTF": ([packaged("unshare"), "--mount", "sh", "-c", HIDE_BTF, "sh"], "btf", "/sys/kernel/btf/vmlinux"),
}


def _record(folder):
    """The record, and whether a living process holds its lock; None if there is none."""
    path = folder / RECORD
    if not path.exists():
        return None
    with open(path, "rb") as file:
        asked = fcntl.fcntl(file, fcntl.F_OFD_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        lines = file.read().decode("utf-8").splitlines()
    assert lines[0] == "podspan-watch 1"
    found = dict(line.split(" ", 1) for line in lines[1:])
    found["locked"] = struct.unpack(FLOCK, asked)[0] != fcntl.F_UNLCK
    return found


@contextlib.contextmanager
def _started(folder, *options, around=()):
    notify = Notify(folder / "notify.sock")
    daemon = Daemon("podspan-watch", [*around, built("podspan-watch"), "--state-dir", folder, *options], folder,
                    env={"NOTIFY_SOCKET": str(notify.path), "PODSPAN_SECCOMP": "kill"})
    try:
        yield daemon, notify
    finally:
        daemon.stop()
        notify.close()


@pytest.mark.parametrize("what", LACKS)
def test_refuses(what, tmp_path):
    """One exit code for all of them, which its unit knows; log, status and record say which, and what to do."""
    around, missing, word = LACKS[what]
    notify = Notify(tmp_path / "notify.sock")
    try:
        done = run(*around, built("podspan-watch"), "--state-dir", tmp_path, check=False,
                   env={**os.environ, "NOTIFY_SOCKET": str(notify.path)})
        assert done.returncode == CANNOT_RUN, done.stderr
        assert f"Cannot run here ({missing}): " in done.stderr and word in done.stderr
        record = _record(tmp_path)
        assert (record["state"], record["missing"], record["locked"]) == ("refused", missing, False)
        assert word in record["reason"] and record["reason"] in done.stderr
        assert not notify.said("READY=1")
    finally:
        notify.close()


def test_says_what_the_exit_code_means():
    """--help has each exit code."""
    said = " ".join(run(built("podspan-watch"), "--help").stdout.split())
    assert f", {CANNOT_RUN} cannot run here" in said


def test_record_of_a_life(tmp_path):
    """Running while it runs, died after SIGKILL, stopped after SIGTERM; one that refuses beside it hides nothing."""
    with _started(tmp_path, around=_with(*ALL)) as (daemon, notify):
        daemon.wait_until(notify.ready, "READY=1")
        record = _record(tmp_path)
        assert (record["state"], record["missing"], record["locked"]) == ("running", "", True)
        assert int(record["pid"]) == daemon.pid
        beside = run(*LACKS["CAP_BPF"][0], built("podspan-watch"), "--state-dir", tmp_path, check=False)
        assert beside.returncode == CANNOT_RUN and "Another podspan-watch" in beside.stderr
        assert _record(tmp_path) == record
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    record = _record(tmp_path)
    assert (record["state"], record["locked"]) == ("running", False)

    with _started(tmp_path, around=_with(*ALL)) as (daemon, notify):
        daemon.wait_until(notify.ready, "READY=1")
        assert _record(tmp_path)["locked"]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    record = _record(tmp_path)
    assert (record["state"], record["locked"]) == ("stopped", False)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_record_of_a_failure(tmp_path):
    """A configuration that is wrong is one: the unit tries again, and the record says why."""
    config = tmp_path / "podspan.conf"
    config.write_text("log_level = loud\n", encoding="ascii")
    done = run(built("podspan-watch"), "--state-dir", tmp_path, "--config", config, check=False)
    assert done.returncode == 1
    record = _record(tmp_path)
    assert (record["state"], record["missing"]) == ("failed", "")
    assert "log_level" in record["reason"]


def test_record_with_tracing_off(tmp_path):
    """It runs and watches nothing, which the record says."""
    config = tmp_path / "podspan.conf"
    config.write_text("enable_tracing = false\n", encoding="ascii")
    with _started(tmp_path, "--config", config) as (daemon, notify):
        daemon.wait_until(notify.ready, "READY=1")
        record = wait_for(lambda: _record(tmp_path), "the record")
        assert record["state"] == "running" and "enable_tracing" in record["reason"]
