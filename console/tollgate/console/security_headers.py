"""What every answer tells the browser: load nothing from elsewhere, run nothing inline, guess no types."""

from typing import Final

from starlette.datastructures import MutableHeaders

from tollgate.console.access.network import words
from tollgate.console.addresses import is_api
from tollgate.runtime.settings import Settings

# Data addresses are for images alone: icons in style sheets.
_PAGE: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors {ancestors}"
)
# An answer of the API is never a page, whatever it holds.
_API: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_FIXED: Final = {
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Sets the headers of answers."""

    def __init__(self, settings: Settings) -> None:
        self._page = _PAGE.format(ancestors="'none'")
        self._embedded = _PAGE.format(ancestors=" ".join(words(settings.console_frame_ancestors)) or "'none'")

    def apply(self, headers: MutableHeaders, path: str, *, embedded: bool) -> None:
        """Set them. Nothing of an answer is kept by caches unless the answer says otherwise."""
        for name, value in _FIXED.items():
            headers[name] = value
        page = self._embedded if embedded else self._page
        headers["Content-Security-Policy"] = _API if is_api(path) else page
        if not embedded:
            headers["X-Frame-Options"] = "DENY"
        headers.setdefault("Cache-Control", "no-store")
