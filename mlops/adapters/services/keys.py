"""The keys of scoring services: in a file of this installation, and in the vault when one is set."""

import os
import secrets
from pathlib import Path

from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import ServiceError, key_file
from mlops.settings import Settings


def find_key(settings: Settings, model: str, environment: str) -> Path | None:
    """The file with a service's keys, written anew when the vault holds others; none before the service's first start.

    Raises:
        ServiceError: the vault cannot be read.
    """
    file = key_file(settings, model, environment)
    held = _read_vault(settings, _vault_name(model, environment))
    return _refresh(file, held) if held else file if file.exists() else None


def key_of(settings: Settings, model: str, environment: str) -> str:
    """The first of a service's keys.

    Raises:
        ServiceError: there is none, or the vault cannot be read.
    """
    if file := find_key(settings, model, environment):
        return read_key(file)
    raise ServiceError(
        f"no key of the scoring service {model} {environment} is in {key_file(settings, model, environment)}"
        f"{f' or in {settings.azure_key_vault}' if settings.azure_key_vault else ''}; its first start makes one"
    )


def ensure_key(settings: Settings, model: str, environment: str) -> Path:
    """The file with a service's keys; a key is made where there is none.

    Raises:
        ServiceError: the vault cannot be used.
    """
    file, name = key_file(settings, model, environment), _vault_name(model, environment)
    if held := _read_vault(settings, name):
        return _refresh(file, held)
    if file.exists() and not settings.azure_key_vault:
        return file  # Perhaps mounted, where nothing can be written.
    text = file.read_text("utf-8").strip() if file.exists() else secrets.token_urlsafe(32)
    if settings.azure_key_vault:
        _write_vault(settings, name, text)
        # Of two that make a key at the same time, both take the one written last.
        text = _read_vault(settings, name) or text
    return _refresh(file, text)


def write_private(file: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    draft.replace(file)


def _refresh(file: Path, text: str) -> Path:
    """Let the file hold these keys; always in one form, since its bytes are in a group's digest."""
    text = f"{text.strip()}\n"
    if not file.exists() or file.read_text("utf-8") != text:
        write_private(file, text)
    return file


def _vault_name(model: str, environment: str) -> str:
    return f"scoring-{model}-{environment}"


def _read_vault(settings: Settings, name: str) -> str:
    """A secret of the vault; empty when it has none, or no vault is set."""
    if not settings.azure_key_vault:
        return ""
    from mlops.adapters.azure_vault import Vault, VaultError

    try:
        return Vault(settings).get(name)
    except VaultError as error:
        raise ServiceError(str(error)) from None


def _write_vault(settings: Settings, name: str, value: str) -> None:
    from mlops.adapters.azure_vault import Vault, VaultError

    try:
        Vault(settings).set(name, value)
    except VaultError as error:
        raise ServiceError(str(error)) from None
