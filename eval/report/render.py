"""From a page's content to one HTML file: template, style, script and data, all inlined."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from eval.report.embed import script_json
from eval.report.numbers import interval, minus, signed


def render_page(content: dict[str, Any], data: dict[str, Any]) -> str:
    """The page. `content` is what the template prints, `data` what the script reads.

    Every text is escaped. The page forbids itself the network and any script but its own (a content security policy
    by hash), so that a class name that is markup stays text even if something were missed.
    """
    package = resources.files("eval.report")

    def text(name: str) -> str:
        return package.joinpath(name).read_text(encoding="utf-8")

    script = text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=signed, interval=interval, minus=minus)
    return environment.get_template("page.html.j2").render(
        **content,
        style=Markup(text("page.css")),
        script=Markup(script),
        script_hash=digest,
        data=Markup(script_json(data)),
    )
