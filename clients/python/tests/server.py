"""A segue server for tests."""

import os
import pathlib
import selectors
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SEGUE", str(ROOT / "bin" / "segue"))
READY_SECONDS = 60


class Server:
    """`segue serve` on a free port of this machine, over a store in a temporary directory that goes with it."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._dir = tempfile.TemporaryDirectory(prefix="segue-python-")
        self.target = "127.0.0.1:0"
        self._process = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Starts it, again on the port that it had, and waits until it answers."""
        command = [BINARY, "serve", "--data", self._dir.name + "/store", "--listen", self.target, "--ops-listen", ""]
        self._process = subprocess.Popen([*command, *self._flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.target = self._listening()

    def _listening(self) -> str:
        """Reads the line "listening on HOST:PORT", for a while."""
        end = time.monotonic() + READY_SECONDS
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(end - time.monotonic(), 0)):
                    raise TimeoutError(f"no answer from {BINARY} after {READY_SECONDS} s")
                part = os.read(self._process.stdout.fileno(), 4096)
                if not part:
                    raise RuntimeError(f"{BINARY} ended with status {self._process.wait()}")
                line += part
        return line.decode().rsplit(maxsplit=1)[-1]

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._dir.cleanup()


class Trap(list):
    """A list that calls something, once, when one of its rows is reached."""

    def __init__(self, rows, at: int, spring) -> None:
        super().__init__(rows)
        self._at, self._spring = at, spring

    @property
    def sprung(self) -> bool:
        return self._spring is None

    def _reach(self, low: int, high: int) -> None:
        if self._spring is not None and low <= self._at < high:
            spring, self._spring = self._spring, None
            spring()

    def __getitem__(self, i):
        if isinstance(i, slice):
            low, high, _ = i.indices(len(self))
            self._reach(low, high)
        else:
            self._reach(i, i + 1)
        return super().__getitem__(i)
