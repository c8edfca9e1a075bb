"""Services on this machine that the program which starts them also stops."""

import subprocess
from abc import ABC, abstractmethod
from typing import Self


class Service(ABC):
    """`with` starts it, and stops it after the block, also if it does not start."""

    @abstractmethod
    def start(self) -> object:
        """Start it and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """End it and wait; nothing happens if it does not run."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def ended(process: subprocess.Popen[bytes], within: float) -> None:
    """Wait for the end of a process that was told to end; kill it if it takes longer than so many seconds."""
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
