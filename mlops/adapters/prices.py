"""Reads the list of prices."""

from pathlib import Path

import msgspec
import yaml

from mlops.core.reaping import PriceList


class PriceError(ValueError):
    """The list of prices cannot be used."""


def read_prices(file: Path) -> PriceList:
    """Read ``infra/prices.yaml``.

    Raises:
        PriceError: it is missing, or a field has another form; the message names both.
    """
    try:
        return msgspec.convert(yaml.safe_load(file.read_text("utf-8")), PriceList, strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise PriceError(f"{file} is no list of prices: {error}") from None
