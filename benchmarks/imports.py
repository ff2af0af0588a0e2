"""What a DAG file pays for importing a sensor, on top of Airflow itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.kinds import KINDS
from benchmarks.machine import python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROUNDS = 20

CODE = """
import importlib, json, sys, time
from airflow.sdk import DAG, BaseSensorOperator
loaded, began = set(sys.modules), time.process_time()
importlib.import_module(sys.argv[1])
cpu = time.process_time() - began
print(json.dumps({"cpu_ms": 1000 * cpu, "modules": len(set(sys.modules) - loaded)}))
"""


def runs(kinds: Sequence[str], rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Import each kind's sensor in a fresh process, by turns."""
    for number in range(-1, rounds):
        for name in kinds:
            module = KINDS[name].sensor
            assert module is not None
            cost = python("-c", CODE, module, env={})
            if number >= 0:  # the first compiles what has never been imported
                yield {"kind": name, "round": number, "cost": cost}
