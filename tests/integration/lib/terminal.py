"""A program on a terminal of its own, as a person has it."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from .process import Failed


def on_terminal(command, talk=None, size=(33, 77), timeout=60):
    """Runs a command on a terminal of its own; talk(write, seen) is called with what has come; returns code and output."""
    pid, master = pty.fork()
    if pid == 0:
        # The child reads its size once its parent has set it.
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
        os.execv(command[0], command)
    output, deadline = b"", time.monotonic() + timeout
    write = lambda data: os.write(master, data)
    try:
        if talk:
            talk(write, output)
        while True:
            if not select.select([master], [], [], max(deadline - time.monotonic(), 0))[0]:
                os.kill(pid, signal.SIGKILL)
                raise Failed(f"{command}: not within {timeout} s; so far {output}")
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            output += chunk
            if talk:
                talk(write, output)
    finally:
        os.close(master)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, output


class Talk:
    """Says each line when what it waits for has come."""

    def __init__(self, *turns):
        self._turns = list(turns)

    def __call__(self, write, seen):
        if self._turns and self._turns[0][0] in seen:
            write(self._turns.pop(0)[1])
