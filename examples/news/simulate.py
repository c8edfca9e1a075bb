"""Readers, articles and clicks that come from nowhere, for a newsroom that has none yet.

Each reader has a taste, hidden from the application: how likely a click is for each section. Tastes change the odds of
a click; so do an article's own appeal and its age. The simulation alone knows the true odds, so it alone can say how
many clicks a choice has missed against the best one: the regret.
"""

import heapq
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

SECTIONS = ("politics", "sport", "science", "culture", "business", "travel")
SHOWN = 5
CANDIDATES = 20
HALF_LIFE = 600.0
"""Seconds after which an article draws half the clicks."""
POINTS = 100
"""Decisions between two points of the regret."""


class Send(Protocol):
    """Sends an event to a topic, keyed by an entity."""

    def __call__(self, topic: str, event: Mapping[str, Any], key: str) -> None: ...


@dataclass(frozen=True)
class Article:
    """An article: its section, when it appeared, and how much it draws by itself, 0 to 1."""

    article_id: str
    category: str
    published: float
    appeal: float


@dataclass(frozen=True)
class Reader:
    """A reader: a device, and how much each section draws, 0 to 1."""

    user_id: str
    device: str
    taste: Mapping[str, float]


@dataclass
class Newsroom:
    """The simulated world. `rank` asks the application, `send` sends events, `clock` gives seconds since 1970."""

    rank: Callable[[dict[str, Any]], Mapping[str, Any] | None]
    send: Send
    clock: Callable[[], float] = time.time
    seed: int = 1
    articles: dict[str, Article] = field(default_factory=dict)
    regret: dict[str, list[float]] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.numbers, self.due = count(1), list[tuple[float, int, str, dict[str, Any]]]()
        self.readers: list[Reader] = []
        self.missed: Counter[str] = Counter()
        self.shift = 0
        self.run = f"{int(self.clock()):x}"

    def publish(self) -> None:
        """An article appears."""
        number = next(self.numbers)
        section = SECTIONS[self.draw.randrange(len(SECTIONS))]
        article = Article(f"{self.run}-a{number}", section, self.clock(), self.draw.random())
        self.articles[article.article_id] = article
        event = {"article_id": article.article_id, "category": section, "event_time": iso(article.published)}
        self.send("articles", event, article.article_id)

    def reader(self) -> Reader:
        """Somebody who comes: mostly one who was here lately."""
        if self.readers and self.draw.random() < 0.9:
            return self.readers[-1 - min(int(self.draw.expovariate(1 / 20)), len(self.readers) - 1)]
        first, second = self.draw.sample(SECTIONS, 2)
        taste = dict.fromkeys(SECTIONS, 0.05) | {first: 1.0, second: 0.5}
        device = self.draw.choice(("mobile", "desktop"))
        self.readers.append(Reader(f"{self.run}-r{len(self.readers):05d}", device, taste))
        return self.readers[-1]

    def odds(self, reader: Reader, article: Article) -> float:
        """The true probability that a reader opens an article that comes first."""
        section = SECTIONS[(SECTIONS.index(article.category) + self.shift) % len(SECTIONS)]
        age = 2 ** (-(self.clock() - article.published) / HALF_LIFE)
        return 0.02 + 0.9 * reader.taste[section] * (0.4 + 0.6 * article.appeal) * (0.3 + 0.7 * age)

    def visit(self) -> None:
        """A reader asks for a feed, sees its first articles, and may open some of them a little later."""
        reader = self.reader()
        newest = [*self.articles.values()][-4 * CANDIDATES :]
        candidates = self.draw.sample(newest, min(CANDIDATES, len(newest)))
        number = next(self.numbers)
        asked = {"request_id": f"{self.run}-{number}", "user_id": reader.user_id, "device": reader.device}
        answer = self.rank(asked | {"candidates": [article.article_id for article in candidates]})
        if answer is None:
            self.made["unanswered"] += 1
            return
        shown = [self.articles[each["article_id"]] for each in answer["ranking"][:SHOWN]]
        if not answer["degraded"]:
            best = max(self.odds(reader, article) for article in candidates)
            self._note(answer["variant"], best - self.odds(reader, shown[0]))
        for position, article in enumerate(shown, start=1):
            event = {"user_id": reader.user_id, "article_id": article.article_id, "decision_id": answer["decision_id"]}
            self._later(0.0, "impressions", event)
            if self.draw.random() < self.odds(reader, article) / position:
                click = event | {"category": article.category, "position": position}
                self._later(self.draw.expovariate(1 / 2.0), "clicks", click)

    def _note(self, variant: str, missed: float) -> None:
        """Both lines have a point for as many decisions of their own."""
        self.made[variant] += 1
        self.missed[variant] += missed
        if self.made[variant] % POINTS == 0:
            self.regret.setdefault(variant, []).append(round(self.missed[variant], 3))

    def _later(self, seconds: float, topic: str, event: dict[str, Any]) -> None:
        heapq.heappush(self.due, (self.clock() + seconds, next(self.numbers), topic, event))

    def happen(self) -> None:
        """Send the events that are due."""
        while self.due and self.due[0][0] <= self.clock():
            at, number, topic, event = heapq.heappop(self.due)
            self.send(topic, event | {"event_id": f"{self.run}-{number}", "event_time": iso(at)}, event["user_id"])

    def report(self, file: Path) -> None:
        """Write what only the simulation knows, for the live page."""
        points = max((len(each) for each in self.regret.values()), default=0)
        known = {"decisions": [POINTS * (n + 1) for n in range(points)], "regret": self.regret}
        staged = file.with_suffix(".draft")
        staged.write_text(json.dumps(known))
        staged.replace(file)


def iso(seconds: float) -> str:
    """An instant as ISO-8601 text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def run(newsroom: Newsroom, *, seconds: float, rate: float, file: Path, wait: Callable[[float], None]) -> None:
    """Live for some time: `rate` visits a second, an article every ten seconds, forty to begin with."""
    for _ in range(40):
        newsroom.publish()
    began = newsroom.clock()
    visits, articles, reports = 0, 0, 0
    while (passed := newsroom.clock() - began) < seconds:
        if visits < passed * rate:
            newsroom.visit()
            visits += 1
        if articles < math.floor(passed / 10):
            newsroom.publish()
            articles += 1
        newsroom.happen()
        if reports < math.floor(passed):
            newsroom.report(file)
            reports = math.floor(passed)
        wait(max(0.0, min(visits / rate - passed, 0.05)))
