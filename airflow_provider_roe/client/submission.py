"""
How the jobs of many inputs are started: each once, in as few requests as there may be.

A request carries an ``Idempotency-Key`` that is made of what it is for. So whoever repeats a request, after
an answer that was lost or in a later process, gets the jobs that it has started before. That holds only if
the same inputs go together again: where to cut follows from all inputs, whichever of them are still wanted.
"""

from __future__ import annotations

import json
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_roe.api.agents import MOST_JOBS
from airflow_provider_roe.client.calls import Calls
from airflow_provider_roe.client.inputs import AT_ONCE
from airflow_provider_roe.client.retry import Retries
from airflow_provider_roe.client.trouble import Troubles
from airflow_provider_roe.exceptions import RoeError, RoeRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow_provider_roe.client.client import Client
    from airflow_provider_roe.client.inputs import Inputs

#: Bytes of the inputs of one request
MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Submission:
    """
    Starts an agent's jobs.

    :param client: Makes the calls.
    :param log: A logger.
    :param agent_id: The agent's UUID.
    :param inputs: All inputs.
    :param scope: What the jobs are for, as part of the keys: other work must have another.
    :param version_id: UUID of the agent's version; None for the current one.
    :param metadata: What Roe is to keep with each job.
    :param skip_cache: Whether Roe shall not answer with what the same inputs came to before.
    """

    client: Client
    log: Any
    agent_id: str
    inputs: Sequence[Inputs]
    scope: Sequence[object]
    version_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    skip_cache: bool = False

    def start(self, wanted: Mapping[int, int]) -> Iterator[dict[int, str]]:
        """
        Start jobs, and yield the ids of those that Roe has accepted, by the indexes of their inputs.

        :param wanted: The indexes of the inputs to start jobs for, each with a number that it has not had
            when another job was started for the same input.
        :raises RoeRequestError: Roe refused an input, which the error names, or could not be asked. Jobs that
            were yielded before go on.
        """
        together = len(self.inputs) > 1 and not self.version_id and not self.metadata
        start = self._start_alone
        if together and not any(inputs.files for inputs in self.inputs):
            start = self._start_together
        for number in sorted(set(wanted.values())):
            yield from start([index for index in sorted(wanted) if wanted[index] == number], number)

    def _start_together(self, wanted: Sequence[int], number: int) -> Iterator[dict[int, str]]:
        """Start many with a request; where Roe refuses one, half as many, down to the input to blame."""
        ranges = self._ranges()[::-1]
        while ranges:
            start, stop = ranges.pop()
            indexes = [index for index in wanted if start <= index < stop]
            if not indexes:
                continue
            try:
                job_ids = self._call(
                    Calls.run_agent_many, [self.inputs[i].values for i in indexes], indexes, number
                )
            except RoeError as e:
                is_about_one = isinstance(e, RoeRequestError) and e.status_code in (400, 413)
                if not is_about_one or len(indexes) == 1:
                    raise self._named(e, indexes) from None
                middle = (start + stop) // 2
                ranges += [(middle, stop), (start, middle)]
            else:
                yield dict(zip(indexes, job_ids, strict=True))

    def _ranges(self) -> list[tuple[int, int]]:
        """Return where to cut the inputs, so that a request may hold what lies between."""
        ranges = []
        start = weight = 0
        for index, inputs in enumerate(self.inputs):
            weight += inputs.weight
            if index > start and (index - start == MOST_JOBS or weight > MOST_BYTES):
                ranges.append((start, index))
                start, weight = index, inputs.weight
        return [*ranges, (start, len(self.inputs))]

    def _start_alone(self, wanted: Sequence[int], number: int) -> Iterator[dict[int, str]]:
        """Start each with a request of its own, some at once; after a refusal no further ones."""
        left = iter(wanted)
        refused: dict[int, RoeError] = {}
        under_way: dict[Future[str], int] = {}
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while True:
                for index in islice(left, 0 if refused else AT_ONCE - len(under_way)):
                    under_way[threads.submit(self._start_one, index, number)] = index
                if not under_way:
                    break
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    index = under_way.pop(done)
                    try:
                        job_id = done.result()
                    except RoeError as e:
                        refused[index] = e
                    else:
                        yield {index: job_id}
        for index in sorted(refused)[:1]:
            raise self._named(refused[index], [index])

    def _start_one(self, index: int, number: int) -> str:
        inputs = self.inputs[index]
        options = {"version_id": self.version_id, "metadata": self.metadata, "files": inputs.files}
        job_id: str = self._call(Calls.run_agent, inputs.values, [index], number, **options)
        return job_id

    def _call(self, call: Any, inputs: Any, indexes: Sequence[int], number: int, **options: Any) -> Any:
        work = [*self.scope, number, [(index, self.inputs[index].digest) for index in indexes]]
        key = sha256(json.dumps(work).encode()).hexdigest()
        retries = Retries(Troubles(self.log))
        options |= {"skip_cache": self.skip_cache, "idempotency_key": key}
        return self.client.call(retries, call, self.agent_id, inputs, **options)

    def _named(self, error: RoeError, indexes: Sequence[int]) -> RoeError:
        """Return an error that begins with the inputs that it is about."""
        if len(self.inputs) > 1:
            first, last = indexes[0], indexes[-1]
            name = f"inputs[{first}]" if first == last else f"inputs[{first}] to inputs[{last}]"
            error.begin_with(f"{name}:")
        return error


def accepted(count: int, of: int) -> str:
    """Return a sentence on how many of the inputs Roe has accepted, for an error that ends the rest."""
    return f"{count:,} of {of:,} inputs were accepted, and their jobs go on."
