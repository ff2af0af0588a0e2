from __future__ import annotations

import json
import logging
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_roe.api.base import State
from airflow_provider_roe.api.queries import QueryStatus
from airflow_provider_roe.client.trouble import MOST_CAUSES
from airflow_provider_roe.exceptions import (
    RoeAuthenticationError,
    RoeError,
    RoeInputError,
    RoeNotFoundError,
    RoeUnavailableError,
)
from airflow_provider_roe.waiting.wait import Wait, seconds, the_query

if TYPE_CHECKING:
    from time_machine import TimeMachineFixture

QUERY = "7d9c3b1e-52f4-4a8d-9e60-1b7f2c4d8a35"
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LOG = logging.getLogger("roe.waiting")
OTHER_ERRORS = [RoeError, RoeInputError, RoeAuthenticationError, RoeNotFoundError]


@pytest.fixture(autouse=True)
def clock(time_machine: TimeMachineFixture) -> TimeMachineFixture:
    time_machine.move_to(START, tick=False)
    return time_machine


def new_wait(**arguments: Any) -> Wait:
    defaults = {
        "subject": the_query(QUERY),
        "started_at": START.timestamp(),
        "timeout": 3600.0,
        "poke_interval": 60.0,
        "log": LOG,
    }
    return Wait(**defaults | arguments)


def status(word: str, state: State = State.RUNNING, **fields: Any) -> QueryStatus:
    return QueryStatus(QUERY, word, state, request_id="r-1", **fields)


class TestIntervals:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, {0: 1, 9: 1, 10: 1, 20: 2, 100: 10, 600: 60, 3000: 60}),
            ({"poke_interval": 5}, {0: 1, 20: 2, 50: 5, 3000: 5}),
            ({"poke_interval": 1}, {0: 1, 3000: 1}),
            ({"poke_interval": 0.25}, {0: 0.25, 3000: 0.25}),
            ({"poke_interval": 0}, {0: 0, 3000: 0}),
            ({"exponential_backoff": True}, {0: 1, 600: 60, 2000: 200}),
            ({"exponential_backoff": True, "max_wait": 100}, {0: 1, 600: 60, 2000: 100}),
            ({"max_wait": 10}, {0: 1, 600: 60}),
            ({"first_interval": 0.1}, {0: 0.1, 1: 0.1, 2: 0.2, 600: 60}),
        ],
        ids=repr,
    )
    def test_they_are_a_tenth_of_the_time_waited_and_up_to_a_fifth_shorter(self, clock, arguments, expected):
        wait, now = new_wait(**arguments), 0
        for elapsed, interval in expected.items():
            clock.shift(elapsed - now)
            now = elapsed
            # A clock of floats is off by a millionth here and there.
            assert 0.8 * interval - 1e-6 <= wait.next_interval() <= interval + 1e-6

    def test_no_wait_is_late_by_more_than_a_tenth_of_what_it_has_lasted(self, clock):
        wait, passed, polls = new_wait(), 0.0, 0
        while passed < 500:
            step = wait.next_interval()
            assert step <= max(0.1 * passed, 1) + 1e-6
            clock.shift(step)
            passed, polls = passed + step, polls + 1
        assert polls < 80

    def test_a_wait_that_is_taken_up_elsewhere_goes_on_with_the_interval_that_it_had(self, clock):
        clock.shift(200)
        assert 16 <= new_wait().next_interval() <= 20

    @pytest.mark.parametrize("elapsed", [-3600, 0], ids=["by a clock that is behind", "now"])
    def test_a_wait_that_has_just_begun_starts_short(self, clock, elapsed):
        clock.shift(elapsed)
        assert 0.8 <= new_wait().next_interval() <= 1

    def test_no_two_waits_keep_the_same_step(self):
        first, second = new_wait(), new_wait()
        assert [first.next_interval() for _ in range(9)] != [second.next_interval() for _ in range(9)]

    def test_a_wait_without_end_does_not_overflow(self, clock):
        clock.shift(1e9)
        wait = new_wait(exponential_backoff=True, timeout=1e300)
        assert wait.next_interval() < 1.2e9

    @pytest.mark.parametrize(("elapsed", "expected"), [(3599.5, 0.5), (3600, 0), (9999, 0)])
    def test_none_leads_beyond_the_deadline(self, clock, elapsed, expected):
        clock.shift(elapsed)
        assert new_wait().next_interval() == pytest.approx(expected, abs=1e-3)

    def test_the_poll_before_the_end_is_followed_by_one_at_the_end(self, clock):
        wait, passed = new_wait(timeout=100.0), 0.0
        while step := wait.next_interval():
            clock.shift(step)
            passed += step
        assert passed == pytest.approx(100, abs=1e-3)


