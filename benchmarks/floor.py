"""The floor: what polling costs with aiohttp and nothing around it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FloorTrigger(BaseTrigger):
    """
    Polls in a bare loop: a GET, the body read and decoded, a sleep.

    Session, certificates and the spread of the polls are those of our trigger. There are no checks, no
    retries, and nobody is told of anything.

    :param path: What to ask for.
    :param interval: Seconds between two polls.
    """

    _session: ClassVar[aiohttp.ClientSession | None] = None
    _users: ClassVar[int] = 0

    def __init__(self, path: str, interval: float) -> None:
        super().__init__()
        connection = json.loads(os.environ["AIRFLOW_CONN_BENCH_ROE"])
        self.url = f"{connection['host']}:{connection['port']}{path}?organization_id={connection['login']}"
        self.headers = {"Authorization": f"Bearer {connection['password']}", "Accept": "application/json"}
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Do as the base class demands; nobody stores this trigger."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the end."""
        await asyncio.sleep(random.uniform(0, self.interval))
        session = self._open()
        try:
            while True:
                async with session.get(self.url) as response:
                    status = json.loads(await response.read())
                if status["status"] == "SUCCESS":
                    break
                await asyncio.sleep(self.interval * random.uniform(0.9, 1.1))
        finally:
            await self._close()
        yield TriggerEvent(status)

    def _open(self) -> aiohttp.ClientSession:
        cls = FloorTrigger
        cls._users += 1
        if cls._session is None:
            tls = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
            connector = aiohttp.TCPConnector(limit=50, keepalive_timeout=75, ssl=tls)
            cls._session = aiohttp.ClientSession(connector=connector, headers=self.headers)
        return cls._session

    async def _close(self) -> None:
        cls = FloorTrigger
        cls._users -= 1
        if cls._users == 0 and cls._session:
            session, cls._session = cls._session, None
            await session.close()
