"""What every call of Roe's API has in common, as Django REST Framework does it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_roe.testing.recording import RecordedRequest
    from airflow_provider_roe.testing.simulator import RoeSimulator

REQUIRED = "This field is required."
NOT_A_UUID = "Must be a valid UUID."
FORBIDDEN = "You do not have permission to perform this action."


class Refusal(Exception):
    """
    An answer that is no success. What its body looks like depends on the family of calls.

    :param status: HTTP status.
    :param message: what is wrong, or a list of that where the body is to have one.
    :param field: the field or parameter that it is about. Default: none.
    :param headers: headers of the answer.
    """

    def __init__(self, status: int, message: str | list[str], field: str = "", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field
        self.headers = headers


def authorize(roe: RoeSimulator, record: RecordedRequest) -> None:
    """Check the API key of a request."""
    scheme, _, key = record.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        message = "Authentication credentials were not provided."
    elif key.strip() not in roe.api_keys:
        message = "Invalid API key."
    else:
        return
    raise Refusal(401, message, **{"WWW-Authenticate": 'Bearer realm="api"'})


def check_organization(roe: RoeSimulator, organization_id: object, required: bool = False) -> None:
    """
    Check the organization that a request names.

    :param roe: the simulator, which has one organization.
    :param organization_id: what the request says; None or an empty string if it says nothing.
    :param required: whether it has to name one. Default: False.
    """
    if organization_id in (None, ""):
        if required:
            raise Refusal(400, REQUIRED, "organization_id")
    elif not (organization := as_uuid(organization_id)):
        raise Refusal(400, NOT_A_UUID, "organization_id")
    elif organization != UUID(roe.organization_id):
        raise Refusal(403, FORBIDDEN)


def media_type(record: RecordedRequest) -> str:
    """Return the media type of a request's body, without its parameters."""
    return record.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def unsupported(record: RecordedRequest) -> Refusal:
    """Return the refusal of a body whose media type is not taken."""
    content_type = record.headers.get("Content-Type", "")
    return Refusal(415, f'Unsupported media type "{content_type}" in request.')


def json_object(record: RecordedRequest) -> dict[str, Any]:
    """Return the object in a body that has to be JSON."""
    if media_type(record) != "application/json":
        raise unsupported(record)
    try:
        body = json.loads(record.body)
    except (ValueError, RecursionError) as e:
        raise Refusal(400, f"JSON parse error - {e}") from e
    if not isinstance(body, dict):
        raise Refusal(400, f"Invalid data. Expected a dictionary, but got {type(body).__name__}.")
    return body


def json_answer(body: object, status: int = 200, **headers: str) -> web.Response:
    """Return an answer in JSON."""
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json"
    )


def as_uuid(value: object) -> UUID | None:
    """Return the UUID that a value writes, None if it is none."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def rfc3339(moment: datetime | None) -> str | None:
    """Write a moment in UTC."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
