"""HTML pages from templates: all reports of imltool are rendered this way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jinja2


@cache  # compiling a report's templates takes longer than filling them in
def environment(*packages: str, **filters: Callable[..., Any]) -> jinja2.Environment:
    """Templates in the `templates` folders of `packages`, searched in this order; text is escaped as HTML."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    return made
