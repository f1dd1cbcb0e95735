"""Airflow's four components as children of one process, which leads their session.

The same as `airflow standalone`, but for the two log servers, which that opens on every network interface: on one
machine the API server reads the log files themselves.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

COMPONENTS = (
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
    ("api-server",),
)


def main() -> int:
    """Run until one of the components ends; then all end."""
    airflow = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([airflow, "db", "migrate"], check=True)
    children = {component[0]: subprocess.Popen([airflow, *component]) for component in COMPONENTS}
    try:
        while all(child.poll() is None for child in children.values()):
            time.sleep(1)
    finally:
        for child in children.values():
            child.terminate()
    ended = ", ".join(f"{name} ({child.returncode})" for name, child in children.items() if child.poll() is not None)
    print(f"stopping everything, because a component ended: {ended}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
