from __future__ import annotations

import json
import math
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
import requests
import trustme

from airflow_provider_roe.testing import QueryPlan, RoeSimulator
from airflow_provider_roe.testing.query import Query
from airflow_provider_roe.testing.sql import run
from dev.patience import patient

FOREVER = QueryPlan(statuses=(("STARTED", math.inf),))
OTHER_ID = "00000000-0000-4000-8000-000000000000"


class TestSubmit:
    def test_answers_the_worksheet_query_whose_id_is_not_the_task_id(self, roe, client):
        response = client.submit("SELECT 42")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/json"
        body = response.json()
        assert body["id"] in roe.queries
        assert UUID(body["query_task_id"]) != UUID(body["id"])
        assert body["query"] == "SELECT 42"
        assert body["organization"]["id"] == roe.organization_id
        assert body["worksheet"].keys() >= {"id", "name", "created_at", "updated_at"}
        assert body["organization"].keys() == {"id", "name", "created_at"}
        assert body["creator"].keys() >= {"id", "email", "display_name"}
        assert (body["worksheet"]["organization"], body["worksheet"]["creator"]) == (
            body["organization"],
            body["creator"],
        )
        assert body.keys() >= {
            "query_task_status",
            "error",
            "ai_summary",
            "created_at",
            "updated_at",
            "finished_at",
        }

    def test_every_submit_is_a_query_of_its_own(self, roe, client):
        assert client.submit().json()["id"] != client.submit().json()["id"]
        assert len(roe.queries) == 2

    @pytest.mark.parametrize("where", ["body", "query string"])
    def test_takes_a_worksheet_in_place_of_the_organization(self, client, where):
        worksheet = str(uuid4())
        if where == "body":
            response = client.submit(params={}, json={"query": "SELECT 1", "worksheet_id": worksheet})
        else:
            response = client.submit(params={"worksheet_id": worksheet})
        assert response.json()["worksheet"]["id"] == worksheet

    def test_writes_the_worksheet_s_id_as_uuids_are_written(self, client):
        worksheet = uuid4()
        body = client.submit(params={"worksheet_id": worksheet.hex.upper()}).json()
        assert body["worksheet"]["id"] == str(worksheet)

    def test_needs_the_organization_or_a_worksheet(self, client):
        response = client.submit(params={})
        assert (response.status_code, response.json()) == (
            400,
            {"message": "organization_id: This field is required."},
        )

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"query": ""}, "query: This field may not be blank."),
            ({"query": " \n"}, "query: This field may not be blank."),
            ({"query": None}, "query: This field may not be null."),
            ({"query": ["SELECT 1"]}, "query: Not a valid string."),
            ({}, "query: This field is required."),
            ({"query": "SELECT 1", "worksheet_id": "7"}, "worksheet_id: Must be a valid UUID."),
            ({"query": "SELECT 1", "use_admin": "perhaps"}, "use_admin: Must be a valid boolean."),
            (["SELECT 1"], "Invalid data. Expected a dictionary, but got list."),
        ],
    )
    def test_refuses_an_invalid_body(self, roe, client, body, message):
        response = client.submit(json=body)
        assert (response.status_code, response.json()) == (400, {"message": message})
        assert not roe.queries

    @pytest.mark.parametrize("body", ["", "SELECT 1", "{", b"\xff", "[" * 100_000])
    def test_refuses_a_body_that_is_not_json(self, client, body):
        response = client.submit(json=None, data=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400
        assert response.json()["message"].startswith("JSON parse error - ")

    def test_takes_a_long_query(self, roe, client):
        response = client.submit(f"SELECT 1 -- {'long ' * 500_000}")
        assert response.status_code == 200
        assert len(roe.requests[0].body) > 2_000_000

    def test_refuses_a_body_that_is_not_declared_as_json(self, client):
        response = client.submit(json=None, data={"query": "SELECT 1"})
        assert response.status_code == 415
        assert "application/x-www-form-urlencoded" in response.json()["detail"]

    def test_a_comment_in_the_sql_shapes_the_query(self, client):
        sql = '/* simulate {"statuses": [], "ends_as": "FAILURE", "error": "out of memory"} */ SELECT 1'
        status = client.status(client.submit(sql).json()["id"]).json()
        assert (status["status"], status["error"]) == ("FAILURE", "out of memory")

    def test_a_malformed_comment_is_a_field_error_that_says_what_is_wrong(self, client):
        response = client.submit('/* simulate {"end_as": "FAILURE"} */ SELECT 1')
        assert response.status_code == 400
        assert response.json()["message"].startswith(
            "query: simulate comment: unknown key 'end_as', expected one of "
        )


class TestStatus:
    def test_has_the_documented_fields(self, client, ended):
        query_id = ended("SELECT 1")
        status = client.status(query_id).json()
        assert status.keys() == {"worksheet_query_id", "status", "error", "created_at", "finished_at"}
        assert (status["worksheet_query_id"], status["status"], status["error"]) == (
            query_id,
            "SUCCESS",
            None,
        )
        created, finished = (datetime.fromisoformat(status[key]) for key in ("created_at", "finished_at"))
        assert timedelta() <= finished - created < timedelta(minutes=1)
        assert status["created_at"].endswith("Z")
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)

    def test_follows_the_plan(self, roe, client, until):
        plan = QueryPlan(statuses=(("PENDING", 0.5), ("RETRY", 0.5, "lost a worker"), ("STARTED", 0.5)))
        query_id = roe.submit("SELECT 1", plan)
        seen = []
        until(lambda: seen.append(client.status(query_id).json()) or seen[-1]["finished_at"])
        states = [(status["status"], status["error"]) for status in seen]
        changes = [states[0]] + [b for a, b in pairwise(states) if a != b]
        assert changes == [
            ("PENDING", None),
            ("RETRY", "lost a worker"),
            ("STARTED", None),
            ("SUCCESS", None),
        ]
        assert all(status["finished_at"] is None for status in seen[:-1])

    def test_a_wrong_table_name_ends_as_failure_with_the_databases_message(self, client, ended):
        status = client.status(ended("SELECT * FROM invocies")).json()
        assert (status["status"], status["error"]) == ("FAILURE", "no such table: invocies")

    @pytest.mark.parametrize(
        ("plan", "sql", "expected"),
        [
            (QueryPlan((), ends_as="REVOKED"), "SELECT 1", ("REVOKED", None)),
            (QueryPlan((), ends_as="REVOKED"), "SELECT * FROM nowhere", ("REVOKED", None)),
            (QueryPlan((), ends_as="failure", error="no"), "SELECT 1", ("failure", "no")),
            (QueryPlan((), error="contradictory"), "SELECT 1", ("SUCCESS", "contradictory")),
            (QueryPlan((), error="in short"), "SELECT * FROM nowhere", ("FAILURE", "in short")),
        ],
    )
    def test_a_plan_says_how_the_query_ends(self, client, ended, plan, sql, expected):
        status = client.status(ended(sql, plan)).json()
        assert (status["status"], status["error"]) == expected

    def test_a_query_does_not_end_before_its_sql(self, roe, client):
        query = Query("SELECT 1", QueryPlan(()), sql := Future())
        roe.queries[query.id] = query
        status = client.status(query.id).json()
        assert (status["status"], status["finished_at"]) == ("STARTED", None)
        sql.set_result(run("SELECT 1"))
        assert client.status(query.id).json()["finished_at"]

    def test_the_simulators_plan_can_be_replaced(self, roe, client):
        roe.plan = QueryPlan(statuses=(("QUEUED", math.inf),))
        assert client.status(client.submit().json()["id"]).json()["status"] == "QUEUED"

    def test_a_query_can_be_ended_at_any_moment(self, roe, client):
        query_id = roe.submit("SELECT 1", FOREVER)
        assert client.status(query_id).json()["finished_at"] is None
        roe.finish(query_id, "FAILURE", "out of memory")
        status = client.status(query_id).json()
        assert (status["status"], status["error"]) == ("FAILURE", "out of memory")
        assert status["finished_at"]

    def test_the_servers_clock_can_be_ahead(self, client, ended):
        status = client.status(ended("SELECT 1", QueryPlan((), clock_skew=3600))).json()
        created, finished = (datetime.fromisoformat(status[key]) for key in ("created_at", "finished_at"))
        assert timedelta(minutes=59) < created - datetime.now(UTC) < timedelta(minutes=61)
        assert finished >= created

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({"status": 7}, {"status": 7}),
            ({"status": None}, {"status": None}),
            ({"worksheet_query_id": OTHER_ID, "note": []}, {"worksheet_query_id": OTHER_ID, "note": []}),
        ],
    )
    def test_fields_can_be_made_wrong(self, client, ended, fields, expected):
        status = client.status(ended("SELECT 1", QueryPlan((), fields=fields))).json()
        assert expected.items() <= status.items()

    def test_fields_can_be_missing(self, client, ended):
        status = client.status(ended("SELECT 1", QueryPlan((), fields={"status": QueryPlan.MISSING}))).json()
        assert "status" not in status
        assert "error" in status


