"""Partners upload large files in pieces, resume them, and read what became of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, cast

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, delete, get, head, patch, post
from litestar.params import FromPath, HeaderParameter
from litestar.response import Stream

from tanzhang.api.conditional import NOT_MODIFIED, check_if_match, names_tag, private_json
from tanzhang.api.documented import BINARY, UPLOAD, answered, operation_with, refused
from tanzhang.api.given import Now, TheCaller, TheHome
from tanzhang.api.paging import Cursor, Limit, size_of
from tanzhang.api.problems import problem_response
from tanzhang.api.routes.actions import FOR_REPORTS, form_of, partner_of
from tanzhang.api.taking_in import TakingIn
from tanzhang.api.waiting import in_thread
from tanzhang.core.errors import TanzhangError
from tanzhang.service import upload as service
from tanzhang.service.cursors import cursor_of, place_after
from tanzhang.stores.bodies import NDJSON_TYPE
from tanzhang.stores.storage import Place, open_binary

OFFSET_HEADER = "Upload-Offset"
PIECE_TYPE = "application/offset+octet-stream"
_AT_ONCE = 1 << 20  # bytes that are written in one go
_QUICK_S = 2.0  # for so long a finished upload is waited for
Offset = Annotated[int, HeaderParameter(name=OFFSET_HEADER, ge=0, description="Where the piece begins.")]


class Begun(msgspec.Struct, forbid_unknown_fields=True):
    """A file that is to be uploaded. ``content_encoding`` is gzip for a packed one; its size and digest are packed.

    With ``dry_run`` it gets its verdicts, for a day, and nothing is taken in.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    size: int
    sha256: str
    content_type: str
    content_encoding: str | None = None
    dry_run: bool = False


class Upload(msgspec.Struct):
    """An upload. ``state``: receiving, taking-in, done, checked (a dry run) or refused.

    ``received`` bytes are durable. ``counts`` once it is done or checked; ``problems`` if the file was refused whole,
    or if its digest was another one. ``verdicts`` is where a line for each mistake can be read.
    """

    id: str
    name: str
    state: str
    dry_run: bool
    size: int
    received: int
    sha256: str
    created_at: str
    expires_at: str | None
    counts: dict[str, Any] | None
    problems: list[dict[str, str]]
    verdicts: str | None


class Uploads(msgspec.Struct):
    """Some uploads in the order in which they were begun, and the cursor of those that follow; null at the end."""

    items: list[Upload]
    next: str | None


_BEGUN = {"name": "june.ndjson", "size": 412, "sha256": "ab" * 32, "content_type": NDJSON_TYPE}


@post(
    "/v1/uploads",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=201,
    summary="Begin an upload",
    responses={**answered(201, Upload, "Begun"), **refused(400, 415, 422, 429, 503)},
    operation_class=operation_with(
        {
            "application/json": (
                UPLOAD,
                {
                    "a file of events": (_BEGUN, 201),
                    "no digest": ({**_BEGUN, "sha256": "?"}, 422),
                    "a picture": ({**_BEGUN, "content_type": "image/png"}, 415),
                },
            )
        }
    ),
)
async def begin(request: Request[Any, Any, Any], home: TheHome, caller: TheCaller, now: Now) -> Response[bytes]:
    """Begin an upload: name, size, SHA-256 and content type of the file. Its pieces go to the path in Location."""
    asked = form_of(await request.body(), Begun)
    found = await anyio.to_thread.run_sync(
        lambda: service.begin(home, partner_of(caller), now=now, **msgspec.structs.asdict(asked))
    )
    answer = private_json(request, found, status=201)
    answer.headers["location"] = f"/v1/uploads/{found['id']}"
    return answer


@patch(
    "/v1/uploads/{upload:str}",
    opt=FOR_REPORTS,
    tags=["reports"],
    status_code=204,
    summary="Send a piece of an upload",
    request_max_body_size=None,
    responses={204: answered(204, None, "The piece is durable; Upload-Offset says where the next one begins")[204]}
    | refused(404, 409, 413),
    operation_class=operation_with({PIECE_TYPE: (BINARY, {})}),
)
async def send_piece(
    request: Request[Any, Any, Any],
    home: TheHome,
    caller: TheCaller,
    now: Now,
    upload: FromPath[str],
    upload_offset: Offset,
) -> Response[None]:
    """Send the next piece, of any length. What came of one that was cut off is kept; HEAD says how far that is."""
    partner = partner_of(caller)
    try:
        piece = await anyio.to_thread.run_sync(service.Piece, home, partner, upload, upload_offset)
    except TanzhangError as refusal:
        if refusal.code != "upload-offset":
            raise
        state = await anyio.to_thread.run_sync(service.state_of, home, partner, upload)
        return cast("Response[None]", problem_response(refusal, {OFFSET_HEADER: str(state["received"])}))
    try:
        waiting = bytearray()
        async for part in request.stream():
            waiting += part
            if len(waiting) >= _AT_ONCE:
                data, waiting = bytes(waiting), bytearray()
                await anyio.to_thread.run_sync(piece.write, data)
        await anyio.to_thread.run_sync(piece.write, bytes(waiting))
    finally:
        with anyio.CancelScope(shield=True):  # whoever sent it may have gone
            received = await anyio.to_thread.run_sync(piece.close, now)
    return Response(None, status_code=204, headers={OFFSET_HEADER: str(received)})


