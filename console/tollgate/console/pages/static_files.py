"""The files of the pages: style sheet, scripts, icons. Their addresses hold a hash, so a browser may keep them."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from tollgate.console.access.callers import ANYONE
from tollgate.console.problems import Problem
from tollgate.console.room import Room

FOLDER: Final = Path(__file__).with_name("static")
MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent."""

    body: bytes
    packed: bytes
    """Compressed with gzip."""
    media_type: str


@cache
def files() -> dict[str, StaticFile]:
    """All files by their path below `static/`. Licences are not served."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and path.suffix in MEDIA_TYPES:
            body = path.read_bytes()
            name = path.relative_to(FOLDER).as_posix()
            found[name] = StaticFile(body, gzip.compress(body, 9, mtime=0), MEDIA_TYPES[path.suffix])
    return found


@cache
def digest() -> str:
    """One hash of all files. It stands before the path, so that scripts can import one another by relative path."""
    whole = hashlib.sha256()
    for name, file in files().items():
        whole.update(name.encode() + b"\0" + hashlib.sha256(file.body).digest())
    return whole.hexdigest()[:12]


def address(name: str) -> str:
    """The path at which a file is served. KeyError when there is no such file."""
    files()[name]
    return f"/static/{digest()}/{name}"


router = APIRouter()


@router.get("/static/{version}/{name:path}", dependencies=[Depends(ANYONE)])
async def send(request: Request, version: str, name: str) -> Response:
    """A file. Under another version's hash the present file is sent, but not to be kept."""
    file = files().get(name)
    if file is None:
        raise Problem(404, "not_found", "There is no such file.")
    headers = {"Cache-Control": FOREVER if version == digest() else "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.body, media_type=file.media_type, headers=headers)


ROOM: Final = Room("files", pages=router)
