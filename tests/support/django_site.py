"""Django with its settings made in code: one site for all tests of a process, which can make them once."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import django
from django.conf import settings
from django.urls import path

SITE = "site_of_the_tests"


def serve(views: Mapping[str, Callable[..., Any]], middleware: Any) -> None:
    """Make this the site: views by path, behind one middleware. Applications that are made from now on have it."""
    site: Any = ModuleType(SITE)
    site.urlpatterns = [path(address, view) for address, view in views.items()]
    site.middleware = middleware
    sys.modules[SITE] = site
    configure()


def configure() -> None:
    """Settings of that site, unless they are made already."""
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=SITE,
            MIDDLEWARE=[f"{SITE}.middleware"],
            LOGGING_CONFIG=None,
            SECRET_KEY="tests",
        )
        django.setup()
