"""The operator that runs an agent, once or for many inputs, and uses the outputs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import conf

from airflow_provider_roe.api.agents import MOST_RESULTS, AgentJobResult
from airflow_provider_roe.api.base import State, uuid
from airflow_provider_roe.api.queries import classify
from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.client.connection import WEEK
from airflow_provider_roe.client.inputs import file_urls, read_all_inputs, read_inputs
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.submission import Submission, accepted
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import (
    RoeAgentJobFailedError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeOutputError,
    RoeTimeoutError,
)
from airflow_provider_roe.hooks.roe import RoeHook
from airflow_provider_roe.operators._agent_task import AgentJobTask
from airflow_provider_roe.operators._durable import DurableTask
from airflow_provider_roe.operators._rendered import check_rendered
from airflow_provider_roe.waiting.wait import seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_roe.client.inputs import Inputs
    from airflow_provider_roe.results.outputs import Ended
    from airflow_provider_roe.waiting.wait import Wait

#: Jobs that were started one by one after which they are kept for a later try
KEEP_AFTER = 50


class RoeAgentOperator(AgentJobTask, DurableTask):
    """
    Runs an agent on Roe, for one set of inputs or for many, waits until all jobs have ended, and returns it.

    The jobs' ids are pushed as XCom ``job_ids``, a list, before the wait begins. What the task returns, for a
    dict of ``inputs``; for a list of them, a list of such, in the inputs' order:

    - by default the job's end: a dict of ``job_id, status, error, created_at, finished_at, duration``, as
      :class:`~airflow_provider_roe.sensors.roe_agent.RoeAgentJobSensor` returns it;
    - with ``result="outputs"`` its outputs: a dict from key to value, what JSON says where that is an
      output's type, else text; None for one of many that failed;
    - with ``output_path``, for all jobs together, a dict of the file's ``path`` and ``row_count``: JSON
      Lines, a line a job, or Parquet;
    - with ``wait_for_completion=False`` the job's id, for a sensor to wait for.

    The task fails, once all jobs have ended, if more than ``max_failed`` have failed. A retry then runs the
    inputs of those again, and no others (on Airflow 3.3 or newer). Whatever else fails the task or kills its
    worker, a retry attaches to the jobs that run or have succeeded; but never to those of another agent,
    organization or Roe, or of other inputs. A file is another input once its content is. When the task has
    succeeded and is cleared, all are run anew.

    Each run carries an ``Idempotency-Key`` made of the task instance, the input and its index, so that no
    request that is repeated starts a second job, as far as Roe heeds the key.

    :param agent_id: The agent's UUID. (templated)
    :param inputs: The agent's inputs by their keys, or a list of such dicts: a job for each. What is no text
        is sent as JSON. (templated)
    :param version_id: UUID of the agent's version. Default: the current one. (templated)
    :param metadata: A dict that Roe keeps with each job. (templated)
    :param files: Keys of those inputs that are URLs of files, as ``ObjectStoragePath`` takes them:
        ``s3://aws_default@bucket/scan.pdf``, ``gs://…``, or an absolute local path. They are streamed, never
        held in memory. An ``ObjectStoragePath`` is a file in any case. (templated)
    :param skip_cache: Whether Roe shall not answer with what the same inputs came to before.
    :param roe_conn_id: The Airflow connection of type ``roe``. (templated)
    :param organization_id: UUID of the organization to run it for; by default the connection's. (templated)
    :param wait_for_completion: Whether to wait for the end.
    :param deferrable: Whether to wait in the triggerer, where a wait occupies no worker slot, and where all
        waits of a connection ask for their jobs together. By default as ``[operators] default_deferrable``
        says.
    :param defer_after: Seconds, or a timedelta, to poll on the worker before deferring. By default 10, or 0
        (one poll) for a mapped task.
    :param poll_interval: Seconds, or a timedelta, between two polls; sooner at first: every second, and then
        a tenth of what the wait has lasted.
    :param timeout: Seconds, or a timedelta, after which the task fails, if not all jobs have ended. Default:
        7 days.
    :param result: ``status`` or ``outputs``: what the task returns.
    :param max_outputs: How many outputs, or statuses, it may return; more are an error, never cut off.
    :param output_path: URL of a file for the outputs, as ``ObjectStoragePath`` takes it. The extension says
        the format: ``.jsonl`` or ``.parquet``. A mapped task needs one of its own. (templated)
    :param max_failed: How many of the jobs may fail before the task does. Default: none.
    :param cancel_on_kill: Whether to cancel the jobs that still run when the task is killed or out
        of time.
    :param durable: Whether a retry attaches to the jobs of the try before. Airflow before 3.3 cannot.
    """

    template_fields: Sequence[str] = (
        *("agent_id", "inputs", "version_id", "metadata", "files"),
        *("roe_conn_id", "organization_id", "output_path"),
    )
    template_fields_renderers = {"inputs": "json", "metadata": "json"}  # noqa: RUF012 - as Airflow declares it
    ui_color = "#d7e8f7"
    external_id_key = "agent_jobs"

    has_failed = RoeAgentJobFailedError
    timed_out = RoeTimeoutError

    def __init__(
        self,
        *,
        agent_id: str,
        inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        files: Sequence[str] = (),
        skip_cache: bool = False,
        roe_conn_id: str = RoeHook.default_conn_name,
        organization_id: str | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        defer_after: float | timedelta | None = None,
        poll_interval: float | timedelta = 60.0,
        timeout: float | timedelta = WEEK,
        result: Literal["status", "outputs"] = "status",
        max_outputs: int = 1000,
        output_path: str | None = None,
        max_failed: int = 0,
        cancel_on_kill: bool = True,
        durable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.inputs = inputs
        self.version_id = version_id
        self.metadata = metadata
        self.files = files
        self.skip_cache = skip_cache
        self.roe_conn_id = roe_conn_id
        self.organization_id = organization_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.defer_after = None if defer_after is None else seconds(defer_after, "defer_after")
        self.poll_interval = seconds(poll_interval, "poll_interval")
        self.timeout = seconds(timeout, "timeout")
        self.result = result
        self.max_outputs = max_outputs
        self.output_path = output_path
        self.max_failed = max_failed
        self.cancel_on_kill = cancel_on_kill
        self.durable = durable
        self._started: list[str] = []
        self._is_killed = False
        optional = ("version_id", "organization_id", "output_path")
        self._given = [name for name in optional if getattr(self, name) is not None]
        self._check_arguments()

    def _check_arguments(self) -> None:
        if self.result not in ("status", "outputs"):
            raise RoeInputError(f"result must be 'status' or 'outputs', not {self.result!r}.")
        for name in ("max_outputs", "max_failed"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise RoeInputError(f"{name} must be a whole number, 0 or more, not {value!r}.")
        if self.output_path is not None and self.result == "outputs":
            raise RoeInputError("output_path and result='outputs' exclude each other: they go to one place.")
        if not self.wait_for_completion and (self.output_path is not None or self.result == "outputs"):
            raise RoeInputError("wait_for_completion=False leaves no outputs to return or to write.")

    @property
    def _job_ids(self) -> Sequence[str]:
        return self._started

    @property
    def _is_one(self) -> bool:
        return isinstance(self.inputs, Mapping)

    def execute(self, context: Context) -> Any:
        """Start the jobs, or attach to those that an earlier try has started, and wait for their end."""
        check_rendered(self, self._given)
        if self.output_path is not None:
            self._output()
        inputs = self._read_inputs()
        jobs = self._start(inputs, context)
        if not self.wait_for_completion:
            self._forget_after_success(context)
            return jobs[0] if self._is_one else jobs
        wait = self._new_wait(time.time())
        wait.tell_start(self.roe_conn_id)
        outcome = self._wait_for(wait, context)
        if isinstance(outcome, BaseException):
            raise outcome
        return self._finish(outcome, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, in a process that does not know the jobs yet."""
        ti: Any = context["ti"]
        started = ti.xcom_pull(task_ids=self.task_id, key="job_ids", map_indexes=ti.map_index)
        self._started = list(started or ())
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """Cancel the jobs that still run, unless they are to go on, and start no others."""
        self._is_killed = True
        super().on_kill()

    def _read_inputs(self) -> list[Inputs]:
        given: Any = self.inputs
        if self._is_one:
            return [read_inputs(given, self.files)]
        inputs = read_all_inputs(given, self.files)
        if self.output_path is None and self.wait_for_completion and len(inputs) > self.max_outputs:
            raise _too_many(len(inputs), self.max_outputs)
        return inputs

    def _output(self) -> Any:
        from airflow_provider_roe.results import files, outputs

        return files.check_output(self.output_path, outputs.FORMATS)

    # Each input's job, over tries

    def _start(self, inputs: Sequence[Inputs], context: Context) -> list[str]:
        """Start the jobs that there are not yet, and return the ids of all; the context's store has them."""
        ti: Any = context["ti"]
        kept = self._kept(inputs, context)
        wanted = {index: kept.numbers[index] for index, job_id in enumerate(kept.job_ids) if job_id is None}
        submission = Submission(
            client=self.hook.client,
            log=self.log,
            agent_id=self.agent_id,
            inputs=inputs,
            scope=[ti.dag_id, ti.run_id, ti.task_id, ti.map_index, kept.asked],
            version_id=self.version_id,
            metadata=self.metadata,
            skip_cache=self.skip_cache,
        )
        self._keep(kept, context)
        self._started = [job_id for job_id in kept.job_ids if job_id]
        unkept = 0
        try:
            for started in submission.start(wanted):
                for index, job_id in started.items():
                    kept.job_ids[index] = job_id
                self._started = [job_id for job_id in kept.job_ids if job_id]
                if self._is_killed:  # while these were on their way
                    super().on_kill()
                    raise RoeError("The task was killed while it started its jobs.")
                unkept += len(started)
                if unkept >= KEEP_AFTER:
                    self._keep(kept, context)
                    unkept = 0
        except RoeError as e:
            if len(inputs) > 1:
                e.begin_with(accepted(len(self._started), len(inputs)))
            raise
        finally:
            if unkept:
                self._keep(kept, context)
        self._started = [job_id for job_id in kept.job_ids if job_id]
        if wanted:
            self.log.info("Started %d agent jobs", len(wanted))
        # Whatever do_xcom_push says: the way back from a deferral needs them.
        ti.xcom_push(key="job_ids", value=self._started)
        ids = {"job_id": self._started[0]} if len(self._started) == 1 else {}
        self._push_link(context, agent_id=self.agent_id, **ids)
        return self._started

    def _kept(self, inputs: Sequence[Inputs], context: Context) -> _Kept:
        """Return what is kept of an earlier try, without the jobs that failed; else what a first try has."""
        ti: Any = context["ti"]
        asked = self._asked(inputs)
        store = self._store(context)
        kept = _Kept.read(store.get(self.external_id_key) if store is not None else None)
        if kept is None or kept.asked != asked:
            if kept is not None:
                self.log.warning(
                    "The agent jobs that an earlier try has started were of another agent, organization or"
                    " Roe, or of other inputs: they are left alone, and all are run anew."
                )
            return _Kept(asked, [None] * len(inputs), [ti.try_number] * len(inputs))
        kept.drop_lost(self._states(kept.job_ids), ti.try_number)
        attached = sum(job_id is not None for job_id in kept.job_ids)
        self.log.info("Attaching to %d of %d agent jobs of an earlier try", attached, len(inputs))
        return kept

    def _states(self, job_ids: Sequence[str | None]) -> dict[str, State | None]:
        """Return the states of jobs by their ids; None for what Roe does not know."""
        known = [job_id for job_id in job_ids if job_id]
        if not known:
            return {}
        found = self.hook.client.call(Retries(Troubles(self.log)), Calls.find_jobs, known)
        states: dict[str, State | None] = {}
        for job_id, job in found.items():
            if isinstance(job, RoeError) and not isinstance(job, RoeNotFoundError):
                raise job
            states[job_id] = None if isinstance(job, RoeError) else job.state
        return states

    def _asked(self, inputs: Sequence[Inputs]) -> str:
        """Return a digest of all that makes these jobs other ones than the next."""
        connection = self.hook.connection
        own = self.organization_id
        asked = {
            "agent_id": uuid(self.agent_id, "agent_id"),
            "version_id": self.version_id and uuid(self.version_id, "version_id"),
            "organization_id": connection.organization_id if own is None else uuid(own, "organization_id"),
            "base_url": connection.base_url,
            "metadata": self.metadata,
            "skip_cache": self.skip_cache,
            "inputs": [each.digest for each in inputs],
        }
        return sha256(json.dumps(asked, default=str).encode()).hexdigest()

    def _keep(self, kept: _Kept, context: Context) -> None:
        store = self._store(context)
        if store is not None:
            store.set(self.external_id_key, kept.as_dict())

    def _run_again(self, job_id: str, context: Context) -> None:
        """Let a retry run the input of a job again whose outputs cannot be used, and no other."""
        ti: Any = context["ti"]
        store = self._store(context)
        kept = _Kept.read(store.get(self.external_id_key) if store is not None else None)
        if kept:
            kept.drop_lost({job_id: None}, ti.try_number + 1)
            self._keep(kept, context)

    # What AgentJobTask asks for

    def _new_wait(self, started_at: float) -> Wait:
        return self._wait_for_jobs(
            started_at=started_at, timeout=self.timeout, poke_interval=self.poll_interval
        )

    def _finish(self, ended: dict[str, Any], context: Context) -> Any:
        check_rendered(self, self._given)
        try:
            value = self._value_of(ended["jobs"])
        except RoeOutputError as e:
            # A try that attached to this job would end the same way, for ever.
            self._run_again(e.job_id, context)
            raise
        self._forget_after_success(context)
        return value

    def _value_of(self, jobs: list[dict[str, Any]]) -> Any:
        if self.output_path is None and self.result == "status":
            return jobs[0] if self._is_one else jobs
        from airflow_provider_roe.results import outputs

        if self.output_path is not None:
            return outputs.write(self._results(jobs), self._output())
        found: list[dict[str, Any] | None] = []
        count = 0
        for index, (_, result) in enumerate(self._results(jobs)):
            found.append(outputs.values(index, result) if result else None)
            count += len(found[-1] or ())
            if count > self.max_outputs:
                raise _too_many(count, self.max_outputs)
        return found[0] if self._is_one else found

    def _results(self, jobs: Sequence[dict[str, Any]]) -> Iterator[Ended]:
        """Yield each job with its result, if it has succeeded."""
        words = self.hook.connection.statuses
        for start in range(0, len(jobs), MOST_RESULTS):
            some = jobs[start : start + MOST_RESULTS]
            succeeded = [
                job["job_id"]
                for job in some
                if classify(job["status"], finished=True, **words)[0] is State.SUCCEEDED
            ]
            found = self.hook.client.call(Retries(Troubles(self.log)), Calls.find_results, succeeded)
            for index, job in enumerate(some, start):
                yield job, _usable(index, job["job_id"], found)

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage of the jobs and the files. Its provider asks so after a failure, too."""
        from airflow_provider_roe.openlineage import lineage_of_jobs

        given: Any = [self.inputs] if self._is_one else self.inputs
        read = [url for each in given for url in file_urls(each, self.files)]
        return lineage_of_jobs(self.hook, self._started, read, self.output_path)


@dataclass
class _Kept:
    """
    What Airflow keeps of a task's jobs over its tries.

    :param asked: A digest of all that they are for.
    :param job_ids: The job of each input; None while Roe is not known to have accepted it.
    :param numbers: The try in which each of them was first wanted, which is part of the key of its start.
    """

    asked: str
    job_ids: list[str | None]
    numbers: list[int]

    @classmethod
    def read(cls, kept: Any) -> _Kept | None:
        """Read the plain value that Airflow has kept; None if it cannot be understood."""
        match kept:
            case {"asked": str(asked), "job_ids": list(job_ids), "numbers": list(numbers)}:
                return cls(asked, job_ids, numbers)
        return None

    def as_dict(self) -> dict[str, Any]:
        """Return the plain value that Airflow keeps."""
        return {"asked": self.asked, "job_ids": self.job_ids, "numbers": self.numbers}

    def drop_lost(self, states: Mapping[str, State | None], number: int) -> None:
        """
        Let the inputs of jobs that have failed, or are gone, have others.

        :param states: States of jobs by their ids; None of one that is gone.
        :param number: The try that wants the others.
        """
        for index, job_id in enumerate(self.job_ids):
            if job_id and states.get(job_id, State.RUNNING) in (State.FAILED, None):
                self.job_ids[index], self.numbers[index] = None, number


def _usable(index: int, job_id: str, found: Mapping[str, AgentJobResult | RoeError]) -> AgentJobResult | None:
    """Return the result of a job that has succeeded; None for another one."""
    match found.get(job_id):
        case RoeNotFoundError() as e:
            raise RoeOutputError(f"Index {index}, agent job {job_id}: {e}", job_id=job_id)
        case RoeError() as e:
            raise e
        case AgentJobResult(state=State.SUCCEEDED) as result:
            return result
        case AgentJobResult() as result:
            raise RoeOutputError(
                f"Index {index}, agent job {job_id} has succeeded, but its result says {result.status}.",
                job_id=job_id,
            )
    return None


def _too_many(count: int, most: int) -> RoeInputError:
    return RoeInputError(
        f"{count:,} are more than the max_outputs={most:,} that a task may return: write them to a file with"
        " output_path, map the task over the inputs, or raise max_outputs."
    )
