"""Every fault of the service and the network, once and lasting, met by real tasks in every mode."""

from __future__ import annotations

import math
import re
import ssl
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from dev.patience import patient
from dev.processes import free_ports
from tests.e2e.leaks import places
from tests.e2e.running import MODES, Waits, until
from tests.faults import FAULTS, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dev.local_airflow import LocalAirflow
    from tests.e2e.conftest import HostNames, Outage

    Connect = Callable[..., None]

ENDED = ("success", "failed", "skipped", "upstream_failed")
#: Stands for a secret that a task does not keep
PLANTED = "planted-Xk3vR8nQ5w"
RUNS = QueryPlan(statuses=[("STARTED", math.inf)])
#: What no answer can do, and the connection that meets it
UNREACHABLE = {
    "connection refused": "roe_refused",
    "no such host": "roe_nameless",
    "untrusted certificate": "roe_untrusted",
}


@dataclass
class Cell:
    """A wait that meets a fault, once or for good, and later the task that it became."""

    row: Row
    lasting: bool
    mode: str
    query_id: str = ""
    polls_before: int | None = None
    task: dict[str, Any] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """How the query ends."""
        return "FAILURE" if self.lasting else "SUCCESS"

    @property
    def state(self) -> str:
        """How the task has to end."""
        return "success" if not self.lasting or self.row.outcome(self.end) == "success" else "failed"

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the sensor."""
        conn_id = UNREACHABLE.get(self.row.name, "roe_faulty") + ("_lasting" if self.lasting else "")
        timeout = 30 if self.lasting and self.row.permanent == "timeout" else 300
        return {"query_id": self.query_id, "roe_conn_id": conn_id, "timeout": timeout}


CELLS = [Cell(row, lasting, mode) for row in FAULTS for lasting in (False, True) for mode in MODES]
# These first: all of them have to be met before what they need is mended.
CELLS.sort(key=lambda cell: cell.row.make is not None)


class Unreachable:
    """Services that cannot be reached until they are mended."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.bundle = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.bundle))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._certify("elsewhere.test")
        self.refusing, self.untrusted = RoeSimulator(), RoeSimulator(ssl_context=self._tls)
        for service in (self.refusing, self.untrusted):
            service.start()
        self.refusing.stop()

    def _certify(self, name: str) -> None:
        self._authority.issue_cert(name).configure_cert(self._tls)

    def mend(self, names: HostNames) -> None:
        self.refusing.start()
        names.add("roe.test")
        self._certify("127.0.0.1")

    def stop(self) -> None:
        self.refusing.stop()
        self.untrusted.stop()


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unreachable]:
    unreachable = Unreachable(tmp_path_factory.mktemp("unreachable"))
    yield unreachable
    unreachable.stop()


@pytest.fixture(scope="module")
def cells(
    airflow: LocalAirflow,
    roe: RoeSimulator,
    unreachable: Unreachable,
    names: HostNames,
    connect: Connect,
    outage: Outage,  # it lasts: best it passes meanwhile
) -> list[Cell]:
    """Run all cells at once, and return them with the tasks that they became."""
    waits_long, gives_up = ({"retry_window": seconds, "request_timeout": 1} for seconds in (300, 2))
    connect("roe_faulty", roe, waits_long)
    connect("roe_faulty_lasting", roe, gives_up)
    connect("roe_refused", unreachable.refusing, waits_long)
    connect("roe_refused_lasting", roe, gives_up, port=free_ports(1)[0])
    connect("roe_nameless", roe, waits_long | {"allow_http": True}, host="http://roe.test")
    connect("roe_nameless_lasting", roe, gives_up | {"allow_http": True}, host="http://roe.invalid")
    connect("roe_untrusted", unreachable.untrusted, waits_long | {"verify": str(unreachable.bundle)})
    connect("roe_untrusted_lasting", unreachable.untrusted, gives_up)
    services = {"connection refused": unreachable.refusing, "untrusted certificate": unreachable.untrusted}
    for cell in CELLS:
        plan = RUNS if cell.row.make else QueryPlan(ends_as=cell.end)
        cell.query_id = services.get(cell.row.name, roe).submit("SELECT 1", plan)
    waits = Waits(airflow, lambda mode: [cell.arguments for cell in CELLS if cell.mode == mode])
    deadline = time.monotonic() + patient(600)
    is_mended = False
    while not all(cell.task.get("state") in ENDED for cell in CELLS):
        assert time.monotonic() < deadline, [str(cell) for cell in CELLS if cell.task["state"] not in ENDED]
        tasks = waits.tasks()
        for mode in MODES:
            for index, cell in enumerate(cell for cell in CELLS if cell.mode == mode):
                cell.task = tasks.get((mode, index), cell.task)
        drive(roe)
        if not is_mended and all(
            has_met_its_fault(airflow, cell) for cell in CELLS if not cell.row.make and not cell.lasting
        ):
            is_mended = True
            unreachable.mend(names)
        time.sleep(2)  # to list all of them keeps Airflow's API server busy
    return CELLS


