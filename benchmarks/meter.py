"""Runs one command and prints its wall seconds, CPU seconds, and peak resident MB.

A process of its own, and a small one: what a process holds when it starts another counts as the other's memory.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run the command that the arguments are, without its output, and exit as it does."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - started
    print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
