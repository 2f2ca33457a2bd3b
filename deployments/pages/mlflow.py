"""MLflow's server behind the sign-in: ``mlflow server --app-name mlops``, by MLflow's entry point for applications.

MLflow's own ``basic-auth`` keeps users in a database of its own, whose first password no restart changes: a password
that is changed in the vault would open nothing.
"""

from starlette.types import ASGIApp

from deployments.pages.guard import expected_sign_in, guarded


def create_app() -> ASGIApp:
    """Make the application.

    Raises:
        mlops.adapters.sign_in.SignInError: the environment holds no sign-in.
    """
    expected = expected_sign_in()
    from mlflow.server.fastapi_app import app

    return guarded(app, expected, "/health")