@head(
    "/v1/uploads/{upload:str}",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="How far an upload is",
    include_in_schema=False,
)
@in_thread
def offset(home: TheHome, caller: TheCaller, upload: FromPath[str]) -> Response[None]:
    """How many bytes of an upload are durable (Upload-Offset), and how many it has (Upload-Length)."""
    found = service.state_of(home, partner_of(caller), upload)
    sizes = {OFFSET_HEADER: str(found["received"]), "Upload-Length": str(found["size"])}
    return Response(None, headers={**sizes, "cache-control": "no-store"})


@post(
    "/v1/uploads/{upload:str}/complete",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="Finish an upload",
    responses={**answered(202, Upload, "It is being taken in, or was"), **refused(404, 409)},
    status_code=202,
)
@in_thread
def complete(
    request: Request[Any, Any, Any], home: TheHome, caller: TheCaller, now: Now, upload: FromPath[str]
) -> Response[bytes]:
    """Say that all is there. The file is checked and taken in; 200 once that is over, 202 while it goes on.

    Repeat the request or read the upload to see how it ended.
    """
    check_if_match(request, lambda: service.state_of(home, partner_of(caller), upload))
    service.finish(home, partner_of(caller), upload, now=now)
    return _state(request, home, partner_of(caller), upload, wait_s=_QUICK_S)


@get(
    "/v1/uploads/{upload:str}",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="How an upload is doing",
    responses={**answered(200, Upload, "The upload"), **refused(404)},
)
@in_thread
def read(request: Request[Any, Any, Any], home: TheHome, caller: TheCaller, upload: FromPath[str]) -> Response[bytes]:
    """The state of an upload, and its counts once it is taken in."""
    answer = _state(request, home, partner_of(caller), upload, wait_s=0)
    if answer.status_code == 202:
        answer.status_code = 200
    return answer


def _state(
    request: Request[Any, Any, Any], home: TheHome, partner: str, name: str, *, wait_s: float
) -> Response[bytes]:
    """The state of an upload; taking it in goes on here if whoever began is gone."""
    found = service.state_of(home, partner, name)
    if found["state"] == "taking-in":
        taking_in: TakingIn = request.app.state.taking_in
        taking_in.begin(name, wait_s=wait_s)
        found = service.state_of(home, partner, name)
    return private_json(request, found, status=202 if found["state"] == "taking-in" else 200)


@get(
    "/v1/uploads",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="List own uploads",
    responses={**answered(200, Uploads, "Some uploads, in the order in which they were begun"), **refused(400)},
)
@in_thread
def list_uploads(
    request: Request[Any, Any, Any],
    home: TheHome,
    caller: TheCaller,
    cursor: Cursor = None,
    limit: Limit = None,
) -> Response[bytes]:
    """The partner's uploads; 200 at most."""
    most = size_of(limit)
    after = ("", "") if cursor is None else place_after(cursor, str, str)
    found = service.list_of(home, partner_of(caller), after=after, limit=most + 1)
    following = None
    if len(found) > most:
        found = found[:most]
        following = cursor_of(found[-1]["created_at"], found[-1]["id"])
    return private_json(request, {"items": found, "next": following})


@delete(
    "/v1/uploads/{upload:str}",
    opt=FOR_REPORTS,
    tags=["reports"],
    summary="Forget an upload",
    responses=refused(404, 409),
)
@in_thread
def cancel(request: Request[Any, Any, Any], home: TheHome, caller: TheCaller, upload: FromPath[str]) -> None:
    """Forget an upload that is not finished, with what came of it."""
    check_if_match(request, lambda: service.state_of(home, partner_of(caller), upload))
    service.cancel(home, partner_of(caller), upload)


@get(
    "/v1/uploads/{upload:str}/verdicts",
    opt=FOR_REPORTS,
    tags=["reports"],
    media_type="text/csv",
    summary="Every mistake of an uploaded file",
    responses=refused(404, 409),
)
@in_thread
def verdicts(
    request: Request[Any, Any, Any], home: TheHome, caller: TheCaller, upload: FromPath[str]
) -> Response[bytes] | Stream:
    """A CSV file with a line for each mistake: row, reference, verdict, code, field, message, remedy."""
    place, digest = service.verdict_file(home, partner_of(caller), upload)
    headers = {"etag": f'"{digest}"', "cache-control": "private, no-cache"}
    if names_tag(request, headers["etag"]):
        return Response(b"", status_code=NOT_MODIFIED, headers=headers)
    return Stream(_parts(place), media_type="text/csv", headers=headers)


def _parts(place: Place) -> Iterator[bytes]:
    with open_binary(place) as file:
        while part := file.read(_AT_ONCE):
            yield part


handlers = [begin, send_piece, offset, complete, read, list_uploads, cancel, verdicts]
