"""podspan-watch, beside any other set of podspan."""

from pathlib import Path

from .paths import built, packaged
from .podspan import Notify
from .process import Daemon, Failed

_CAPABILITIES = "-all,+bpf,+perfmon,+dac_read_search"  # those that its unit leaves it


class Watch:
    """Runs podspan-watch for a Podspan; a context manager."""

    def __init__(self, podspan):
        self._podspan = podspan
        self._notify = Notify(podspan.folder / "watch-notify.sock")
        self.daemon = Daemon(
            "podspan-watch", [packaged("setpriv"), f"--bounding-set={_CAPABILITIES}", built("podspan-watch"),
                              *podspan.options, "--bundle-root", podspan.folder.parent],
            podspan.folder, env={"NOTIFY_SOCKET": str(self._notify.path), "PODSPAN_SECCOMP": "kill"})
        try:
            self.daemon.wait_until(self._notify.ready, "READY=1")
        except BaseException:
            self.close()
            raise

    def memory(self):
        """PSS in bytes."""
        rollup = Path(f"/proc/{self.daemon.pid}/smaps_rollup").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))

    def cpu_seconds(self):
        """CPU time so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def close(self):
        """Ends it; its last spans are written."""
        self.daemon.signal(15)
        code = self.daemon.wait()
        self.daemon.stop()
        self._notify.close()
        if code != 0:
            raise Failed(f"podspan-watch ended with {code}:\n{self.daemon.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
