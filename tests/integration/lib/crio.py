"""CRI-O, our build of 1.34.0, with runc and crun from Debian, and with its conmon or another monitor."""

import os
import signal
from pathlib import Path

from . import images
from .paths import oci_runtime, packaged, peer
from .process import Daemon, run, wait_for
from .runtime import Runtime, hooks_d, kept

_CONFIG = """
[crio]
root = "{folder}/root"
runroot = "{folder}/runroot"
storage_driver = "overlay"
log_dir = "{folder}/pod-logs"
version_file = "{folder}/version"
version_file_persist = ""
clean_shutdown_file = "{folder}/clean.shutdown"
[crio.api]
listen = "{socket}"
stream_port = "0"
[crio.runtime]
default_runtime = "{runtime}"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
conmon = "{conmon}"
pids_limit = 4096
selinux = false
apparmor_profile = "unconfined"
hooks_dir = ["{hooks}"]
namespaces_dir = "{folder}/namespaces"
pinns_path = "{pinns}"
container_exits_dir = "{folder}/exits"
container_attach_socket_dir = "{attach}"
log_level = "info"
cdi_spec_dirs = []
[crio.runtime.runtimes.{runtime}]
runtime_path = "{runtime_path}"
runtime_root = "{folder}/oci"
runtime_type = "oci"
monitor_path = "{conmon}"
monitor_cgroup = "pod"
monitor_env = [{monitor_env}]
[crio.image]
pause_image = "localhost/pause:1"
signature_policy = "{folder}/policy.json"
signature_policy_dir = "{folder}/policies"
insecure_registries = [{registries}]
[crio.network]
network_dir = "{cni_folder}"
plugin_dirs = ["{cni_plugins}"]
[crio.nri]
enable_nri = false
[crio.tracing]
{tracing}
"""


class Crio(Runtime):
    """hooks: {stage: [argv, …]}; tracing: the lines of [crio.tracing]; drop_ins: {file name: text} for crio.conf.d.

    monitor is the path of another monitor than conmon, monitor_env its environment as NAME=VALUE.
    """

    kind = "crio"

    def __init__(self, runtime="crun", hooks=None, tracing="", drop_ins=None, cni=True, registries=(), env=None,
                 monitor=None, monitor_env=()):
        super().__init__(cni)
        self.runtime, self.hooks, self.tracing = runtime, hooks or {}, tracing
        self._monitor = monitor or packaged("conmon")
        self._monitor_env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *monitor_env]
        # With an id behind it the path has to fit into a socket's address.
        self._attach = Path(f"/run/crio/{self.folder.name}")
        self._drop_ins, self._registries = drop_ins or {}, registries
        self._env = {"OTEL_BSP_SCHEDULE_DELAY": "200", **(env or {})}

    def _write_config(self):
        cni_folder, cni_plugins = self.write_cni()
        hooks = hooks_d(self.folder / "hooks.d", self.hooks)
        (self.folder / "policies").mkdir()
        self._attach.mkdir(parents=True)
        (self.folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}', encoding="utf-8")
        (self.folder / "conf.d").mkdir()
        for name, text in self._drop_ins.items():
            (self.folder / "conf.d" / name).write_text(text, encoding="utf-8")
        path = self.folder / "crio.conf"
        path.write_text(_CONFIG.format(
            folder=self.folder, attach=self._attach, socket=self.socket, runtime=self.runtime, runtime_path=oci_runtime(self.runtime),
            conmon=self._monitor, monitor_env=", ".join(f'"{entry}"' for entry in self._monitor_env), pinns=peer("crio", "pinns"), hooks=hooks, cni_folder=cni_folder,
            cni_plugins=cni_plugins, tracing=self.tracing,
            registries=", ".join(f'"{name}"' for name in self._registries)), encoding="utf-8")
        return path

    def _load_images(self):
        store = f"[overlay@{self.folder}/root+{self.folder}/runroot]"
        for name in images.NAMES:
            run(packaged("skopeo"), "--insecure-policy", "copy", "--quiet", f"oci-archive:{images.archive(name)}",
                f"containers-storage:{store}localhost/{name}:1")

    def start(self):
        config = self._write_config()
        self._load_images()
        program = [peer("crio", "crio"), "--config", config, "--config-dir", self.folder / "conf.d"]
        self.daemon = Daemon("crio", kept(self.folder / "crio.self", program), self.folder, env=self._env)
        self.daemon.wait_until(self.ready, "ready for pods")

    def restart(self, number=signal.SIGTERM):
        """Ends CRI-O by a signal and waits for the next one; its containers run on."""
        path = self.folder / "crio.self"
        pid = int(path.read_text(encoding="ascii"))
        path.unlink()
        os.kill(pid, number)
        wait_for(path.exists, "CRI-O is started again")
        self.daemon.wait_until(self.ready, "ready for pods again")
