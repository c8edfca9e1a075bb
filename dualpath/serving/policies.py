"""Where policies are: files by their hash, for replays, and in Redis each variant's present one, for applications."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from dualpath.errors import InputError, StateError
from dualpath.files.durable import write_atomically
from dualpath.files.places import Place
from dualpath.online import keys
from dualpath.online.connection import FAILED
from dualpath.repo import Repo
from dualpath.serving.policy import Policy, State
from dualpath.serving.ranking import Ranking

FOLDER = "policies"
UNUSABLE: tuple[type[Exception], ...] = (InputError, ValueError, *FAILED)


def folder(repo: Repo) -> Place:
    """Where a repo's policies are kept."""
    return repo.root / FOLDER


def publish(repo: Repo, redis: Any, variant: str, policy: Policy) -> None:
    """Make a policy the present one of a variant. Its file is there before anyone can choose by it."""
    file = folder(repo) / f"{policy.hash}.json"
    if not file.exists():
        write_atomically(file, policy.json)
    redis.set(keys.learned(repo.project, f"policy:{variant}"), policy.json)


def load(repo: Repo, name: str) -> Policy:
    """The policy of a hash; raises `StateError` if it is not there or is another one."""
    file = folder(repo) / f"{name}.json"
    if not file.exists():
        raise StateError(f"policy {name[:12]} is not in {folder(repo)}; bring its file back, or make the policy anew.")
    found = Policy.from_json(file.read_text())
    if found.hash != name:
        raise StateError(f"{file} holds policy {found.hash[:12]}; bring back the file that was written.")
    return found


def untaught(ranking: Ranking) -> dict[str, Policy]:
    """The policy of each variant that has learned nothing: what applications choose by until the learner publishes."""
    names = ranking.context.names
    return {v: Policy(settings, names, State.empty(len(names))) for v, settings in ranking.policies.items()}


class Policies:
    """The policies that an application chooses by, and the learner's report, as they were at the last refresh.

    Until the learner has published, and while Redis or what it holds cannot be used, the last good ones serve: at first
    those that have learned nothing.
    """

    def __init__(
        self,
        project: str,
        redis: Any,
        first: Mapping[str, Policy],
        *,
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`first` are the policies of each variant that have learned nothing. `clock` gives seconds since 1970."""
        self.project, self.redis, self.failed, self.clock = project, redis, failed, clock
        self.present = dict(first)
        self.report: dict[str, Any] = {}
        self.began = clock()

    def of(self, variant: str) -> Policy:
        """The present policy of a variant."""
        return self.present[variant]

    @property
    def age(self) -> float:
        """Seconds since the learner published; since the application started, if it has not."""
        return self.clock() - self.report.get("published_seconds", self.began)

    def refresh(self) -> None:
        """Take what is published now."""
        try:
            for variant, present in self.present.items():
                found = self._published(f"policy:{variant}")
                if found is not None and found != present.json:
                    self.present[variant] = self._agreeing(variant, Policy.from_json(found))
            if (report := self._published("report")) is not None:
                self.report = json.loads(report)
        except UNUSABLE as error:  # the last good policy serves, and a metric says why
            self.failed(error)

    def _published(self, what: str) -> str | None:
        found = self.redis.get(keys.learned(self.project, what))
        return None if found is None else str(found, "utf-8")

    def _agreeing(self, variant: str, policy: Policy) -> Policy:
        present = self.present[variant]
        if (policy.settings, policy.names) != (present.settings, present.names):
            raise InputError(
                f"the published policy of variant '{variant}' has other settings than this application; start both "
                "with the same ones."
            )
        return policy
