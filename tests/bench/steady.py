"""Steady figures from an unsteady machine.

A machine's speed changes from second to second: rounds are short and many, what is compared is compared within a round,
and the median of the differences comes with the interval that holds the true one with 95 % likelihood.
"""

import os
import statistics
import subprocess
import sys

_SPIN = """import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True: pass"""


class Awake:
    """No CPU becomes idle: on each a task of policy SCHED_IDLE runs, which gives way to all others.

    Without it one measures how long a hypervisor takes to wake an idle CPU.
    """

    def __enter__(self):
        self._tasks = [subprocess.Popen([sys.executable, "-S", "-c", _SPIN, str(cpu)], start_new_session=True)
                       for cpu in os.sched_getaffinity(0)]
        return self

    def __exit__(self, *_):
        for task in self._tasks:
            task.kill()
            task.wait()


def spread(values):
    """Median, and how far from it the true one is at most, with 95 % likelihood (McGill, Tukey, Larsen 1978)."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return statistics.median(values), 1.57 * (quartiles[2] - quartiles[0]) / len(values) ** 0.5


def verdict(middle, wide, most):
    """Is what lies within wide of middle at most `most`? "met", "NOT MET", or where the noise does not let one tell "undecided"."""
    if middle + wide <= most:
        return "met"
    return "NOT MET" if middle - wide > most else "undecided"
