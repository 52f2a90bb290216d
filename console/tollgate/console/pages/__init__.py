"""The pages: templates, static files, and how an answer is rendered. See README.md."""

from tollgate.console.pages.rendering import render

__all__ = ["render"]
