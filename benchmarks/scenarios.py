"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.kinds import PEERS
from benchmarks.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Scenario:
    """
    Runs of several kinds in turn, again and again, so that what else the machine does meets all alike.

    :param kinds: Who waits.
    :param works: What is done, for the service of each kind.
    :param rounds: How often.
    :param client: The module that does a run.
    """

    kinds: Sequence[str]
    works: Sequence[Work]
    rounds: int = 1
    client: str = "benchmarks.client"


OURS = ("floor", "roe")

#: Above 1000 waits they poll 1000 times a second in total, so that what differs is their number alone.
#: Polls enough that the last has reached its interval before the first ends, even where the start overloads.
MANY = {waits: Work("roe", waits, interval=waits / 1000, polls=12) for waits in (3000, 5000, 10_000)}

SCENARIOS = {
    "1000 waits": Scenario(OURS, [Work("roe", 1000)], rounds=5),
    "5000 waits": Scenario(OURS, [MANY[5000]], rounds=5),
    "1000 agent jobs": Scenario(["floor", "roe_agent"], [Work("roe_agent", 1000, polls=20)], rounds=5),
    "10000 agent jobs": Scenario(["roe_agent"], [Work("roe_agent", 10_000, 60.0, polls=6)]),
    "whole lives": Scenario(
        OURS, [Work("roe", 1000), Work("roe", 1000, polls=40)], rounds=5, client="benchmarks.triggerer"
    ),
    "keep-alive": Scenario(["roe"], [Work("roe", 1000, 20.0, polls=8), Work("roe", 1000, 60.0, polls=9)]),
    "scale": Scenario(
        OURS, [*(Work("roe", waits) for waits in (100, 300, 1000)), MANY[3000], MANY[10_000]], rounds=2
    ),
    "soak": Scenario(["roe"], [Work("roe", 10_000, 60.0, polls=17)]),
    "peers": Scenario([*OURS, *PEERS], [Work("roe", 1000)], rounds=3),
}
