"""The check of arguments whose templates have been rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_roe.exceptions import RoeInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_rendered(task: Any, names: Iterable[str]) -> None:
    """
    Make sure that no template has made nothing of an argument, which would pass for left out.

    :param task: The task.
    :param names: The arguments that it was given, of those that may be left out.
    """
    for name in names:
        value = getattr(task, name)
        if value is None or not str(value).strip():
            raise RoeInputError(
                f"{name} was given, but is {value!r} once its template is rendered: mend the template, or"
                " leave the argument out."
            )
