import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from airflow_provider_roe.testing.faults import Fault
from airflow_provider_roe.testing.forms import InputFile
from airflow_provider_roe.testing.plan import Plan, check_json, is_number

#: The input whose text shapes the job that it is given to
SIMULATE = "simulate"


@dataclass(frozen=True)
class JobPlan(Plan):
    """
    How a simulated job of an agent goes: which statuses it shows, for how long, how it ends, its outputs.

    The codes are Roe's: 0 PENDING, 1 STARTED, 2 RETRY, 3 SUCCESS, 4 FAILURE, 5 CANCELLED, 6 CACHED.

    :param statuses: ``(code, seconds)`` or ``(code, seconds, error)`` in their order. The seconds may be
        ``float("inf")``: the job then stays there until it is cancelled, or :meth:`RoeSimulator.finish_job`
        ends it. Default: PENDING for 0.2 s, STARTED for 0.8 s.
    :param ends_as: code at the end; only 3 and 6 leave outputs. Default: 3.
    :param error: error text at the end. Default: none.
    :param clock_skew: seconds by which the server's times are ahead. Default: 0.
    :param fields: merged over what is told about the job by every call for statuses, to make it malformed;
        the value ``JobPlan.MISSING`` leaves the field out. Default: nothing.
    :param outputs: mappings with ``key`` and ``value``, and ``description``, ``data_type`` and ``cost`` if
        they matter. A value that is a string is sent as it is, by default as ``text/plain``; any other as
        JSON, by default as ``application/json``. Default: one output ``inputs``, JSON with the job's inputs:
        texts, and of files the name, type, size and SHA-256.
    :param cost: cost of the job, which each of its outputs tells. Default: 0.01.
    :param input_tokens: tokens that the job has read. Default: 100.
    :param output_tokens: tokens that the job has written. Default: 50.
    """

    _whose = "job"
    _status = (int, "a whole number")
    _calls = ("job_status", "job_result", "cancel_job")

    statuses: Sequence[tuple[int, float] | tuple[int, float, str | None]] = ((0, 0.2), (1, 0.8))
    ends_as: int = 3
    outputs: Sequence[Mapping[str, Any]] | None = None
    cost: float = 0.01
    input_tokens: int | None = 100
    output_tokens: int | None = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ends_as is None:
            raise ValueError("ends_as must be a whole number, not None")
        if self.outputs is not None and not (
            isinstance(self.outputs, list | tuple) and all(map(_is_output, self.outputs))
        ):
            raise ValueError(f"outputs must be a list of mappings with key and value, not {self.outputs!r}")
        check_json("outputs", self.outputs)
        if not is_number(self.cost):
            raise ValueError(f"cost must be a number, not {self.cost!r}")
        for name in ("input_tokens", "output_tokens"):
            tokens = getattr(self, name)
            if tokens is not None and not isinstance(tokens, int):
                raise ValueError(f"{name} must be a whole number, not {tokens!r}")

    def with_input(self, inputs: Mapping[str, str | InputFile]) -> tuple[Self, list[Fault]]:
        """
        Read the input ``simulate`` of a job, JSON whose keys replace those of this plan.

        :param inputs: inputs of the job.
        :return: the plan, and the faults that the input asks for (not yet bound to a job).
        :raises ValueError: the input is malformed; the message says how.
        """
        text = inputs.get(SIMULATE)
        if not isinstance(text, str):
            return self, []
        try:
            return self._with_settings(text)
        except ValueError as e:
            raise ValueError(f"input {SIMULATE}: {e}") from e

    def written_outputs(self, inputs: object) -> list[dict[str, Any]]:
        """
        Return the outputs as Roe's API writes them.

        :param inputs: the job's inputs as JSON, which it puts out by default.
        """
        outputs = [{"key": "inputs", "value": inputs}] if self.outputs is None else self.outputs
        return [self._written(output) for output in outputs]

    def _written(self, output: Mapping[str, Any]) -> dict[str, Any]:
        value = output["value"]
        is_text = isinstance(value, str)
        return {
            "description": "",
            "data_type": "text/plain" if is_text else "application/json",
            "cost": self.cost,
            **output,
            "value": value if is_text else json.dumps(value),
        }


def _is_output(output: object) -> bool:
    return isinstance(output, Mapping) and isinstance(output.get("key"), str) and "value" in output
