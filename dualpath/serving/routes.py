"""`POST /rank`, `GET /interest/{user_id}`, `POST /replay` and `POST /evaluate`: decisions over HTTP."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dualpath.errors import InputError, NotFoundError
from dualpath.instants import iso
from dualpath.serving import replay
from dualpath.serving.access import allowed
from dualpath.serving.candidate import evaluated
from dualpath.serving.features import REFUSALS, JsonRoute
from dualpath.serving.policy import MOST_CANDIDATES, Policy, Settings, State
from dualpath.serving.rank import Answer, Asked
from dualpath.serving.service import Service


def _whole(text: str) -> str:
    """Ids are keys of events, which have no lone surrogates, no NUL and no empty text."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("an id has no NUL and no lone surrogate")
    return text


def _different(candidates: list[str]) -> list[str]:
    if len(set(candidates)) < len(candidates):
        twice = next(name for name in candidates if candidates.count(name) > 1)
        raise ValueError(f"candidate '{twice}' is there twice; name each once")
    return candidates


Id = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_whole)]
Degraded = Literal["features", "journal", "stale"]
UserId = Annotated[str, Path(min_length=1, max_length=256, examples=["r00001"]), AfterValidator(_whole)]


class RankRequest(BaseModel):
    """Who asks for an order of which articles. The same request gets the same decision again."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"request_id": "q1", "user_id": "r00001", "device": "mobile", "candidates": ["a1", "a2", "a3"]},
            ]
        },
    )
    request_id: Id = Field(description="The caller's own: whoever asks again gets the same answer for a day.")
    user_id: Id
    device: Id = Field(description="What the reader holds, such as `mobile`.")
    candidates: Annotated[list[Id], Field(min_length=1, max_length=MOST_CANDIDATES), AfterValidator(_different)]


class Place(BaseModel):
    """An article of the feed, and the reward that the policy expects of it."""

    article_id: str
    score: float


class RankAnswer(BaseModel):
    """The order, and everything by which it can be made again."""

    decision_id: str
    as_of: str = Field(description="The instant of all features, ISO-8601, UTC.")
    known: dict[str, tuple[str, ...]] = Field(description="What each view knew: a token for each row, or one for all.")
    policy: str = Field(description="The hash of the policy; empty if none was asked.")
    variant: str = Field(description="The reader's variant of the experiment.")
    degraded: Degraded | None = Field(
        description="`features`: Redis did not answer in time, and the candidates keep their order. `journal`: Kafka "
        "did not acknowledge the decision. `stale`: the stream is behind."
    )
    ranking: list[Place] = Field(description="Best first; only the first place explores.")


class InterestAnswer(BaseModel):
    """What a reader is interested in right now."""

    user_id: str
    as_of: str
    known: dict[str, tuple[str, ...]]
    interest: dict[str, float] = Field(description="Clicks by category, each worth half after the declared half-life.")
    clicks_5min: int | None
    degraded: Degraded | None


class ReplayRequest(BaseModel):
    """A decision to make again."""

    model_config = ConfigDict(extra="forbid")
    decision_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ReplayAnswer(BaseModel):
    """Whether the same bits came out."""

    decision_id: str
    same: bool
    differs: str | None = Field(description="The first part that differs: context, weights, scores or ranking.")
    chosen: str
    propensity: float


class EvaluateRequest(BaseModel):
    """A policy that could have decided: one that has learned nothing but its settings, or with what it has learned."""

    model_config = ConfigDict(extra="forbid")
    settings: Settings
    state: dict[str, Any] | None = Field(
        None, description="The `state` of a policy's JSON; by default it knows nothing."
    )


def _told(answer: Answer) -> dict[str, Any]:
    """An answer as `RankAnswer` describes it; FastAPI would check each place of its ranking again."""
    decision = answer.decision
    return {
        "decision_id": decision.decision_id,
        "as_of": iso(decision.decided_at),
        "known": decision.known,
        "policy": decision.policy,
        "variant": decision.variant,
        "degraded": answer.degraded or None,
        "ranking": [
            {"article_id": decision.candidates[place], "score": decision.scores[place]} for place in decision.ranking
        ],
    }


def router(service: Service) -> APIRouter:
    """The routes of decisions."""
    routes = APIRouter(route_class=JsonRoute, responses=REFUSALS, tags=["decisions"])

    @routes.post("/rank", response_model=RankAnswer, dependencies=[allowed("rank")])
    async def rank(request: RankRequest) -> Response:
        """Order candidates for a reader. What fails behind it makes the answer `degraded`, never an error."""
        asked = Asked(request.request_id, request.user_id, request.device, tuple(request.candidates))
        answer = await service.rank(asked)
        return Response(orjson.dumps(_told(answer)), media_type="application/json")

    @routes.get("/interest/{user_id}", response_model=InterestAnswer, dependencies=[allowed("rank")])
    async def interest(user_id: UserId) -> InterestAnswer:
        """A reader's decayed interest by category, and how often they clicked in five minutes."""
        found = await service.interest(user_id)
        return InterestAnswer(user_id=user_id, **found)

    @routes.post("/replay", response_model=ReplayAnswer, dependencies=[allowed("replay")])
    async def replayed(request: ReplayRequest) -> ReplayAnswer:
        """Make a decision again from the event log, and compare every bit."""
        made = await run_in_threadpool(replay.find, service.repo, service.ranking.decisions, request.decision_id)
        if made is None:
            raise NotFoundError(f"decision {request.decision_id} is not in the event log (yet).")
        if made.context is None:
            raise InputError(
                f"decision {made.decision_id} had no features, so its candidates kept their order and there is "
                "nothing to make again; ask about one that is not degraded."
            )
        found = await run_in_threadpool(replay.replay, service.repo, service.ranking, [made])
        differs = found.differing.get(made.decision_id)
        return ReplayAnswer(
            decision_id=made.decision_id,
            same=found.passed,
            differs=differs,
            chosen=made.candidates[made.chosen],
            propensity=made.propensity,
        )

    @routes.post("/evaluate", dependencies=[allowed("replay")])
    async def evaluate(request: EvaluateRequest) -> dict[str, Any]:
        """What a candidate policy would have earned on the decisions of the log, by four estimators."""
        names = service.ranking.context.names
        state = State.empty(len(names)) if request.state is None else State.from_dict(request.state)
        candidate = Policy(request.settings, names, state)

        def estimated() -> dict[str, Any]:
            made = replay.decisions(service.repo, service.ranking.decisions)
            return evaluated(service.repo, service.ranking, made, candidate, service.ranker.clock()).to_dict()

        return await run_in_threadpool(estimated)

    return routes
