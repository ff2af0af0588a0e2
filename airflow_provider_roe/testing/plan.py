import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeGuard

from airflow_provider_roe.testing.faults import Fault

_COMMENT = re.compile(r"/\*\s*simulate\b(.*?)\*/", re.DOTALL)
_THIRTY_YEARS = 1e9


@dataclass(frozen=True)
class QueryPlan:
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

    MISSING: ClassVar[str] = "<missing>"

    statuses: Sequence[tuple[str, float] | tuple[str, float, str | None]] = (
        ("PENDING", 0.2),
        ("STARTED", 0.8),
    )
    ends_as: str | None = None
    error: str | None = None
    clock_skew: float = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.statuses, list | tuple) or not all(map(_is_step, self.statuses)):
            expected = "[status, seconds] or [status, seconds, error]"
            raise ValueError(f"statuses must be a list of {expected}, not {self.statuses!r}")
        for name in ("ends_as", "error"):
            if not isinstance(value := getattr(self, name), str | None):
                raise ValueError(f"{name} must be a string, not {value!r}")
        if not _is_number(self.clock_skew) or not abs(self.clock_skew) <= _THIRTY_YEARS:
            raise ValueError(f"clock_skew must be a number of seconds, at most {_THIRTY_YEARS:g}")
        if not isinstance(self.fields, Mapping):
            raise ValueError(f"fields must be a mapping, not {self.fields!r}")
        try:
            json.dumps(dict(self.fields))
        except (TypeError, ValueError) as e:
            raise ValueError(f"fields must be JSON: {e}") from e
        object.__setattr__(self, "statuses", tuple(map(tuple, self.statuses)))

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
            settings = json.loads(comment[1])
        except (ValueError, RecursionError) as e:
            raise ValueError(f"simulate comment: not JSON: {e}") from e
        try:
            settings = _only_keys(settings, {f.name for f in fields(self)} | {"faults"})
            faults = settings.pop("faults", [])
            if not isinstance(faults, list):
                raise ValueError(f"faults must be a list, not {faults!r}")
            return replace(self, **settings), [_fault_of_a_query(fault) for fault in faults]
        except ValueError as e:
            raise ValueError(f"simulate comment: {e}") from e


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_step(step: object) -> bool:
    match step:
        case [str(), seconds] | [str(), seconds, str() | None]:
            return _is_number(seconds) and seconds >= 0
        case _:
            return False


def _only_keys(settings: object, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(settings, dict):
        raise ValueError(f"expected an object, not {settings!r}")
    if unknown := settings.keys() - set(known):
        raise ValueError(f"unknown key {min(unknown)!r}, expected one of {', '.join(sorted(known))}")
    return settings


def _fault_of_a_query(settings: object) -> Fault:
    known = {f.name for f in fields(Fault)} - {
        "query_id"
    }  # it is bound to the query that carries the comment
    fault = Fault(**_only_keys(settings, known))
    if fault.call not in (None, "status", "result"):
        raise ValueError(f"a query's own fault can meet its status and result calls only, not {fault.call!r}")
    return fault
