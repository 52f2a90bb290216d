"""The files of others that the pages send, unchanged, and that stand in this repository with their licences.

To update one: `npm pack NAME@VERSION`, copy the file and its licences into `static/vendor/` under the new version,
write the new hash here, and change the name where a template or script loads it. A test compares files and list.
"""

from typing import Final, NamedTuple


class Vendored(NamedTuple):
    """One file: where it stands below `static/vendor/`, and what it is."""

    file: str
    package: str
    version: str
    path: str
    """Its path in the npm package."""
    sha256: str
    licence: str
    licence_files: tuple[str, ...]


VENDORED: Final = (
    Vendored(
        "echarts-6.1.0.common.min.js",
        "echarts",
        "6.1.0",
        "dist/echarts.common.min.js",
        "61f13280aba3161f77fc801bf5f9c786f55f10432153a0683fc5cc0700b013d5",
        "Apache-2.0",
        ("echarts-6.1.0.LICENSE", "echarts-6.1.0.NOTICE", "echarts-6.1.0.LICENSE-d3"),
    ),
    Vendored(
        "htmx-4.0.1.min.js",
        "htmx.org",
        "4.0.1",
        "dist/htmx.min.js",
        "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
        "0BSD",
        ("htmx-4.0.1.LICENSE",),
    ),
)
