"""Start programs so that they, and whatever they start themselves, can be ended again without remains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from dev.patience import patient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ComponentError(Exception):
    """A component ended when it should not have, or could not be ended."""


class Component:
    """A program in a process session of its own, by which all that it starts is found again."""

    def __init__(
        self, name: str, command: list[str], *, env: dict[str, str], folder: Path, log_file: Path
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._command = command
        self._env = env
        self._folder = folder
        self._leader: subprocess.Popen[bytes] | None = None
        self._sessions: set[int] = set()

    def start(self) -> None:
        """Start the program; its output is appended to the component's log file."""
        with deferred_signals(), self.log_file.open("ab") as log:
            self._leader = subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._sessions.add(self._leader.pid)

    def exit_code(self) -> int | None:
        """Exit code of the main process; None before its start and while it runs."""
        return self._leader.poll() if self._leader else None

    def wait(self, timeout: float) -> None:
        """Wait until the program ends by itself; anything but exit code 0 is an error."""
        try:
            if self._leader and self._leader.wait(timeout) != 0:
                raise ComponentError(self.obituary())
        except subprocess.TimeoutExpired:
            raise ComponentError(f"{self.name} has not ended after {timeout:g} s") from None

    def obituary(self) -> str:
        """Say how the program ended, with the last lines of its log."""
        tail = self.log_file.read_text(errors="replace").splitlines()[-40:]
        return "\n".join([f"{self.name} ended with exit code {self.exit_code()}:", *tail])

    def processes(self) -> set[psutil.Process]:
        """Find what runs of this component: its session's members, orphans too, and their descendants."""
        found: set[psutil.Process] = set()
        # Not psutil.process_iter(): it remembers who had an id before, and leaves out who has it now.
        for pid in psutil.pids() if self._sessions else ():
            with suppress(psutil.Error, OSError):  # it may end while we look
                if os.getsid(pid) in self._sessions:
                    process = psutil.Process(pid)
                    found.update([process, *process.children(recursive=True)])
        return set(filter(_is_running, found))

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to all processes of this component at once, as when a machine is lost."""
        processes = self.processes()
        _signal_all(processes, signal_number)
        if signal_number == signal.SIGKILL and self._leader:
            self._leader.wait()
            if not _still_running(processes, timeout=patient(10)):
                self.forget()

    def forget(self) -> None:
        """Look no more for what was started, of which nothing is left: others get the ids of its sessions."""
        self._sessions.clear()

    def terminate(self) -> None:
        """Ask the main process to end, if it runs."""
        if self._leader and self.exit_code() is None:
            self._leader.terminate()

    def stop(self, grace: float = 15) -> None:
        """Ask the main process to end, and kill what is left of the component after `grace` seconds."""
        stop_all([self], grace)

    def restart(self) -> None:
        """Stop the component, if it still runs, and start it again."""
        self.stop()
        self.start()


def stop_all(components: Iterable[Component], grace: float) -> None:
    """Ask the main processes to end, and after `grace` seconds kill whatever is left of the components."""
    components = list(components)
    with deferred_signals():
        # Listed first: a process that has left its session cannot be found any more once its parent is gone.
        processes = {process for component in components for process in component.processes()}
        for component in components:
            component.terminate()
        processes = _still_running(processes, timeout=grace)
        for _ in range(10):
            processes |= {process for component in components for process in component.processes()}
            if not processes:
                break
            _signal_all(processes, signal.SIGKILL)
            processes = _still_running(processes, timeout=patient(1))
        else:
            raise ComponentError(f"Could not end processes {sorted(process.pid for process in processes)}")
        for component in components:
            component.exit_code()  # until it is asked for, an ended child remains as a zombie
            component.forget()


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Keep Ctrl-C and requests to end for after the block, so that it is done whole."""
    arrived: list[int] = []
    previous: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # outside the main thread, which alone hears signals
        for number in SIGNALS:
            previous[number] = signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if arrived:
            os.kill(os.getpid(), arrived[0])


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which nothing listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def is_listening(port: int) -> bool:
    """Tell whether something on this machine accepts connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OSError):
        return False


def _still_running(processes: Iterable[psutil.Process], timeout: float) -> set[psutil.Process]:
    """
    Return those that have not ended within so many seconds.

    Not with psutil.wait_procs(): it takes a child's exit code away from subprocess, which then says 0.
    """
    give_up_at = time.monotonic() + timeout
    while True:
        running = set(filter(_is_running, processes))
        if not running or time.monotonic() > give_up_at:
            return running
        time.sleep(0.05)


def _signal_all(processes: Iterable[psutil.Process], signal_number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):  # it has ended already
            process.send_signal(signal_number)
