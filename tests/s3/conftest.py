"""
An S3 on loopback, which Airflow's own file system for S3 talks to.

These tests have an environment of their own, made by ``make test-s3``: what Amazon's libraries want does not
go together with all that the other tests need. Where s3fs is not installed, they are not there.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from botocore.client import BaseClient

collect_ignore = [] if find_spec("s3fs") else ["test_files.py"]

REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Storage:
    """
    A bucket of the server's.

    :param client: Amazon's own client, of whose doings the file system does not know.
    :param requests: Method and query of all that was asked of the server.
    :param refuses: Tells whether the server refuses a request, from its method and its URL.
    """

    app: Callable[..., Iterable[bytes]]
    client: BaseClient = None
    bucket: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuses: Callable[[str, str], bool] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        self.requests.append((method, query))
        if self.refuses and self.refuses(method, f"{environ['PATH_INFO']}?{query}"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            answer = b"" if method == "HEAD" else REFUSAL
            start_response("403 Forbidden", [("Content-Length", str(len(answer)))])
            return [answer]
        return self.app(environ, start_response)

    def url(self, key: str) -> str:
        return f"s3://aws_default@{self.bucket}/{key}"

    def put(self, key: str, body: bytes = b"old") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def objects(self) -> dict[str, bytes]:
        """Give all objects of the bucket, by their keys."""
        found = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            item["Key"]: self.client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for item in found
        }

    def uploads(self) -> list[Any]:
        """Give the uploads in parts that have been begun and neither completed nor aborted."""
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


@pytest.fixture(scope="session")
def _storage() -> Iterator[Storage]:
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # asks for a body that is announced with Expect

        def log_request(self, *_: Any) -> None:
            pass

    storage = Storage(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, storage, threaded=True, request_handler=QuietHandler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    connection = {"endpoint_url": url, "region_name": "us-east-1"}
    os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
        {"conn_type": "aws", "login": "an-access-key", "password": "a-secret-key", "extra": connection}
    )
    storage.client = boto3.client(
        "s3", **connection, aws_access_key_id="an-access-key", aws_secret_access_key="a-secret-key"
    )
    yield storage
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def storage(_storage: Storage) -> Storage:
    """Return a server with an empty bucket, which refuses nothing."""
    storage = _storage
    storage.refuses = None
    storage.bucket = f"lake-{uuid4()}"
    storage.client.create_bucket(Bucket=storage.bucket)
    storage.requests.clear()
    return storage
