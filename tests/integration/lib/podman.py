"""podman, Debian's 4.3.1, as root, with storage of its own."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from . import images, session
from .paths import packaged
from .process import run
from .runtime import CNI_PLUGINS, hooks_d

_LIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"]


class Podman:
    """Runs single containers; hooks: {stage: [argv, …]}; conmon is the monitor's path; bridge: with a network, by CNI."""

    def __init__(self, runtime="crun", hooks=None, conmon=None, bridge=False):
        self.folder = Path(tempfile.mkdtemp(prefix="podman-"))
        self.cgroup = f"/{self.folder.parent.name}-{self.folder.name}"
        self.runtime, self.hooks, self.conmon = runtime, hooks or {}, conmon
        self._network = "tests" if bridge else "none"
        self._env = {**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")} if bridge else None
        if bridge:
            self._write_network()

    def _write_network(self):
        (self.folder / "containers.conf").write_text(
            f'[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["{CNI_PLUGINS}"]\n', encoding="utf-8")
        (self.folder / "networks").mkdir()
        (self.folder / "networks" / "tests.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "tests", "plugins": [
                {"type": "bridge", "bridge": "psitp", "isGateway": True, "ipMasq": False,
                 "ipam": {"type": "host-local", "dataDir": str(self.folder / "ipam"),
                          "ranges": [[{"subnet": "10.99.0.0/16"}]]}}]}), encoding="utf-8")

    def command(self, *arguments):
        """The command line: podman with this instance's global options."""
        hooks = hooks_d(self.folder / "hooks.d", self.hooks)
        monitor = ["--conmon", self.conmon] if self.conmon else []
        return [packaged("podman"), "--root", self.folder / "root", "--runroot", self.folder / "runroot", "--tmpdir",
                self.folder / "tmp", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs",
                "--events-backend", "file", "--network-config-dir", self.folder / "networks",
                "--runtime", packaged(self.runtime), "--hooks-dir", hooks, *monitor, *arguments]

    def __call__(self, *arguments, check=True, **options):
        """Runs podman, in its folder: conmon leaves a file `oom` where it runs."""
        return run(*self.command(*arguments), check=check, **{"cwd": self.folder, "env": self._env, **options})

    def run_options(self, *options):
        """What `run` needs here: a network or none, the limits that can be set, our cgroup."""
        return ["--network", self._network, "--cgroup-parent", self.cgroup, *_LIMITS, *options]

    def run(self, *arguments, check=True):
        """podman run --rm."""
        return self("run", "--rm", *self.run_options(*arguments), check=check)

    def __enter__(self):
        try:
            for name in ("busybox", "scratch"):
                self("load", "--quiet", "--input", images.archive(name))
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        """Removes containers and storage."""
        self("rm", "--force", "--time", "0", "--all", check=False)
        session.end_orphans("conmon", "podspan-conmon", "podman")
        session.unmount_below(self.folder)
        session.remove_cgroups(self.cgroup)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(self, *_):
        self.close()