class TestHowItEnds:
    def test_a_success_carries_the_query_as_a_plain_dict(self):
        seen = status(
            "SUCCESS",
            State.SUCCEEDED,
            created_at=START,
            finished_at=START + timedelta(seconds=2),
        )
        assert new_wait().saw(seen) == {"outcome": "success", "ended": seen.as_dict()}

    @pytest.mark.parametrize(
        ("seen", "message"),
        [
            (
                status("FAILURE", State.FAILED, error="Unknown table"),
                f"Query {QUERY} ended as FAILURE: Unknown table. Request id: r-1.",
            ),
            (
                status(
                    "REVOKED",
                    State.FAILED,
                    created_at=START,
                    finished_at=START + timedelta(seconds=2.54),
                ),
                f"Query {QUERY} ended as REVOKED after 2.5 s: Roe gave no reason. Request id: r-1.",
            ),
            (
                status("DONE", State.FAILED, known=False),
                f"Query {QUERY} ended as DONE: Roe gave no reason (an unknown status; if it means success,"
                " name it in the connection's extra.success_statuses). Request id: r-1.",
            ),
        ],
        ids=["error", "no reason", "unknown"],
    )
    def test_a_failure_says_how_the_query_ended_and_in_roe_s_words_why(self, seen, message):
        assert new_wait().saw(seen) == {
            "outcome": "failed",
            "message": message,
            "status": seen.status,
            "reason": seen.error or "",
        }

    def test_a_query_that_runs_is_waited_for(self):
        assert new_wait().saw(status("STARTED")) is None

    def test_one_that_still_runs_at_the_deadline_is_a_timeout(self, clock):
        wait = new_wait(timeout=90.0)
        clock.shift(89)
        assert wait.saw(status("STARTED")) is None
        clock.shift(1)
        assert wait.saw(status("STARTED")) == {
            "outcome": "timeout",
            "message": f"Query {QUERY} is still STARTED after 1 minute 30 seconds; the wait's timeout is 90"
            " s. It goes on at Roe, which has no call to cancel it. Request id: r-1.",
        }

    @pytest.mark.parametrize(
        ("seen", "kind"),
        [
            (status("SUCCESS", State.SUCCEEDED), "success"),
            (status("FAILURE", State.FAILED), "failed"),
        ],
    )
    def test_a_query_that_is_seen_to_have_ended_after_the_deadline_ended_as_it_did(self, clock, seen, kind):
        clock.shift(timedelta(days=9))
        assert new_wait().saw(seen)["outcome"] == kind

    @pytest.mark.parametrize("error", [*OTHER_ERRORS, RoeUnavailableError])
    def test_an_error_ends_it_and_is_named(self, error):
        assert new_wait().failed(error("what happened")) == {
            "outcome": "error",
            "error": error.__name__,
            "message": "what happened",
        }

    @pytest.mark.parametrize("error", [*OTHER_ERRORS, RoeUnavailableError])
    def test_with_silent_fail_an_error_does_not_end_it_and_is_told_once(self, error, caplog):
        wait = new_wait(silent_fail=True)
        assert [wait.failed(error("what happened")) for _ in range(9)] == [None] * 9
        assert caplog.messages == ["what happened Waiting on, for silent_fail is set."]

    @pytest.mark.parametrize("error", [*OTHER_ERRORS, RoeUnavailableError])
    def test_with_silent_fail_an_error_at_the_deadline_is_a_timeout(self, clock, error):
        clock.shift(3600)
        event = new_wait(silent_fail=True).failed(error("what happened"))
        assert event["outcome"] == "timeout"
        assert event["message"].endswith("Last error: what happened")

    def test_a_service_that_is_out_at_the_deadline_is_a_timeout_that_tells_so(self, clock):
        clock.shift(3600)
        assert new_wait().failed(RoeUnavailableError("Roe is out.")) == {
            "outcome": "timeout",
            "message": f"Query {QUERY} was not seen to end after 1 hour; the wait's timeout is 3600 s."
            " It goes on at Roe, which has no call to cancel it. Last error: Roe is out.",
        }

    @pytest.mark.parametrize("error", OTHER_ERRORS)
    def test_another_error_at_the_deadline_is_that_error(self, clock, error):
        clock.shift(3600)
        assert new_wait().failed(error("what happened"))["error"] == error.__name__

    def test_every_event_is_plain_json(self, clock):
        wait = new_wait(silent_fail=True)
        clock.shift(3600)
        for event in (
            wait.saw(status("SUCCESS", State.SUCCEEDED, created_at=START)),
            wait.saw(status("FAILURE", State.FAILED)),
            wait.failed(RoeError("what happened")),
        ):
            assert json.loads(json.dumps(event)) == event