def drive(roe: RoeSimulator) -> None:
    """Let faults begin, a deferred wait's in the triggerer; end queries whose wait has come through."""
    polls = Counter(request.query_id for request in roe.requests_of("status"))
    for cell in CELLS:
        if not cell.row.make:
            continue
        if cell.polls_before is None:
            if cell.mode != "deferrable" or cell.task.get("state") == "deferred":
                cell.polls_before = polls[cell.query_id]
                roe.add_fault(cell.row.fault(cell.query_id, cell.end, None if cell.lasting else 1))
        elif polls[cell.query_id] > cell.polls_before + 1 and not (cell.lasting and cell.row.permanent):
            roe.finish(cell.query_id, cell.end)


def has_met_its_fault(airflow: LocalAirflow, cell: Cell) -> bool:
    """Tell whether a task has logged its trouble: a deferred one in the triggerer."""
    index = cell.task.get("map_index")
    files = airflow.home.glob(f"logs/dag_id=waits/*/task_id={cell.mode}/map_index={index}/*.log*")
    logs = (file.read_text() for file in files if cell.mode != "deferrable" or ".trigger." in file.name)
    return any(re.search(cell.row.says, log) for log in logs)


@pytest.mark.parametrize(
    "index",
    range(len(CELLS)),
    ids=lambda i: "-".join([CELLS[i].row.name, "lasting" if CELLS[i].lasting else "once", CELLS[i].mode]),
)
def test_a_fault_that_comes_once_changes_nothing_and_a_lasting_one_is_named(
    index: int, cells: list[Cell], airflow: LocalAirflow
) -> None:
    cell = cells[index]
    where = {"dag_id": "waits", "run_id": cell.task["dag_run_id"], "task_id": cell.mode}
    where["map_index"] = cell.task["map_index"]
    assert cell.task["state"] == cell.state, airflow.log(**where)
    if cell.state == "success":
        value = airflow.xcom(**where)
        assert (value["query_id"], value["status"].strip().upper()) == (cell.query_id, "SUCCESS")
    else:
        assert re.search(cell.row.says or "ended as (?i:FAILURE)", airflow.log(**where))


def cell_named(cells: list[Cell], name: str, mode: str, *, lasting: bool) -> Cell:
    [cell] = [c for c in cells if (c.row.name, c.mode, c.lasting) == (name, mode, lasting)]
    return cell


