"""What every folder of tests needs."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading

if importlib.util.find_spec("hypothesis") is not None:  # the peers' environment does without
    import hypothesis

    # two cores that others use as well: no deadlines; the same examples in every run of CI, new ones everywhere else
    hypothesis.settings.register_profile("local", deadline=None)
    hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
    hypothesis.settings.register_profile(
        "mutation", deadline=None, derandomize=True, phases=tuple(hypothesis.Phase)[:3]
    )
    hypothesis.settings.load_profile(
        os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "local")
    )

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # a shell's background job ignores ^C, and so would the processes that the tests interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
