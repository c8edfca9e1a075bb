"""What a repo's `ranking.yaml` declares: how to rank, by which policies, and how an experiment shares readers out."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, ValidationError, model_validator

from dualpath.errors import InputError
from dualpath.serving import policy
from dualpath.serving.context import Context
from dualpath.serving.experiment import Experiment

FILE = "ranking.yaml"


class Ranking(BaseModel):
    """`POST /rank` and the loop behind it.

    Features are named `view:feature`. `outcome` is one over a sliding window, the attribution window, of an entity by
    `decision_id`; it is a reward if it is not 0. Clicks count that arrive within `grace_seconds` after the window. A
    decision is taken to be settled after `settle_seconds`. `policies` are by the names of variants; `default` is for
    readers outside of the experiment. `topic` is Kafka's, for decisions. `simulation` is a file, relative to the repo,
    of what a simulation alone knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    decisions: str = "decisions"
    outcome: str
    interest: str
    activity: str
    category: str
    grace_seconds: NonNegativeFloat = 300
    settle_seconds: PositiveFloat = 900
    budget_ms: PositiveFloat = 50
    context: Context
    policies: dict[str, policy.Settings]
    experiment: Experiment
    default: str
    topic: str = "decisions"
    simulation: str | None = None

    @model_validator(mode="after")
    def _variants_have_policies(self) -> "Ranking":
        if missing := {*self.experiment.variants, self.default} - set(self.policies):
            raise ValueError(f"there is no policy {', '.join(sorted(missing))}; declare it under policies.")
        return self

    def assign(self, user_id: str) -> str:
        """The policy that a reader gets: that of the experiment's variant, or the default outside of it."""
        return self.experiment.assign(user_id) or self.default

    @property
    def features(self) -> tuple[str, ...]:
        """Every feature of a reader or an article that an answer needs."""
        return tuple(dict.fromkeys((*self.context.features, self.interest, self.activity, self.category)))


def read(folder: Path) -> Ranking | None:
    """The declaration of a feature repo; None of a repo that ranks nothing.

    Raises `InputError` that names the file and the member.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        return Ranking.model_validate(yaml.safe_load(file.read_text()))
    except yaml.YAMLError as error:
        raise InputError(f"{file}: this is not YAML ({error}); correct it.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{file}: {where}: {first['msg']}; correct it.") from None