class TestLog:
    """What a person reads who opens a task's log."""

    @pytest.mark.parametrize("mode", ["poke", "deferrable"])
    def test_it_tells_of_a_wait_through_trouble_as_a_story(
        self, cells: list[Cell], airflow: LocalAirflow, mode: str
    ) -> None:
        cell = cell_named(cells, "500", mode, lasting=False)
        trouble = [
            r"WARNING GET \S+ was answered with 500: Internal Server Error\. Connection: roe_faulty\."
            r" Request id: \S+ Retrying for up to \d+ s\.",
            r"INFO    Roe answers again, after 2 attempts in \d s\.",
        ]
        runs = rf"INFO    Query {cell.query_id} is STARTED after \d+\.\d s"
        story = {
            "poke": [*trouble, runs],
            "deferrable": [runs, r"INFO    Pausing task as DEFERRED\.", *trouble, runs],
        }[mode]
        end = {"poke": [], "deferrable": [rf"INFO    Query {cell.query_id} ended as SUCCESS"]}[mode]
        chapters = [
            rf"INFO    Waiting for query {cell.query_id} on connection roe_faulty, for at most 5 minutes",
            *story,
            rf"INFO    Query {cell.query_id}: STARTED -> SUCCESS after \d+\.\d s",
            *end,
        ]
        log = airflow.log("waits", cell.task["dag_run_id"], mode, map_index=cell.task["map_index"])
        told = [line[9:] for line in log.splitlines() if re.search(r"\bquery\b|Query|Roe|DEFERRED", line)]
        told = [line for line in told if not line.startswith("INFO    Trigger fired")]
        assert len(told) == len(chapters), log
        for line, chapter in zip(told, chapters, strict=True):
            assert re.fullmatch(chapter, line)

    @pytest.mark.parametrize("mode", MODES)
    def test_the_failure_of_a_query_ends_with_roe_s_reason_and_the_request_id(
        self, cells: list[Cell], airflow: LocalAirflow, mode: str
    ) -> None:
        cell = cell_named(cells, "hostile error text", mode, lasting=True)
        log = airflow.log("waits", cell.task["dag_run_id"], mode, map_index=cell.task["map_index"])
        last = log.splitlines()[-1]
        assert re.fullmatch(
            rf"AirflowFailException: Query {cell.query_id} ended as FAILURE after 2\.0 s:"
            r" .* Task succeeded <script>.*… Request id: \S+\.",
            last,
        ), last
        assert last.isprintable()
        assert len(last) < 2500
        frames = [
            line.strip() for line in log.splitlines() if re.search(r"airflow_provider_roe/\S+ in", line)
        ]
        # A traceback leads nobody through more of ours than the methods that Airflow calls.
        assert frames
        assert not [frame for frame in frames if frame.rpartition(" in ")[2].startswith("_")]


class TestSecrets:
    """After all of that the API key is nowhere but in the table of connections, where it is encrypted."""

    def test_a_text_that_a_task_leaks_is_found_wherever_it_is(
        self, airflow: LocalAirflow, fernet_key: str
    ) -> None:
        airflow.wait_for_dag("leaky")
        run_id = airflow.trigger("leaky", {"text": PLANTED})
        until(lambda: "deferred" in [task["state"] for task in airflow.task_instances("leaky", run_id)])
        found = places(airflow, fernet_key, "leaky", PLANTED)
        airflow.api("PATCH", f"dags/leaky/dagRuns/{run_id}", json={"state": "failed"})
        assert found >= {
            "table dag_run",
            "table rendered_task_instance_fields",
            "table trigger",
            "table xcom",
            "file logs",
            "API dagRuns",
            "API logs",
            "API taskInstances",
            "API xcomEntries",
        }

    def test_the_api_key_is_not(
        self, cells: list[Cell], airflow: LocalAirflow, roe: RoeSimulator, fernet_key: str
    ) -> None:
        query_id = roe.submit("SELECT 1", RUNS)
        wait = {"query_id": query_id, "roe_conn_id": "roe_faulty"}
        waits = Waits(airflow, lambda mode: [wait] if mode == "deferrable" else [])
        until(lambda: len(roe.requests_of("status", query_id)) > 1)  # so the trigger is in its table
        found = places(airflow, fernet_key, "waits", roe.api_key)
        roe.finish(query_id, "SUCCESS")
        waits.ended()
        assert found == set()
