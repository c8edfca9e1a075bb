"""A standalone Spark cluster of processes of this machine: a master and two workers that share no folder with a driver.

Each worker is in a mount namespace of its own, in which the folders of the driver are empty: a task that uses one of
them fails as on another machine. What comes with the image of a real cluster is this environment: Java, the Python with
its packages, dualpath. All of it ends with the thread that started it, even if that is killed.
"""

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyspark
import tenacity

from dualpath.errors import UnavailableError
from dualpath.runtime import java
from dualpath.runtime.kafka import HOST
from dualpath.runtime.service import Service
from parity_tests.conftest import BRIEFLY, CHECKOUT

TIMEOUT_SECONDS = 60.0
WORKERS = 2
SPARK_HOME = Path(str(pyspark.__file__)).parent
SCALA = "2.13"
UNTIL_MY_END = ("setpriv", "--pdeathsig", "KILL")
APART = ("unshare", "--mount")
NOTHING_AT = ("mount", "-t", "tmpfs", "none")
MASTER = re.compile(r"spark://[\w.]+:\d+")
PAGE = re.compile(r"Bound MasterWebUI to .*?(http://[\w.]+:\d+)")


def refusal() -> str:
    """Why workers cannot be kept from the driver's folders here; empty: they can."""
    try:
        ran = subprocess.run(
            [*UNTIL_MY_END, *APART, *NOTHING_AT, tempfile.gettempdir()], capture_output=True, text=True
        )
    except FileNotFoundError as error:
        return f"workers cannot be kept from the driver's folders: {error}"
    return f"workers cannot be kept from the driver's folders: {ran.stderr.strip()}" if ran.returncode else ""


class Cluster(Service):
    """A cluster whose processes work below `folder`; `with Cluster(...) as cluster` starts and stops it.

    Its workers have one core each, the variables `environ` besides those of every process, and nothing in the folders
    `hidden`.
    """

    def __init__(self, folder: Path, *, hidden: Sequence[Path], environ: Mapping[str, str]) -> None:
        self.folder, self.hidden = folder.resolve(), [each.resolve() for each in hidden]
        self.java = java.find(os.environ)
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH")}
        self.environ = {
            **kept,
            "JAVA_HOME": str(self.java.home),
            "PYTHONPATH": str(CHECKOUT),
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_SCALA_VERSION": SCALA,  # as Spark's own scripts say
            **environ,
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self.master, self.page = "", ""

    def start(self) -> None:
        """Start it and wait until the master knows the workers.

        Raises:
            UnavailableError: it does not start; carries the end of a log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run("master", "master.Master", [], hidden=[])
        self._until("master", lambda: self._said("master", PAGE))
        self.master, self.page = self._said("master", MASTER), self._said("master", PAGE)
        for number in range(WORKERS):
            self.add(number)
        self._until("worker-0", lambda: len(self.workers()) == WORKERS)

    def add(self, number: int) -> None:
        """Start a worker of that number."""
        name = f"worker-{number}"
        options = ["--cores", "1", "--memory", "1g", "--work-dir", str(self.folder / name), self.master]
        self._run(name, "worker.Worker", options, hidden=self.hidden)

    def workers(self) -> list[dict[str, Any]]:
        """What the master says of its workers that live."""
        found = httpx.get(f"{self.page}/json/").json()["workers"]
        return [each for each in found if each["state"] == "ALIVE"]

    def kill(self, number: int) -> None:
        """Kill a worker with all that it has started, as if its machine were gone."""
        worker = psutil.Process(self.processes[1 + number].pid)
        for each in (worker, *worker.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.processes[1 + number].wait()

    def stop(self) -> None:
        """End it and wait."""
        for each in reversed(self.processes):
            each.terminate()
        for each in self.processes:
            each.wait()

    def _run(self, name: str, program: str, options: Sequence[str], *, hidden: Sequence[Path]) -> None:
        mounts = " && ".join(["true", *(shlex.join([*NOTHING_AT, str(each)]) for each in hidden)])
        command = [str(self.java.executable), "-Xmx256m", "-XX:+UseSerialGC", *BRIEFLY.split()]
        command += ["-cp", f"{SPARK_HOME}/jars/*", f"org.apache.spark.deploy.{program}"]
        command += ["--host", HOST, "--port", "0", "--webui-port", "0", *options]
        with self._log(name).open("wb") as log:
            started = subprocess.Popen(
                [*UNTIL_MY_END, *APART, "sh", "-c", f'{mounts} && exec "$@"', "sh", *command],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; the cluster is stopped after them
            )
        self.processes.append(started)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _said(self, name: str, pattern: re.Pattern[str]) -> str:
        found = pattern.search(self._log(name).read_text(errors="replace"))
        return found[found.re.groups] if found else ""

    def _until(self, name: str, met: Callable[[], Any]) -> None:
        """Wait until something is met, which the log of a process explains if it is not."""
        patiently = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda found: not found),
            stop=tenacity.stop_after_delay(TIMEOUT_SECONDS),
            wait=tenacity.wait_fixed(0.05),
        )
        with suppress(tenacity.RetryError):
            patiently(lambda: met() or any(each.poll() is not None for each in self.processes))
        if not met():
            tail = self._log(name).read_text(errors="replace").splitlines()[-8:]
            raise UnavailableError(
                f"The cluster in {self.folder} did not start. A log ends with:\n  " + "\n  ".join(tail)
            )
