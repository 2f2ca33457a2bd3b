"""Bundles in the store, under ``<model>/bundles/<digest>/``; whole or not there."""

from contextlib import suppress
from typing import Protocol, TypeVar

import msgspec

from mlops.adapters.store import Conflict, NotFound, Store
from mlops.core.bundle import MANIFEST, Manifest, build_manifest, sha256

T = TypeVar("T")


class Reader(Protocol):
    """What bundles are read from: a store, or something that reads one."""

    def get(self, key: str) -> bytes:
        """Read an object. Raises ``NotFound``."""


class BundleError(Exception):
    """A bundle is absent, incomplete or not what its digest says."""


def save(store: Store, model: str, snapshot: str, files: dict[str, bytes]) -> str:
    """Store a bundle and return its digest; storing the same again changes nothing."""
    manifest = build_manifest(model, snapshot, files)
    folder = f"{model}/bundles/{manifest.digest}"
    for name, data in files.items():
        store.put(f"{folder}/{name}", data)
    with suppress(Conflict):  # The manifest comes last: what has one is complete.
        store.put_if_absent(f"{folder}/{MANIFEST}", manifest.encode())
    return manifest.digest


def manifest(store: Reader, model: str, digest: str) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        BundleError: it is absent, or is not the one that the digest names.
    """
    key = f"{model}/bundles/{digest}/{MANIFEST}"
    try:
        data = store.get(key)
    except NotFound:
        raise BundleError(f"bundle {digest} of {model} is not in the store ({key})") from None
    if sha256(data) != digest:
        raise BundleError(f"{key}: its content is not what the digest names")
    return msgspec.json.decode(data, type=Manifest)


def load(store: Reader, model: str, digest: str, *names: str) -> dict[str, bytes]:
    """Read files of a bundle (all of them unless named), each checked against its digest.

    Raises:
        BundleError: the bundle or a file is absent or altered.
    """
    listed = manifest(store, model, digest).files
    files = {}
    for name in names or listed:
        if name not in listed:
            raise BundleError(f"bundle {digest} of {model} has no file {name!r}")
        key = f"{model}/bundles/{digest}/{name}"
        try:
            files[name] = store.get(key)
        except NotFound:
            raise BundleError(f"{key} is missing from the store") from None
        if sha256(files[name]) != listed[name]:
            raise BundleError(f"{key}: altered since it was stored (SHA-256 differs from the manifest)")
    return files


def read(store: Reader, model: str, digest: str, name: str) -> bytes:
    """Read one file of a bundle, checked against its digest.

    Raises:
        BundleError: as ``load``.
    """
    return load(store, model, digest, name)[name]


def decode(store: Reader, model: str, digest: str, name: str, kind: type[T]) -> T:
    """Read a JSON file of a bundle as its type.

    Raises:
        BundleError: as ``load``.
        msgspec.DecodeError: the file is no JSON, or not of this type.
    """
    return msgspec.json.decode(read(store, model, digest, name), type=kind)
