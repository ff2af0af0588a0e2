"""The floor: what polling costs with aiohttp and nothing around it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FloorTrigger(BaseTrigger):
    """
    Polls in a bare loop: a GET, the body read and decoded, a sleep.

    Session, certificates and the spread of the polls are those of our trigger. All share one look-up of the
    connection. There are no checks, no retries, and nobody is told of anything.

    :param path: What to ask for.
    :param interval: Seconds between two polls.
    """

    _opening: ClassVar[asyncio.Task[tuple[aiohttp.ClientSession, str, str]] | None] = None
    _users: ClassVar[int] = 0

    def __init__(self, path: str, interval: float) -> None:
        super().__init__()
        self.path = path
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Do as the base class demands; nobody stores this trigger."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the end."""
        await asyncio.sleep(random.uniform(0, self.interval))
        cls = FloorTrigger
        cls._users += 1
        cls._opening = cls._opening or asyncio.create_task(_open())
        try:
            session, base_url, organization_id = await cls._opening
            url = f"{base_url}{self.path}?organization_id={organization_id}"
            while True:
                async with session.get(url) as response:
                    status = json.loads(await response.read())
                if status["status"] == "SUCCESS":
                    break
                await asyncio.sleep(self.interval * random.uniform(0.9, 1.1))
        finally:
            cls._users -= 1
            if cls._users == 0:
                cls._opening = None
                await session.close()
        yield TriggerEvent(status)


async def _open() -> tuple[aiohttp.ClientSession, str, str]:
    """Look the connection up, once for all; return a session, the base URL and the organization."""
    conn = await BaseHook.aget_connection("bench_roe")
    tls = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    connector = aiohttp.TCPConnector(limit=50, keepalive_timeout=75, ssl=tls)
    headers = {"Authorization": f"Bearer {conn.password}", "Accept": "application/json"}
    return aiohttp.ClientSession(connector=connector, headers=headers), f"{conn.host}:{conn.port}", conn.login