class TestWhatTheLogSays:
    @pytest.fixture(autouse=True)
    def _all_levels(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, LOG.name)

    def test_it_tells_what_changed_and_not_each_poll(self, clock, caplog):
        wait = new_wait()
        for word in ("PENDING", "PENDING", "STARTED", "STARTED", "STARTED", "RETRY"):
            wait.saw(status(word))
            clock.shift(6)
        assert caplog.messages == [
            f"Query {QUERY} is PENDING after 0.0 s",
            f"Query {QUERY}: PENDING -> STARTED after 12.0 s",
            f"Query {QUERY}: STARTED -> RETRY after 30.0 s",
        ]

    def test_an_unknown_status_is_warned_of_once(self, caplog):
        wait = new_wait()
        for _ in range(3):
            wait.saw(status("WARMING", known=False))
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert (
            warning.getMessage() == "Status WARMING is unknown; without a finishing time it is taken to run."
        )

    def test_an_unknown_status_that_comes_back_is_not_warned_of_again(self, caplog):
        wait = new_wait()
        for word, known in (("WARMING", False), ("STARTED", True), ("WARMING", False)):
            wait.saw(status(word, known=known))
        assert sum("unknown" in message for message in caplog.messages) == 1

    @pytest.mark.parametrize(("word", "state"), [("RETRY", State.RUNNING), ("SUCCESS", State.SUCCEEDED)])
    def test_an_error_text_of_a_query_that_has_not_failed_is_warned_of(self, caplog, word, state):
        new_wait().saw(status(word, state, error="worker lost"))
        assert f"Roe says of status {word}: worker lost" in caplog.messages

    def test_an_error_text_that_comes_later_is_told(self, caplog):
        wait = new_wait()
        wait.saw(status("RETRY"))
        wait.saw(status("RETRY", error="worker lost"))
        assert "Roe says of status RETRY: worker lost" in caplog.messages

    def test_the_reason_of_a_failure_is_an_error_of_its_own(self, caplog):
        new_wait().saw(status("FAILURE", State.FAILED, error="Unknown table"))
        assert [(record.levelname, record.message) for record in caplog.records] == [
            ("INFO", f"Query {QUERY} is FAILURE after 0.0 s"),
            ("ERROR", "Roe says: Unknown table"),
        ]

    def test_it_begins_with_what_is_waited_for(self, caplog):
        new_wait(timeout=90061.0).tell_start("roe_tenant")
        assert caplog.messages == [
            f"Waiting for query {QUERY} on connection roe_tenant, for at most 1 day 1 hour 1 minute 1 second"
        ]

    def test_error_texts_that_are_new_at_each_poll_do_not_fill_it(self, caplog):
        wait = new_wait()
        for number in range(10_000):
            wait.saw(status("RETRY", error=f"attempt {number} failed: {'x' * 1900}"))
        assert MOST_CAUSES <= len(caplog.messages) <= MOST_CAUSES + 3

    def test_nor_the_memory(self, caplog):
        caplog.set_level(logging.CRITICAL, LOG.name)
        wait = new_wait()
        tracemalloc.start()
        try:
            for number in range(10_000):
                wait.saw(status("RETRY", error=f"attempt {number} failed: {'x' * 1900}"))
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 100_000

    def test_statuses_that_are_unknown_and_new_at_each_poll_do_not_either(self, caplog):
        wait = new_wait()
        for number in range(1000):
            wait.saw(status(f"WARMING {number}", known=False))
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) <= MOST_CAUSES + 1

    @pytest.mark.parametrize("end", ["success", "failure", "timeout", "error"])
    def test_it_ends_with_how_often_each_kind_of_trouble_came(self, clock, caplog, end):
        wait = new_wait(silent_fail=True)
        for _ in range(3):
            wait.failed(RoeUnavailableError("Roe is out.", status_code=503))
        caplog.clear()
        match end:
            case "success":
                wait.saw(status("SUCCESS", State.SUCCEEDED))
            case "failure":
                wait.saw(status("FAILURE", State.FAILED))
            case "timeout":
                clock.shift(3600)
                wait.saw(status("STARTED"))
            case "error":
                wait.silent_fail = False
                wait.failed(RoeNotFoundError("Roe knows no such query."))
        assert caplog.messages[-1] == "Trouble on the way: answered with 503 (3 x)."


