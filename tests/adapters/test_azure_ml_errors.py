"""What the SDK raises becomes one error in Azure's words."""

import pytest
import requests
from azureml.exceptions import (
    AzureMLException,
    ComputeTargetException,
    ExperimentExecutionException,
    UserErrorException,
)

from mlops.adapters.azure_ml_errors import AzureMlError, explain, translated


def answered(status: int, body: bytes) -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response._content = status, body
    return requests.HTTPError("it failed", response=response)


@pytest.mark.parametrize(
    ("error", "text", "transient"),
    [
        (answered(503, b""), "it failed", True),
        (answered(429, b'{"error": {"code": "TooManyRequests", "message": "slow"}}'), "TooManyRequests: slow", True),
        (
            answered(403, b'{"error": {"code": "AuthorizationFailed", "message": "no"}}'),
            "AuthorizationFailed: no",
            False,
        ),
        (
            ComputeTargetException(
                "Received bad response\nResponse Code: 409\nHeaders: {'a': 'b'}\n"
                'Content: b\'{"error":{"code":"Quota","message":"too many"}}\''
            ),
            "Quota: too many",
            False,
        ),
        (
            ExperimentExecutionException('{"error_details": {"error": {"code": "UserError", "message": "there"}}}'),
            "UserError: there",
            False,
        ),
        (requests.ConnectionError("reset"), "reset", True),
    ],
)
def test_code_message_and_whether_it_may_pass(error: Exception, text: str, transient: bool) -> None:
    with pytest.raises(AzureMlError) as raised, translated("do it", AzureMLException):
        raise error
    assert str(raised.value) == f"do it: {text}"
    assert raised.value.transient is transient


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), translated("do it"):
        raise KeyError("a bug")


def test_an_exception_that_is_its_own_cause_is_explained() -> None:
    error = requests.RequestException("it failed")
    error.__cause__ = error
    assert explain(error) == "it failed"


def test_azures_words_go_before_the_guesses_that_the_sdk_raises_from_them() -> None:
    refused = answered(403, b'{"error": {"code": "UserError", "message": "The client may not write"}}')
    guess = UserErrorException("You may not login your azure service")
    guess.__cause__ = refused
    kinds = (UserErrorException,)
    with pytest.raises(AzureMlError, match=r"^submit: UserError: The client may not write$"):  # noqa: SIM117
        with translated("submit", *kinds):
            raise guess
