"""A real S3 server on this machine: ministack, of which nothing but S3 and the keys to it is started.

It checks signatures and decides every conditional put alone: one thread answers all requests. It lives as long as the
`Server` that started it, even if that is killed: this module, run as a program, ends when its standard input does. A
put is in its folder before it is answered, so a server that is killed comes back with its objects.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import httpx
import tenacity

from dualpath.errors import UnavailableError
from dualpath.runtime.kafka import HOST
from dualpath.runtime.service import Service, ended

CHECKOUT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 60.0
BUCKET = "dualpath"
REGION = "us-east-1"
USER = "tests"
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
# A server that does not check who asks still reads here which service is meant.
IAM = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/iam/aws4_request, SignedHeaders=, Signature="}


class Server(Service):
    """The server whose objects are in `folder`; `with Server(folder) as server` starts and stops it.

    Its address and its only key are the same each time, and it has one bucket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._told['port']}"

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to know of it, whatever its client: that of obstore, delta-rs, Arrow or Java."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self._told["key"],
            "AWS_SECRET_ACCESS_KEY": self._told["secret"],
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def fresh(self) -> str:
        """The URL of a place that nobody else has, "s3://BUCKET/PLACE"."""
        return f"s3://{BUCKET}/{uuid4().hex}"

    @property
    def _told(self) -> dict[str, str]:
        told: dict[str, str] = json.loads(self._settings.read_text())
        return told

    @property
    def _settings(self) -> Path:
        return self.folder / "server.json"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            UnavailableError: it does not start; carries the end of its log.
        """
        if not self._settings.exists():
            self._prepare()
        self._run(self._told["port"], checked=True)

    def stop(self) -> None:
        """End it and wait; nothing happens if it does not run."""
        if self.process is None:
            return
        assert self.process.stdin is not None, "it is a pipe"
        self.process.stdin.close()
        ended(self.process, TIMEOUT_SECONDS)
        self.process = None

    def _prepare(self) -> None:
        """Give a new folder its bucket and its key; a server keeps keys only when it ends by itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        self._run(str(port), checked=False)
        url = f"http://{HOST}:{port}"
        httpx.put(f"{url}/{BUCKET}").raise_for_status()
        _ask(url, Action="CreateUser")
        _ask(url, Action="PutUserPolicy", PolicyName="all", PolicyDocument=json.dumps(ALL))
        made = ElementTree.fromstring(_ask(url, Action="CreateAccessKey"))
        key, secret = (made.findtext(f".//{{*}}{name}") for name in ("AccessKeyId", "SecretAccessKey"))
        self.stop()
        # The final name comes last: a folder that has it is prepared.
        draft = self._settings.with_suffix(".draft")
        draft.write_text(json.dumps({"port": str(port), "key": key, "secret": secret}))
        draft.replace(self._settings)

    def _run(self, port: str, *, checked: bool) -> None:
        # The client's variables would name a key that may do everything, whatever its secret.
        own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        settings = {
            "AUTH": str(checked).lower(),
            "BIND_HOST": HOST,
            "GATEWAY_PORT": port,
            "LOG_LEVEL": "WARNING",
            "PERSIST_STATE": "1",
            "S3_DATA_DIR": str(self.folder / "objects"),
            "S3_PERSIST": "1",
            "SERVICES": "s3,iam",
            "STATE_DIR": str(self.folder / "keys"),
            "TMPDIR": str(self.folder),
        }
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=CHECKOUT,
                env=own | settings,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; the server is stopped after them
            )
        if not _comes_up(self.process, f"http://{HOST}:{port}/_ministack/health"):
            self.stop()
            tail = self._log.read_text(errors="replace").splitlines()[-8:]
            raise UnavailableError(
                f"The S3 server for {self.folder} did not start on port {port}. Its log ends with:\n  "
                + "\n  ".join(tail)
            )


def _ask(url: str, **question: str) -> str:
    asked = {"UserName": USER, "Version": "2010-05-08", **question}
    return httpx.post(url, data=asked, headers=IAM).raise_for_status().text


def _comes_up(process: subprocess.Popen[bytes], url: str) -> bool:
    """Wait until it answers; False if it has ended instead, or takes too long."""

    def answers() -> bool:
        try:
            return httpx.get(url).is_success
        except httpx.TransportError:
            return False

    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda met: not met),
        stop=tenacity.stop_after_delay(TIMEOUT_SECONDS),
        wait=tenacity.wait_fixed(0.02),
        retry_error_callback=lambda state: False,
    )
    return patiently(lambda: process.poll() is not None or answers()) and process.poll() is None


def main() -> None:
    """Answer until standard input ends."""
    from ministack.app import main as serve

    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    serve()


if __name__ == "__main__":
    main()
