"""A Ray cluster of this machine in a process of its own: a head and one more node, a core each.

The second node declares a GPU, which is not there. Run as a script it prints the cluster's
address, and ends when its standard input is closed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STORE = 80 * 2**20
_PATIENCE = 120.0
_ATTEMPTS = 3
_SLOW = {
    "RAY_agent_register_timeout_ms": "240000",
    "RAY_worker_register_timeout_seconds": "240",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextmanager
def cluster() -> Iterator[str]:
    """Start the cluster and give its address; it ends with the block.

    Ray allows its own helpers 15 seconds to start, which a busy machine may exceed; it is
    started again then.
    """
    for _ in range(_ATTEMPTS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.functional.ray_cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **_SLOW},
        )
        assert process.stdin and process.stdout
        address = process.stdout.readline().strip()
        if address:
            break
        _ended(process)
    else:
        raise RuntimeError(f"Ray did not start in {_ATTEMPTS} attempts")
    try:
        yield address
    finally:
        _ended(process)


def _ended(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    process.wait(120)
    process.stdout.close()


def _serve() -> None:
    from ray._private import services
    from ray.cluster_utils import Cluster

    get_node = services.get_node

    def patient(*arguments: Any, **options: Any) -> Any:
        """Ray itself waits for half a minute."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return get_node(*arguments, **options)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    services.get_node = patient
    node = {"num_cpus": 1, "object_store_memory": _STORE, "include_log_monitor": False}
    made = Cluster(
        initialize_head=True,
        head_node_args={**node, "include_dashboard": False, "no_monitor": True},
    )
    made.add_node(**node, num_gpus=1)
    sys.stdout.write(f"{made.address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    made.shutdown()


if __name__ == "__main__":
    _serve()
