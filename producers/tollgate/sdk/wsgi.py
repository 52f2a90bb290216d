"""Middleware for Flask and every other WSGI application: blocked requests are answered before they run.

Flask and Django answer errors of their views themselves, with 500, before any middleware around them sees them. For a
BlockedError that a view raises, Flask needs `app.register_error_handler(BlockedError, answer_of)`; Django has a
middleware of its own in `tollgate.sdk.django`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tollgate.sdk.answers import Answer, answer_of
from tollgate.sdk.context import call_context
from tollgate.sdk.decision import Decision
from tollgate.sdk.errors import BlockedError
from tollgate.sdk.faces import Recorder
from tollgate.sdk.gate import ALL_PATHS, Gate, Names, Paths, each_in_context, request_id_of

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class TollgateMiddleware:
    """Checks every request: `app.wsgi_app = TollgateMiddleware(app.wsgi_app, toll, names=lambda environ: ...)`.

    A blocked request is answered with 402, 429 or 503 and never reaches the application. So is a request of which the
    application raises BlockedError, unless the answer has begun: then the error goes on, and the server cuts the
    connection.

    - `toll`: a `Tollgate`, which answers from memory.
    - `names`: called with the environ; gives the user's id, or names by dimension. None when nobody is known: then
      the limits of the company alone count.
    - `paths`: prefixes of the paths to check, or a function of the path. All by default.
    - `on_block`: called with the environ and the decision of a blocked request; True lets the request through, for an
      application that then takes a cheaper model.

    `environ["tollgate.decision"]` has the decision, of requests that are let through as well, and the names hold in
    the application as `call_context`, also while a streamed body is made. A name that no event may have is answered 400
    `invalid_name`.
    """

    def __init__(
        self,
        app: Application,
        toll: Recorder,
        *,
        names: Callable[[Environ], Names],
        paths: Paths = ALL_PATHS,
        on_block: Callable[[Environ, Decision], bool] | None = None,
    ) -> None:
        self._app = app
        self._gate = Gate(toll, paths)
        self._names = names
        self._on_block = on_block

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if not self._gate.covers(environ["REQUEST_METHOD"], path):
            return self._app(environ, start_response)
        judged = self._gate.judge(self._names(environ))
        if isinstance(judged, Answer):
            return _start(judged, start_response)
        names, decision = judged
        request_id = request_id_of(names, _header(environ, "x-request-id"))
        if not decision.allowed and not (self._on_block is not None and self._on_block(environ, decision)):
            return _start(answer_of(decision, request_id=request_id), start_response)
        environ["tollgate.decision"] = decision
        try:
            with call_context(**names):
                body = self._app(environ, start_response)
        except BlockedError as error:
            # With the error given, a server that has sent the head already raises it again.
            return _start(answer_of(error, request_id=request_id), start_response, error)
        # What is whole already, or is sent by the server itself, stays what it is.
        if isinstance(body, list | tuple) or _is_file(body, environ):
            return body
        return _Body(body, each_in_context(names, body), start_response, request_id)


class _Body:
    """The body of an application, which may find out while it is made that it is blocked."""

    def __init__(
        self, body: Iterable[bytes], items: Iterator[bytes], start_response: StartResponse, request_id: str | None
    ) -> None:
        self._body = body
        self._items = items
        self._start_response = start_response
        self._request_id = request_id

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._items)
        except BlockedError as error:
            # Raised again by the server when a part of the body is sent.
            (whole,) = _start(answer_of(error, request_id=self._request_id), self._start_response, error)
            self._items = iter(())
            return whole

    def close(self) -> None:
        """As the server must call it, also when the client went away."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


def _start(answer: Answer, start_response: StartResponse, error: BlockedError | None = None) -> list[bytes]:
    headers = [*answer.headers.items(), ("Content-Length", str(len(answer.body)))]
    if error is None:
        start_response(answer.status_line, headers)
    else:
        start_response(answer.status_line, headers, sys.exc_info())
    return [answer.body]


def _is_file(body: object, environ: Environ) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def user_from_header(name: str) -> Callable[[Environ], str | None]:
    """For `names`: the user's id from a header, for services behind a gateway that sets it.

    Whoever can reach the service past the gateway can name any user. Servers join a header that comes more than once
    with commas.
    """
    return lambda environ: _header(environ, name)


def _header(environ: Environ, name: str) -> str | None:
    given = environ.get("HTTP_" + name.upper().replace("-", "_"))
    # A header is bytes, which WSGI shows as Latin-1 (PEP 3333). What is no UTF-8 is no usable name.
    return given.encode("latin-1", "replace").decode("utf-8", "surrogateescape").strip() or None if given else None