class TestGoingOnElsewhere:
    def test_it_goes_on_with_the_same_deadline(self, clock):
        wait = new_wait(timeout=90.0)
        clock.shift(1000)
        assert (
            Wait(**wait.arguments(), subject=wait.subject, log=LOG).deadline
            == wait.deadline
            == START.timestamp() + 90
        )

    def test_its_arguments_are_plain_json(self):
        arguments = new_wait(max_wait=10.0).arguments()
        assert json.loads(json.dumps(arguments)) == arguments


class TestAWaitWithoutEnd:
    """``timeout=timedelta.max``, which Airflow's own sensors take."""

    @pytest.fixture
    def wait(self) -> Wait:
        return new_wait(timeout=timedelta.max.total_seconds(), exponential_backoff=True)

    def test_it_polls(self, clock, wait):
        for _ in range(40):
            clock.shift(wait.next_interval())
        assert wait.saw(status("STARTED")) is None
        assert wait.failed(RoeError("no"))["outcome"] == "error"

    def test_it_is_told(self, wait, caplog):
        caplog.set_level(logging.INFO, LOG.name)
        wait.tell_start("roe_default")
        assert caplog.messages[0].endswith("for at most 100 years")

    def test_it_goes_on_elsewhere(self, wait):
        arguments = json.loads(json.dumps(wait.arguments()))
        assert Wait(**arguments, subject=the_query("x"), log=LOG).deadline == wait.deadline


class TestSeconds:
    @pytest.mark.parametrize(
        ("value", "found"),
        [(0, 0), (5, 5), (0.5, 0.5), (timedelta(0), 0), (timedelta(hours=1, milliseconds=500), 3600.5)],
        ids=str,
    )
    def test_a_number_or_a_timedelta_is_taken(self, value, found):
        assert seconds(value, "timeout") == found

    @pytest.mark.parametrize(
        "value", [-1, timedelta(-1), float("nan"), float("inf"), True, "5", None], ids=str
    )
    def test_all_else_is_refused_naming_the_argument(self, value):
        with pytest.raises(
            RoeInputError, match="timeout must be a number of seconds or a timedelta, 0 or more,"
        ):
            seconds(value, "timeout")
