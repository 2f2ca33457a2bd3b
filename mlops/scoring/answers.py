"""The JSON of answers, put together from parts that are encoded once for each bundle."""

from collections.abc import Callable, Sequence
from itertools import starmap
from typing import Any

import msgspec
import numpy.typing as npt

from mlops.adapters.arrow_arrays import Coded
from mlops.core.schema import Schema
from mlops.core.serving import Served

_encode = msgspec.json.Encoder().encode


class Answers:
    """Writes the answers of one bundle; request ids must not need escapes in JSON."""

    def __init__(self, name: str, served: Served, schema: Schema) -> None:
        classes = schema.target.classes
        self._outputs = [_encode({schema.output: label}) for label in classes]
        self._output_of = dict(zip(classes, self._outputs, strict=True))
        self._probabilities = _by_class(classes)
        model = {"name": name, "version": served.version, "digest": served.digest}
        self._end = b'","model":' + _encode(model) + b"}"

    def one(self, label: str, probabilities: Sequence[float], request_id: str) -> bytes:
        """Answer one record."""
        return b"".join(
            (
                b'{"output":',
                self._output_of[label],
                b',"probabilities":',
                _encode(self._probabilities(*probabilities)),
                b',"request_id":"',
                request_id.encode(),
                self._end,
            )
        )

    def many(self, labels: Coded, probabilities: npt.NDArray[Any], request_id: str) -> bytes:
        """Answer a list of records; labels are places among the classes, probabilities [records, classes]."""
        return b"".join(
            (
                b'{"output":[',
                b",".join([self._outputs[place] for place in labels.places.tolist()]),
                b'],"probabilities":',
                _encode(list(starmap(self._probabilities, probabilities.tolist()))),
                b',"request_id":"',
                request_id.encode(),
                self._end,
            )
        )


def _by_class(classes: Sequence[str]) -> Callable[..., object]:
    """What takes the probabilities of one record and is encoded as an object with the classes as its keys."""
    fields = {f"p{i}": label for i, label in enumerate(classes)}
    try:
        return msgspec.defstruct("Probabilities", [(name, float) for name in fields], rename=fields, gc=False)
    except ValueError:  # A name with a quote or a backslash cannot be a field's.
        return lambda *probabilities: dict(zip(classes, probabilities, strict=True))
