"""The embedded PostgreSQL's files and addresses, without a server."""

import os
import pwd
import subprocess
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest

from deployments.stack import postgres
from deployments.stack.processes import ComponentError
from mlops.settings import Settings


def test_socket_lies_with_the_data_unless_the_path_is_too_long(tmp_path: Path) -> None:
    short, deep = Path("/srv/postgres"), tmp_path / ("d" * 100) / "postgres"

    assert postgres.socket_dir(short) == short
    assert postgres.socket_dir(deep) != postgres.socket_dir(deep / "other")
    assert len(os.fsencode(postgres.socket_dir(deep) / postgres.SOCKET)) <= postgres.LONGEST_SOCKET


@pytest.mark.parametrize(
    ("database", "driver", "expected"),
    [
        ("", "asyncpg", "postgresql+asyncpg://postgres@/mlflow?host=/srv/a%20b/postgres"),
        ("postgresql://ann@db:6432", "psycopg2", "postgresql+psycopg2://ann@db:6432/mlflow"),
        ("postgresql://ann@db:6432/other?sslmode=require", "", "postgresql://ann@db:6432/mlflow?sslmode=require"),
    ],
)
def test_database_url(database: str, driver: str, expected: str) -> None:
    settings = Settings(state_dir=Path("/srv/a b"), database=database)

    assert postgres.url(settings, "mlflow", driver) == expected


def test_stale_lock_files_with_a_recycled_pid_are_removed(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("18")
    locks = [data / "postmaster.pid", postgres.socket_dir(data) / f"{postgres.SOCKET}.lock"]
    locks[1].parent.mkdir(exist_ok=True)
    for lock in locks:
        lock.write_text(f"{os.getpid()}\n{data}\n")

    postgres.prepare(data, None)

    assert not [lock for lock in locks if lock.exists()]


def test_path_to_the_data_is_opened_for_walking_not_for_reading(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    home.chmod(0o700)

    postgres._open_path(home / "state" / "postgres")

    assert home.stat().st_mode & 0o777 == 0o701


def test_socket_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "socket"
    folder.mkdir()
    uid = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)

    with pytest.raises(ComponentError, match="belongs to another user"):
        postgres._make_private(folder, None)


@pytest.mark.parametrize("made", [True, False])
def test_a_user_that_another_stack_makes_at_the_same_time_is_used(monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    asked = iter([False, False, made, made])

    def known(user: str) -> None:
        if not next(asked, made):
            raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwnam", known)
    refused = subprocess.CalledProcessError(9, "useradd", stderr="user 'somebody' already exists")
    monkeypatch.setattr(subprocess, "run", Mock(side_effect=refused))
    monkeypatch.setattr(postgres, "USER_SECONDS", 0.2)
    with nullcontext() if made else pytest.raises(ComponentError, match=r"cannot be created \(user .somebody. already"):
        postgres._ensure_user("somebody")
