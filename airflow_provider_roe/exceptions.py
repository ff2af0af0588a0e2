"""
What can go wrong.

All of it derives from RoeError, which is no AirflowException: what skips a task is for the sensor to decide,
and Airflow would skip a deferred one on any AirflowException.
"""

from __future__ import annotations


class RoeError(Exception):
    """Base class of this provider's errors."""

    @property
    def cause(self) -> str:
        """What errors that are alike have in common, in a few words."""
        return str(self.args[0])[:200] if self.args else type(self).__name__

    def begin_with(self, words: str) -> None:
        """Put words before the message: what the error is about, or what has become of the rest."""
        message, *others = self.args
        self.args = (f"{words} {message}", *others)


class RoeInputError(RoeError, ValueError):
    """A value that the user gave cannot be used: a query id, an argument, a field of the connection."""


class RoeNoConnectionError(RoeInputError):
    """Airflow does not find the connection: there is none, or a secrets backend is out, and none can tell."""


class RoeResultError(RoeInputError):
    """What SQL or an agent returns cannot be handed on: the number of rows, a column's name, a value."""


class RoeOutputError(RoeResultError):
    """
    The outputs of an agent's job cannot be handed on; another run of the same input may have better ones.

    :param message: What is wrong, and what to do about it.
    :param job_id: The job.
    """

    def __init__(self, message: str, *, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class RoeRequestError(RoeError):
    """
    Roe refused a request.

    :param message: What happened, and what to do about it.
    :param status_code: HTTP status that Roe answered with; None if it did not answer.
    :param request_id: The request's ``X-Request-ID``, by which Roe's support finds it.
    :param cause: What errors that are alike have in common, in a few words. Default: the status code.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
        cause: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.request_id = request_id
        self.conn_id: str | None = None
        #: Roe's words for why, where it gave some.
        self.reason: str | None = None
        self._cause = cause

    @property
    def cause(self) -> str:
        """What errors that are alike have in common, in a few words."""
        return self._cause or (f"answered with {self.status_code}" if self.status_code else super().cause)

    def name_connection(self, conn_id: str) -> None:
        """
        Complete the error with the id of the connection, and forget what led to it.

        The HTTP libraries' own errors hold the request's headers, and what a server made of them.
        """
        self.conn_id = conn_id
        self.__cause__ = self.__context__ = None

    def __str__(self) -> str:
        message = super().__str__()
        if self.conn_id:
            message += f" Connection: {self.conn_id}."
        if self.request_id:
            message += f" Request id: {self.request_id}."
        return message


class RoeAuthenticationError(RoeRequestError):
    """Roe did not accept the API key (401)."""


class RoeNotFoundError(RoeRequestError):
    """Roe accepted key and organization, and knows no such query, agent or job (404)."""


class RoeFailedError(RoeError):
    """
    What ran at Roe has failed, or was cancelled.

    :param message: What happened.
    :param status: Roe's own word for how it ended.
    :param reason: What Roe says of it; None if nothing.
    """

    def __init__(self, message: str, *, status: str | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RoeQueryFailedError(RoeFailedError):
    """A query has failed, or was cancelled."""


class RoeAgentJobFailedError(RoeFailedError):
    """An agent's job, or more of many than may, has failed or was cancelled."""


class RoeTimeoutError(RoeError):
    """A query, or an agent's job, has not ended in time."""


class RoeUnavailableError(RoeRequestError):
    """
    Roe could not be asked, or gave no usable answer; the same request may well succeed later.

    :param message: What happened, and what to do about it.
    :param status_code: HTTP status that Roe answered with; None if it did not answer.
    :param request_id: The request's ``X-Request-ID``.
    :param cause: What errors that are alike have in common, in a few words. Default: the status code.
    :param retry_after: Seconds for which the server wants to be left alone, or None.
    :param repeatable: Whether the request may be sent again. A submit may where the server certainly did not
        act on it.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
        cause: str | None = None,
        retry_after: float | None = None,
        repeatable: bool = True,
    ) -> None:
        super().__init__(message, status_code=status_code, request_id=request_id, cause=cause)
        self.retry_after = retry_after
        self.repeatable = repeatable
        self.attempts = 1
        self.elapsed = 0.0

    def __str__(self) -> str:
        if self.attempts == 1:
            return super().__str__()
        return f"{super().__str__()} Gave up after {self.attempts} attempts in {self.elapsed:.0f} s."
