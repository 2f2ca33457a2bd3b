"""The storage account behind a workspace: as much of Blob as snapshots, artifacts, logs and datastores use.

The store of this system is not here but in Azurite, which has all of Blob.
"""

import base64
import hashlib
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as Xml

from starlette.requests import Request
from starlette.responses import Response

from infra.azure_twin.azure_ml.state import now

KEY = base64.b64encode(b"the twin's storage key, no secret").decode()
XML = '<?xml version="1.0" encoding="utf-8"?>'
SAS = "sv=2019-07-07&sr=b&sp=rcwd&sig=azure-twin"


class Blobs:
    """Blobs as files of a folder: ``<account>/<container>/<blob>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blocks: dict[str, dict[str, bytes]] = {}

    def path(self, blob: str) -> Path:
        """The file of a blob.

        Raises:
            ValueError: the name leads out of the folder.
        """
        file = (self.folder / blob).resolve()
        if not file.is_relative_to(self.folder.resolve()):
            raise ValueError(f"{blob!r} is no name of a blob")
        return file

    def url(self, blob: str) -> str:
        """A blob's address with a shared access signature."""
        account, _, rest = blob.partition("/")
        return f"https://{account}.blob.core.windows.net/{quote(rest)}?{SAS}"

    @staticmethod
    def named(url: str) -> str:
        """The blob of an address that ``url`` made."""
        parsed = urlsplit(url)
        return f"{parsed.netloc.partition('.')[0]}{unquote(parsed.path)}"

    async def answer(self, request: Request) -> Response:
        """Answer a request to ``<account>.blob.core.windows.net``."""
        if "sig" not in request.query_params and "authorization" not in request.headers:
            return _error(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        account = request.headers["host"].partition(".")[0]
        name = f"{account}{request.url.path}"
        operation = request.query_params.get("comp", "")
        if request.query_params.get("restype") == "container":
            return self._list(name, request) if operation == "list" else Response(status_code=201, headers=_headers())
        body = await request.body()
        match request.method, operation:
            case "PUT", "block":
                self._blocks.setdefault(name, {})[request.query_params["blockid"]] = body
                return Response(status_code=201, headers=_headers(body))
            case "PUT", "blocklist":
                names = [each.text or "" for each in Xml.fromstring(body)]  # noqa: S314 - A test's own request.
                blocks = self._blocks.pop(name, {})
                return self._write(name, b"".join(blocks[each] for each in names))
            case "PUT", "":
                return self._write(name, body, request.headers.get("if-none-match") == "*")
            case "DELETE", "":
                self.path(name).unlink(missing_ok=True)
                return Response(status_code=202, headers=_headers())
            case "GET" | "HEAD", "" | "metadata":
                return self._read(name, request)
        return _error(400, "UnsupportedHttpVerb", f"The twin has no {request.method} with comp={operation}.")

    def _write(self, name: str, data: bytes, absent: bool = False) -> Response:
        file = self.path(name)
        if absent and file.is_file():
            return _error(409, "BlobAlreadyExists", "The specified blob already exists.")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return Response(status_code=201, headers=_headers(data))

    def _read(self, name: str, request: Request) -> Response:
        file = self.path(name)
        if not file.is_file():
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        data = file.read_bytes()
        headers = _headers(data) | {"x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes"}
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(len(data))})
        wanted = request.headers.get("x-ms-range") or request.headers.get("range") or ""
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not first:
            return Response(data, headers=headers)
        start, end = int(first), min(int(last) if last else len(data) - 1, len(data) - 1)
        if start >= len(data):
            return _error(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        return Response(data[start : end + 1], 206, headers)

    def _list(self, container: str, request: Request) -> Response:
        root = self.path(container)
        prefix = request.query_params.get("prefix", "")
        names = sorted(str(each.relative_to(root)) for each in root.rglob("*") if each.is_file())
        blobs = "".join(
            f"<Blob><Name>{name}</Name><Properties><Content-Length>{(root / name).stat().st_size}</Content-Length>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in names
            if name.startswith(prefix)
        )
        text = f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>"
        return Response(XML + text, media_type="application/xml", headers=_headers())


def _headers(data: bytes | None = None) -> dict[str, str]:
    headers = {"x-ms-version": "2019-07-07", "x-ms-request-id": now(), "Last-Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}
    if data is not None:
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        headers |= {"ETag": f'"{digest.hex()}"', "Content-MD5": base64.b64encode(digest).decode()}
        headers["x-ms-request-server-encrypted"] = "true"
    return headers


def _error(status: int, code: str, message: str) -> Response:
    text = f"{XML}<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(text, status, {"x-ms-error-code": code} | _headers(), media_type="application/xml")