class TestResult:
    def test_has_one_entry_a_statement(self, client, ended):
        query_id = ended(
            "SELECT count(*) AS n FROM invoices; SELECT vendor, due_on FROM invoices WHERE number = '0042?'"
        )
        body = client.result(query_id).json()
        assert (body["worksheet_query_id"], body["status"], body["error"]) == (query_id, "SUCCESS", None)
        count, unpaid = body["results"]
        assert (count["column_names"], count["column_types"], count["result_rows"]) == (
            ["n"],
            ["Int64"],
            [["10"]],
        )
        assert unpaid["column_types"] == ["String", "Nullable(Nothing)"]
        assert unpaid["result_rows"] == [["unknown", None]]

    def test_is_there_as_soon_as_the_plan_has_ended_the_query(self, roe, client):
        query_id = roe.submit("SELECT 1", QueryPlan((), ends_as="SUCCESS"))
        assert client.result(query_id).json()["results"][0]["result_rows"] == [["1"]]

    def test_of_a_query_that_still_runs_is_empty(self, roe, client):
        response = client.result(roe.submit("SELECT 1", FOREVER))
        assert response.status_code == 200
        assert (response.json()["status"], response.json()["results"]) == ("STARTED", [])

    def test_of_a_failed_query_is_empty(self, client, ended):
        body = client.result(ended("SELECT 1; SELECT * FROM nowhere")).json()
        assert (body["status"], body["error"], body["results"]) == ("FAILURE", "no such table: nowhere", [])


