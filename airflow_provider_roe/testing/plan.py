import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeGuard

from airflow_provider_roe.testing.faults import Fault

_COMMENT = re.compile(r"/\*\s*simulate\b(.*?)\*/", re.DOTALL)
_THIRTY_YEARS = 1e9


class Step(NamedTuple):
    """A status on the way, its error text, and after how many seconds it began."""

    status: Any
    error: str | None
    since: float


@dataclass(frozen=True)
class Plan:
    """What the plans of queries and jobs have in common; see :class:`QueryPlan` for the parameters."""

    MISSING: ClassVar[str] = "<missing>"
    #: What has such a plan, what its statuses are, and which calls the faults can meet that it brings along
    _whose: ClassVar[str]
    _status: ClassVar[tuple[type, str]]
    _calls: ClassVar[Sequence[str]]

    statuses: Sequence[tuple[Any, float] | tuple[Any, float, str | None]]
    ends_as: Any = None
    error: str | None = None
    clock_skew: float = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.statuses, list | tuple) or not all(map(self._is_step, self.statuses)):
            expected = "[status, seconds] or [status, seconds, error]"
            raise ValueError(f"statuses must be a list of {expected}, not {self.statuses!r}")
        if self.ends_as is not None and not self._is_status(self.ends_as):
            raise ValueError(f"ends_as must be {self._status[1]}, not {self.ends_as!r}")
        if not isinstance(self.error, str | None):
            raise ValueError(f"error must be a string, not {self.error!r}")
        if not is_number(self.clock_skew) or not abs(self.clock_skew) <= _THIRTY_YEARS:
            raise ValueError(f"clock_skew must be a number of seconds, at most {_THIRTY_YEARS:g}")
        if not isinstance(self.fields, Mapping):
            raise ValueError(f"fields must be a mapping, not {self.fields!r}")
        check_json("fields", dict(self.fields))
        object.__setattr__(self, "statuses", tuple(map(tuple, self.statuses)))

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(step[1] for step in self.statuses)

    def at(self, elapsed: float) -> Step | None:
        """
        Return the step that is being shown, None after the last one.

        :param elapsed: seconds since the beginning.
        """
        since = 0.0
        for status, seconds, *errors in self.statuses:
            if elapsed < since + seconds:
                return Step(status, errors[0] if errors else None, since)
            since += seconds
        return None

    def shape(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer to a status call with the plan's own fields in it."""
        if not self.fields:
            return answer
        return {k: v for k, v in (answer | {**self.fields}).items() if v != self.MISSING}

    def _with_settings(self, text: str) -> tuple[Self, list[Fault]]:
        """Read settings in JSON, which replace those of this plan, and the faults that they ask for."""
        try:
            settings = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ValueError(f"not JSON: {e}") from e
        settings = _only_keys(settings, {f.name for f in fields(self)} | {"faults"})
        faults = settings.pop("faults", [])
        if not isinstance(faults, list):
            raise ValueError(f"faults must be a list, not {faults!r}")
        return replace(self, **settings), [self._own_fault(fault) for fault in faults]

    def _own_fault(self, settings: object) -> Fault:
        # The ids are those of what brings the fault along.
        fault = Fault(**_only_keys(settings, {f.name for f in fields(Fault)} - {"query_id", "job_id"}))
        if fault.call not in (None, *self._calls):
            expected = " and ".join(self._calls)
            raise ValueError(
                f"a {self._whose}'s own fault can meet its {expected} calls only, not {fault.call!r}"
            )
        return fault

    def _is_status(self, status: object) -> bool:
        return isinstance(status, self._status[0]) and not isinstance(status, bool)

    def _is_step(self, step: object) -> bool:
        match step:
            case [status, seconds] | [status, seconds, str() | None]:
                return self._is_status(status) and is_number(seconds) and seconds >= 0
            case _:
                return False


@dataclass(frozen=True)
class QueryPlan(Plan):
    """
    How a simulated query goes: which statuses it shows, for how long, and how it ends.

    :param statuses: ``(status, seconds)`` or ``(status, seconds, error)`` in their order. The seconds may be
        ``float("inf")``: the query then stays there until :meth:`RoeSimulator.finish` ends it.
        Default: PENDING for 0.2 s, STARTED for 0.8 s.
    :param ends_as: status at the end. Default: what the SQL really comes to, SUCCESS or FAILURE.
    :param error: error text at the end. Default: the database's message if the SQL decides the end and fails.
    :param clock_skew: seconds by which ``created_at`` and ``finished_at`` are ahead. Default: 0.
    :param fields: merged over every answer to a status call, to make it malformed, or have it say something
        else than the result; the value ``QueryPlan.MISSING`` leaves the field out. Default: nothing.
    """

    _whose = "query"
    _status = (str, "a string")
    _calls = ("status", "result")

    statuses: Sequence[tuple[str, float] | tuple[str, float, str | None]] = (
        ("PENDING", 0.2),
        ("STARTED", 0.8),
    )
    ends_as: str | None = None

    def with_comment(self, sql: str) -> tuple[Self, list[Fault]]:
        """
        Read the ``/* simulate {...} */`` comment of a query; its keys replace those of this plan.

        :param sql: the query.
        :return: the plan, and the faults that the comment asks for (not yet bound to a query).
        :raises ValueError: the comment is malformed; the message says how.
        """
        if not (comment := _COMMENT.search(sql)):
            return self, []
        try:
            return self._with_settings(comment[1])
        except ValueError as e:
            raise ValueError(f"simulate comment: {e}") from e


def is_number(value: object) -> TypeGuard[float]:
    """Return whether it is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def check_json(name: str, value: object) -> None:
    """
    Check that a value can be written as JSON.

    :param name: its name, for the message.
    :raises ValueError: it cannot.
    """
    try:
        json.dumps(value)
    except (TypeError, ValueError) as e:
        raise ValueError(f"{name} must be JSON: {e}") from e


def _only_keys(settings: object, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise ValueError(f"expected an object, not {settings!r}")
    if unknown := settings.keys() - set(known):
        raise ValueError(f"unknown key {min(unknown)!r}, expected one of {', '.join(sorted(known))}")
    return settings
