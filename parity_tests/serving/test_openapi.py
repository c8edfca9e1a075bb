"""The application does what its own description says, whatever a caller sends."""

import json
from collections import Counter
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dualpath.repo import Repo
from dualpath.serving.app import create_app
from parity_tests.serving.asking import HEADERS, SETTINGS, ask

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.mark.slow
def test_no_request_makes_the_server_fail_or_answer_otherwise_than_described(shop: Repo) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", create_app(SETTINGS, shop.store))
    seen: Counter[tuple[str, int]] = Counter()
    for operation in [found.ok() for found in described.get_all_operations()]:
        right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @settings(
            max_examples=200 if operation.method == "post" else 3,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(right | wrong)
        def ask_anything(case: Any) -> None:
            response = case.call(headers=HEADERS)
            case.validate_response(response, checks=CHECKS)
            seen[case.path, response.status_code] += 1

        ask_anything()
    assert {path for path, _ in seen} == {"/features", "/livez", "/readyz", "/metrics"}
    assert seen["/features", 422] > 50


def test_the_examples_of_the_description_are_answered(client: TestClient, shop: Repo) -> None:
    described = client.get("/openapi.json").json()
    content = described["paths"]["/features"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        answer = ask(client, example["value"])
        assert len(answer["results"]["user_id"]) == 2
    [shown] = described["components"]["schemas"]["Answer"]["examples"]
    first = ask(client, content["examples"]["features"]["value"])
    assert shown.keys() == first.keys() and shown["metadata"].keys() == first["metadata"].keys()
    assert shown["results"].keys() == first["results"].keys()  # the description is sorted
    assert shown["statuses"].keys() == first["statuses"].keys()


def test_the_description_names_the_key_and_every_refusal(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    post = described["paths"]["/features"]["post"]
    assert post["security"] and described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert {*post["responses"]} == {"200", "401", "403", "404", "413", "422", "429", "503"}
    for status, response in post["responses"].items():
        name = "Answer" if status == "200" else "ErrorBody"
        assert json.dumps(response["content"]["application/json"]["schema"]).endswith(f'/{name}"}}')