class TestRunAndWait:
    def test_answers_the_statement_results_when_the_query_has_ended(self, roe, client):
        roe.plan = QueryPlan(statuses=(("STARTED", 0.1),))
        response = client.run("SELECT 1; SELECT 2")
        assert response.status_code == 200
        assert [result["result_rows"] for result in response.json()] == [[["1"]], [["2"]]]
        assert response.elapsed > timedelta(seconds=0.1)

    @pytest.mark.parametrize(
        ("plan", "sql", "message"),
        [
            (QueryPlan(()), "SELECT * FROM nowhere", "no such table: nowhere"),
            (QueryPlan((), ends_as="REVOKED"), "SELECT 1", "The query ended as REVOKED."),
        ],
    )
    def test_answers_400_with_a_message_when_the_query_failed(self, roe, client, plan, sql, message):
        roe.plan = plan
        response = client.run(sql)
        assert (response.status_code, response.json()) == (400, {"message": message})

    def test_takes_the_organization_from_the_body(self, roe, client):
        response = client.run(params=client.organization, json={"query": "SELECT 1"})
        assert (response.status_code, response.json()) == (
            400,
            {"message": "organization_id: This field is required."},
        )
        assert not roe.queries


class TestAccess:
    @pytest.mark.parametrize(
        ("authorization", "detail"),
        [
            (None, "Authentication credentials were not provided."),
            ("Basic {key}", "Authentication credentials were not provided."),
            ("{key}", "Authentication credentials were not provided."),
            ("Bearer", "Invalid API key."),
            ("Bearer wrong", "Invalid API key."),
            ("Bearer Bearer {key}", "Invalid API key."),
        ],
    )
    @pytest.mark.parametrize("call", ["submit", "status", "result", "run"])
    def test_a_missing_or_wrong_key_is_401(self, roe, client, call, authorization, detail):
        authorization = authorization and authorization.format(key=roe.api_key)
        response = getattr(client, call)(OTHER_ID, headers={"Authorization": authorization})
        assert (response.status_code, response.json()) == (401, {"detail": detail})
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert not roe.queries

    def test_a_rotated_key_replaces_the_old_one(self, roe, client):
        roe.rotate_key("new")
        assert client.submit().status_code == 401
        assert client.submit(headers={"Authorization": "Bearer new"}).status_code == 200
        assert "new" in roe.connection_uri

    def test_several_keys_can_be_accepted(self, roe, client):
        roe.api_keys.add("second")
        assert client.submit().status_code == 200
        assert client.submit(headers={"Authorization": "Bearer second"}).status_code == 200

    def test_a_revoked_key_is_not_accepted(self, roe, client):
        roe.revoke_key()
        assert client.submit().status_code == 401

    @pytest.mark.parametrize(
        ("organization", "code", "body"),
        [
            (OTHER_ID, 403, {"detail": "You do not have permission to perform this action."}),
            ("acme", 400, {"message": "organization_id: Must be a valid UUID."}),
        ],
    )
    @pytest.mark.parametrize("call", ["submit", "status", "result", "run"])
    def test_a_wrong_organization_is_refused(self, roe, client, call, organization, code, body):
        given = {"params": {"organization_id": organization}}
        if call == "run":
            given = {"json": {"query": "SELECT 1", "organization_id": organization}}
        response = getattr(client, call)(roe.submit("SELECT 1"), **given)
        assert (response.status_code, response.json()) == (code, body)

    @pytest.mark.parametrize("call", ["status", "result"])
    def test_reading_does_not_need_the_organization(self, client, ended, call):
        assert getattr(client, call)(ended("SELECT 1"), params={}).status_code == 200


