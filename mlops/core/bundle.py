"""The bundle: what one training run produced, named by the digest of its manifest."""

import hashlib

import msgspec

from mlops.core.schema import Schema

MANIFEST = "manifest.json"
LINEAGE = "lineage.json"


class Golden(msgspec.Struct, frozen=True):
    """A record with the probabilities that the served form must answer."""

    record: dict[str, str | float | int | None]
    probabilities: tuple[float, ...]


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """``model.json``: all that the scoring service must know besides the model itself."""

    model: str
    data: Schema
    format: str
    """``onnx`` or ``joblib``: the file ``model.<format>`` is the one that serves."""
    layout: str
    """ONNX inputs: ``matrix`` (one float tensor ``features``) or ``columns`` (one tensor each)."""
    golden: tuple[Golden, ...] = ()


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """``lineage.json``: which rows of its snapshot a bundle was trained on, so that its holdout is found again."""

    rival: str
    """The training set that won; ``sliding window`` where there was no other."""
    onset: str = ""
    """Where the alarm began that it answers, in the model's clock (ISO 8601); empty: it answers none."""
    reason: str = ""
    """Why this rival won."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The files of a bundle, each with its SHA-256; the digest of this is the bundle's name."""

    format: int = 1
    model: str
    snapshot: str
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical manifest."""
        return hashlib.sha256(self.encode()).hexdigest()

    def encode(self) -> bytes:
        """The canonical JSON form, which is what is stored and hashed."""
        return msgspec.json.encode(self, order="deterministic")


def build_manifest(model: str, snapshot: str, files: dict[str, bytes]) -> Manifest:
    """Describe files by their digests."""
    return Manifest(model=model, snapshot=snapshot, files={name: sha256(data) for name, data in sorted(files.items())})


def sha256(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
