"""Users' own expectations: `expectations/{source}.json` in the feature repo, a suite of Great Expectations."""

import json
from collections.abc import Iterable
from pathlib import Path

from great_expectations.core.expectation_suite import expectationSuiteSchema
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from dualpath.errors import InputError
from dualpath.jobs.gate_suite import REMEDY

FOLDER = "expectations"


def own_expectations(repo: Path, source: str, sources: Iterable[str]) -> list[Expectation]:
    """The expectations that a repo has of a source's days beside the generated ones; none without a file.

    A file is `json.dumps(suite.to_json_dict())` of a `great_expectations.ExpectationSuite`; its expectations see the
    columns that `dualpath.jobs.gate_suite.suite` names. Raises `InputError` for a file that cannot be read so, and for
    one that is named like none of the repo's `sources`.
    """
    folder = repo / FOLDER
    names = [f"{each}.json" for each in sources]
    for file in sorted(folder.glob("*")):
        if file.name not in names and not file.name.startswith("."):
            raise InputError(f"{file} belongs to no source; call it {' or '.join(names)}, or move it away.")
    file = folder / f"{source}.json"
    if not file.exists():
        return []
    try:
        found = expectationSuiteSchema.load(json.loads(file.read_text()))["expectations"]
        return [_expectation(each, file) for each in found]
    except Exception as error:  # Great Expectations raises classes of its own, of Marshmallow and of Pydantic
        said = " ".join((str(error) or type(error).__name__).split())
        raise InputError(
            f"{file} is no suite of Great Expectations: {said}; write it as json.dumps(suite.to_json_dict()) does."
        ) from None


def _expectation(plain: ExpectationConfiguration | dict, file: Path) -> Expectation:
    config = plain if isinstance(plain, ExpectationConfiguration) else ExpectationConfiguration(**plain)
    config.meta = {**(config.meta or {}), REMEDY: f"repair the producer, or change {FOLDER}/{file.name}"}
    return config.to_domain_obj()
