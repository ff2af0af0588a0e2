"""Runs a simulator until it is interrupted: ``python -m airflow_provider_roe.testing``."""

import argparse
import signal
import sys
import threading

from airflow_provider_roe.testing.simulator import RoeSimulator


def main() -> None:
    """Run a simulator and say how to reach it."""
    parser = argparse.ArgumentParser(
        "python -m airflow_provider_roe.testing", description="A Roe API to test with"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument(
        "--engine",
        choices=["sqlite", "clickhouse"],
        default="sqlite",
        help="what runs the SQL; clickhouse has no sandbox, and needs the extra of its name"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--cells",
        choices=["client", "text"],
        default="client",
        help="cells as Python's str() of what clickhouse-connect reads, or as ClickHouse's text"
        " (default: %(default)s)",
    )
    arguments = parser.parse_args()

    interrupted = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: interrupted.set())
    try:
        with RoeSimulator(
            arguments.host, arguments.port, engine=arguments.engine, cells=arguments.cells
        ) as roe:
            print(f"Roe simulator at {roe.url}, Ctrl-C ends it. Connect Airflow to it with")
            print(f"export AIRFLOW_CONN_ROE_DEFAULT='{roe.connection_uri}'")
            print(f"The agent {roe.agent_id} takes any inputs.", flush=True)
            interrupted.wait()
    except (OSError, ValueError, ModuleNotFoundError) as e:
        sys.exit(str(e))


if __name__ == "__main__":
    main()