class TestRoutes:
    @pytest.mark.parametrize("call", ["status", "result"])
    def test_an_unknown_query_is_404_as_json(self, client, call):
        response = getattr(client, call)(OTHER_ID)
        assert (response.status_code, response.json()) == (404, {"detail": "Query not found."})

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/v1/database/query",
            "/v1/database/query/async",
            f"/v1/database/query/{OTHER_ID}/status",
            f"/v1/database/query/{OTHER_ID}/cancel/",
            f"/v1/database/query/{OTHER_ID}/",
            "/v1/database/query/42/status/",
            f"/v1/database/query/{OTHER_ID.replace('-', '')}/status/",
            f"/v1/database/query/{OTHER_ID}/../status/",
        ],
    )
    def test_an_unknown_route_is_404_as_html(self, roe, client, path):
        response = client.get(roe.url + path)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "<h1>Not Found</h1>" in response.text
        assert [request.call for request in roe.requests] == ["other"]

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "async/", "POST"),
            ("GET", "", "POST"),
            ("DELETE", f"{OTHER_ID}/status/", "GET"),
            ("POST", f"{OTHER_ID}/result/", "GET"),
        ],
    )
    def test_a_wrong_method_is_405(self, client, method, path, allowed):
        response = client.request(method, client.base + path)
        assert response.status_code == 405
        assert response.headers["Allow"] == allowed
        assert response.json() == {"detail": f'Method "{method}" not allowed.'}


