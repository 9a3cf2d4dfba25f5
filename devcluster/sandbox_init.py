"""Process 1 of a sandbox: started by sandbox.py in new mount, network and process namespaces.

It keeps the namespaces alive and buries orphans. When it ends, the kernel ends every process of the sandbox,
and with the last of them every mount and interface. It ends when its standard input closes before the word
"keep" came, so a crash of whoever was building something in here, kill -9 included, leaves nothing behind.
"""

import contextlib
import os
import signal
import subprocess
import sys

_NODE_ADDRESS = "10.200.0.1/32"


def bury(_signal: int, _frame: object) -> None:
    """Reap every child that has ended: conmon and others are handed to process 1 when their parents end."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def prepare() -> None:
    """Give the sandbox a /run of its own and a loopback interface that is up."""
    for command in (
        # podman keeps addresses, its DNS server's pid and its boot mark below /run, one set for a machine
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "ip link set lo up",
        # an address that is not a loopback one: what kube-apiserver advertises
        f"ip address add {_NODE_ADDRESS} dev lo",
    ):
        subprocess.run(command.split(), check=True)


def main() -> None:
    """Prepare, say so, and stay until told otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()
    signal.signal(signal.SIGCHLD, bury)
    os.write(1, b"ready\n")
    if os.read(0, 4) != b"keep":
        return
    sys.stdin.close()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
