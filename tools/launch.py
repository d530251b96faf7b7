"""torchrun that forwards signals to the ranks, and returns exit code 75 if a rank stopped with it.

torchrun ends its processes when it gets a signal. Here they get the signal, write a checkpoint and exit
with 75 (`mmmim.engine.signals.TO_BE_CONTINUED`), which this process then exits with.
"""

import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import elastic_launch

# Repeated here, since importing mmmim takes seconds: mmmim/engine/signals.py, hooks/watchdog.py.
TO_BE_CONTINUED = 75
WATCHDOG = 76
passed_on: set[int] = set()
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def main() -> None:
    args = run.parse_args(sys.argv[1:])
    check_port(args)
    for number in SIGNALS:
        signal.signal(number, lambda number, _: pass_on(number))
    config, command, arguments = run.config_from_args(args)
    config.signals_to_handle = "SIGQUIT"
    try:
        elastic_launch(config=config, entrypoint=command)(*arguments)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        if codes & {-number for number in passed_on}:  # before the run could react
            sys.exit(TO_BE_CONTINUED)
        for code in (TO_BE_CONTINUED, WATCHDOG):
            if code in codes:
                sys.exit(code)
        sys.exit(f"{error}")


def check_port(args) -> None:
    """End with the cure if another process has the port; torchrun notices after half a minute."""
    if int(args.node_rank) != 0 or args.rdzv_endpoint:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(args.master_port)))
        except OSError:
            sys.exit(
                f"port {args.master_port} is in use, perhaps by another run: set PORT to a free one, "
                f"for example PORT={int(args.master_port) + 1}"
            )


def pass_on(number: int) -> None:
    """Send a signal to the processes that this one started, or end if there are none yet."""
    children = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that just ended
            children += [int(child) for child in (task / "children").read_text().split()]
    if not children:
        sys.exit(128 + number)
    passed_on.add(number)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, number)


if __name__ == "__main__":
    main()