class TestRecording:
    def test_a_request_is_recorded_with_its_answer(self, roe, client):
        query_id = client.submit("SELECT 1", headers={"X-Request-ID": "7"}).json()["id"]
        (record,) = roe.requests
        assert (record.call, record.method, record.path) == ("submit", "POST", "/v1/database/query/async/")
        assert record.query == {"organization_id": roe.organization_id}
        assert record.headers["x-request-id"] == "7"
        assert json.loads(record.body) == {"query": "SELECT 1"}
        assert abs(datetime.now(UTC) - record.received_at) < timedelta(minutes=1)
        assert (record.status_code, record.query_id) == (200, query_id)

    def test_requests_can_be_asked_for_by_call_and_query(self, roe, client):
        first, second = roe.submit("SELECT 1"), roe.submit("SELECT 2")
        for query_id in (first, second, first):
            client.status(query_id)
        client.result(first)
        assert [record.query_id for record in roe.requests_of("status")] == [first, second, first]
        assert len(roe.requests_of("status", first)) == 2
        assert len(roe.requests_of("result", second)) == 0

    def test_connections_are_counted(self, roe, client):
        client.status(OTHER_ID)
        client.status(OTHER_ID)
        requests.get(roe.url, timeout=10)
        assert roe.connections == 2
        assert [record.connection for record in roe.requests] == [1, 1, 2]

    def test_a_connection_without_a_request_counts(self, roe, until):
        with socket.create_connection(("127.0.0.1", int(roe.url.rpartition(":")[2]))):
            until(lambda: roe.connections == 1)
        assert roe.requests == []

    def test_a_query_is_there_to_look_at(self, roe, client):
        query = roe.queries[client.submit("SELECT 1").json()["id"]]
        assert query.sql == "SELECT 1"
        assert query.plan == roe.plan
        assert query.created_at.tzinfo is UTC


class TestLifeCycle:
    def test_a_stopped_simulator_refuses_connections_and_comes_back_at_the_same_address(
        self, roe, client, ended
    ):
        query_id = ended("SELECT 1")
        roe.stop()
        with pytest.raises(requests.ConnectionError):
            client.status(query_id)
        roe.start()
        assert client.status(query_id).json()["status"] == "SUCCESS"

    def test_stopping_twice_does_no_harm(self, roe):
        roe.stop()
        roe.stop()

    def test_starting_twice_is_an_error(self, roe):
        with pytest.raises(RuntimeError, match="already running"):
            roe.start()

    def test_a_port_in_use_is_an_error(self, roe):
        port = int(roe.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            RoeSimulator(port=port).start()

    def test_stopping_does_not_wait_for_requests_that_wait(self, roe, client, until):
        roe.plan = FOREVER
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(client.run)
            until(lambda: roe.queries)
            start = time.monotonic()
            roe.stop()
            assert time.monotonic() - start < patient(10)
            assert isinstance(waiting.exception(), requests.ConnectionError)
        assert roe.requests[0].status_code is None

    def test_an_organization_is_a_uuid(self):
        with pytest.raises(ValueError, match="UUID"):
            RoeSimulator(organization_id="acme")

    def test_many_clients_are_served_at_once(self, roe, client):
        with ThreadPoolExecutor(50) as pool:
            codes = list(pool.map(lambda _: requests.get(roe.url, timeout=10).status_code, range(200)))
        assert codes == [404] * 200
        assert {record.connection for record in roe.requests} == set(range(1, 201))

    def test_it_serves_https(self, tmp_path):
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        with RoeSimulator(ssl_context=context) as roe:
            assert roe.url.startswith("https://127.0.0.1:")
            assert requests.get(roe.url, verify=str(tmp_path / "ca.pem"), timeout=10).status_code == 404
            assert "://https://" in roe.connection_uri

    def test_importing_it_imports_neither_airflow_nor_pytest_nor_what_it_is_to_judge(self):
        code = "import sys, airflow_provider_roe.testing.simulator; print(*sys.modules)"
        loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
        assert not {"airflow", "pytest"} & set(loaded)
        own = "airflow_provider_roe.testing"
        others = [name for name in loaded if name.startswith("airflow_provider_roe.")]
        assert [name for name in others if name != own and not name.startswith(f"{own}.")] == []


@pytest.mark.parametrize("key", ["plain", "a/b:c@d e%ü?#&='\"+"])
def test_the_connection_uri_is_what_airflow_understands(key):
    from airflow.models.connection import Connection

    with RoeSimulator(api_key=key) as roe:
        connection = Connection(uri=roe.connection_uri)
        assert connection.conn_type == "roe"
        assert (connection.login, connection.password) == (roe.organization_id, key)
        assert f"{connection.host}:{connection.port}" == roe.url
        assert not connection.schema
        assert not connection.extra
