"""Loaded by Airflow's processes: a host below .test has an address once the file HOSTS_OF_TESTS names it."""

import os
import socket
from pathlib import Path

getaddrinfo = socket.getaddrinfo


def look_up(host, *args, **kwargs):
    if isinstance(host, str) and host.endswith(".test"):
        if host not in Path(os.environ["HOSTS_OF_TESTS"]).read_text().split():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        host = "127.0.0.1"
    return getaddrinfo(host, *args, **kwargs)


socket.getaddrinfo = look_up
