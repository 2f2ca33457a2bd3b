"""The service does what its own description says: nothing that schemathesis sends finds otherwise."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

KEY = "a-key-for-tests"
EXAMPLES = 40


# Hypothesis compares the state of `random` around a draw: any other thread of this process that uses it is blamed, too.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("bundle", ["iris", "mixed"])
def test_nothing_contradicts_the_description(
    publish: Any, serve: Any, bundle: str, mode: GenerationMode, request: pytest.FixtureRequest
) -> None:
    publish(1, request.getfixturevalue(bundle))
    service = serve(bundle)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await service.app(scope, receive, send)

    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode == GenerationMode.NEGATIVE and operation.method == "get":
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"})

        ask()
    assert asked > EXAMPLES
