"""A Debian guest under qemu, with systemd as PID 1: boots, runs a job as root, brings back what the job left.

    guest = Guest(folder, root, kernel)     # disks and logs lie in folder
    guest.load({"main": path, "podspan": tree})
    guest.boot()
    guest.wait(lambda line: …, limit)       # lines that the job printed
    guest.cut()                             # the power is gone; boot() starts from what the disk has
    guest.end(limit)                        # the exit code; files are in guest.files

The job is a program `main` in a tar on a disk of its own; tests/guest/rootfs/usr/local/sbin/guest-job runs it.
"""

import os
import shutil
import subprocess
import tarfile
import time

RESULT_SIZE = 256 * 1024 * 1024


class GuestError(Exception):
    pass


class Guest:
    def __init__(self, folder, root, kernel, memory=1536):
        self.folder = folder
        self.kernel = kernel
        self.memory = memory
        self.qemu = None
        self.console = os.path.join(folder, "console.log")
        self.output = os.path.join(folder, "job.log")
        self.files = os.path.join(folder, "files")
        self._disk = os.path.join(folder, "root.qcow2")
        self._job = os.path.join(folder, "job.tar")
        self._result = os.path.join(folder, "result.tar")
        self._position = 0
        self._rest = b""
        os.makedirs(folder, exist_ok=True)
        for path in (self.console, self.output):
            with open(path, "wb"):
                pass
        with open(self._result, "wb") as result:
            result.truncate(RESULT_SIZE)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", root, self._disk], check=True)

    def load(self, content):
        """Makes the job's disk: each path under its name; `main` is what runs."""
        with tarfile.open(self._job, "w") as job:
            for name, path in content.items():
                job.add(path, arcname=name)
        # qemu wants whole sectors.
        size = os.path.getsize(self._job)
        with open(self._job, "r+b") as job:
            job.truncate((size + 4095) // 4096 * 4096)

    def boot(self):
        assert self.qemu is None
        kernel = self.kernel
        drives = [("root", self._disk, "qcow2", "writeback", "off"),
                  ("modules", os.path.join(kernel, "modules.ext4"), "raw", "writeback", "on"),
                  ("job", self._job, "raw", "writeback", "on"),
                  ("result", self._result, "raw", "writeback", "off")]
        # Watchdogs of 3 s run in the guest, so it goes before what else the machine does. A run that is killed leaves no
        # guest behind. kvm is not asked for: where /dev/kvm is there it may hang. thread=multi goes on with stale code in
        # __schedule once tracepoints are switched. cmpxchg16b leaves rubbish in the flags (qemu 7.2), which an interrupt
        # then returns with: kernels that allocate by it die early.
        command = ["nice", "-n", "-5", "setpriv", "--pdeathsig", "KILL",
                   "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "Nehalem,-cx16", "-smp", "2",
                   "-m", str(self.memory), "-machine", "q35", "-nodefaults", "-display", "none", "-no-user-config",
                   "-kernel", os.path.join(kernel, "vmlinuz"), "-initrd", os.path.join(kernel, "initrd"),
                   "-append", "console=ttyS0 quiet mitigations=off nokaslr random.trust_cpu=on panic=-1 "
                              "systemd.show_status=false systemd.unified_cgroup_hierarchy=1 nmi_watchdog=0 "
                              "rcupdate.rcu_cpu_stall_suppress=1",
                   "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        for name, path, form, cache, read_only in drives:
            command += ["-drive", f"if=none,id={name},file={path},format={form},cache={cache},read-only={read_only}",
                        "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        for path in (self.console, self.output):
            name = os.path.basename(path).replace(".", "")
            command += ["-chardev", f"file,id={name},path={path},append=on", "-serial", f"chardev:{name}"]
        with open(os.path.join(self.folder, "qemu.log"), "ab") as log:
            self.qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _read(self):
        """Lines that the job has printed since the last call."""
        with open(self.output, "rb") as output:
            output.seek(self._position)
            new = output.read()
        self._position += len(new)
        lines = (self._rest + new).split(b"\n")
        self._rest = lines.pop()
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def wait(self, seen, limit):
        """Feeds each line of the job's to seen(), until that returns True; GuestError after limit seconds without an end."""
        until = time.monotonic() + limit
        while True:
            running = self.qemu.poll() is None
            # All of them are for seen(), also those after the one that ends the wait.
            if any([seen(line) for line in self._read()]):
                return
            if not running:
                raise GuestError(f"the guest ended\n{self.tail()}")
            if time.monotonic() > until:
                raise GuestError(f"nothing for {limit:.0f} s\n{self.tail()}")
            time.sleep(0.1)

    def tail(self):
        """The end of what console and job said."""
        text = ""
        for path in (self.console, self.output):
            with open(path, "rb") as log:
                lines = log.read().decode(errors="replace").splitlines()[-25:]
            text += f"---- {os.path.basename(path)}\n" + "\n".join(lines) + "\n"
        return text

    def cut(self):
        """Cuts the power: what the guest's page cache has is lost."""
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None
            self._rest = b""

    def end(self, limit):
        """Waits until the guest has switched itself off; returns the job's exit code."""
        try:
            self.qemu.wait(limit)
        except subprocess.TimeoutExpired:
            self.cut()
            raise GuestError(f"no power-off within {limit:.0f} s\n{self.tail()}") from None
        self.qemu = None
        shutil.rmtree(self.files, ignore_errors=True)
        os.makedirs(self.files)
        try:
            with tarfile.open(self._result) as result:
                for member in result.getmembers():
                    # Plain files below the folder; a guest is not trusted with more.
                    if member.isfile() and os.path.basename(member.name) == os.path.normpath(member.name):
                        with open(os.path.join(self.files, os.path.basename(member.name)), "wb") as file:
                            shutil.copyfileobj(result.extractfile(member), file)
            with open(os.path.join(self.files, "code"), encoding="ascii") as code:
                return int(code.read())
        except (tarfile.TarError, OSError, ValueError) as error:
            raise GuestError(f"the job left no result: {error}\n{self.tail()}") from None

    def close(self):
        self.cut()
        for path in (self._disk, self._job, self._result):
            if os.path.exists(path):
                os.unlink(path)
