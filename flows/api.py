"""The Prefect server of the settings, for processes that no worker told where it is."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlops.settings import Settings


@contextmanager
def prefect_api(settings: Settings) -> Iterator[None]:
    """Let Prefect's clients ask the server of the settings, signed in where that asks for a user and password.

    For a server elsewhere (``prefect_url``) a sign-in that Prefect knows already, by ``PREFECT_API_AUTH_STRING``,
    ``PREFECT_API_KEY`` or its profile, goes before.

    Raises:
        mlops.adapters.sign_in.SignInError: the sign-in cannot be read.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, temporary_settings

    from mlops.adapters.sign_in import servers_sign_in

    told = {PREFECT_API_URL: settings.prefect_api}
    known = settings.prefect_url and (PREFECT_API_AUTH_STRING.value() or PREFECT_API_KEY.value())
    if not known and (sign_in := servers_sign_in(settings)):
        told[PREFECT_API_AUTH_STRING] = sign_in.text
    with temporary_settings(told):
        yield


def auth_string() -> str:
    """The ``user:password`` that Prefect's clients use now; empty when they use none."""
    from prefect.settings import PREFECT_API_AUTH_STRING

    return PREFECT_API_AUTH_STRING.value() or ""
