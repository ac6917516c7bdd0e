"""The report on a result: one HTML page that stands alone, and the generated part of docs/benchmarks.md with its picture.

`python -m suite.report RESULT.json OUT.html` writes the page alone. Owns the files that are written, and the page's layout, with the
template report.html.j2 and what that includes; what the page says comes from report_content.py, the pictures from report_plots.py.
What must hold: the page loads nothing from outside; text of a result is escaped; what people wrote around the generated part of
docs/benchmarks.md stays; a file is replaced as a whole or not at all.
"""

import json
import os
import sys

import jinja2

from . import report_content as content
from . import report_markdown as markdown
from . import report_plots as plots
from .places import Stop, reason

HERE = os.path.dirname(os.path.abspath(__file__))
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def _replace(path, text):
    """The file as a whole or not at all."""
    if os.path.exists(path) and not os.path.isfile(path):
        # A device would be replaced by a file.
        raise ValueError(f"{path} is not a file")
    written = f"{path}.new"
    try:
        with open(written, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(written, path)
    except OSError:
        if os.path.exists(written):
            os.remove(written)
        raise


def _read(result):
    try:
        return content.Content(result)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is not a result of the suite: {type(error).__name__} {error}") from error


def write(result, path):
    """Writes the page; ValueError if it is no result, OSError if it cannot be written."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(content=content, plots=plots)
    environment.filters.update(size=content.size, ratio=content.ratio, together=content.together)
    _replace(path, environment.get_template("report.html.j2").render(report=_read(result)))


def write_page(result, markdown_path, picture_path):
    """Writes the generated part of a Markdown page, and its picture; ValueError if the page has no place for it."""
    report = _read(result)
    before, after = f"# Benchmarks\n\n{BEGIN}", f"{END}\n"
    if os.path.exists(markdown_path):
        with open(markdown_path, encoding="utf-8") as file:
            page = file.read()
        if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(END) < page.index(BEGIN):
            raise ValueError(f"{markdown_path} needs the lines {BEGIN} and {END}, once each and in this order")
        before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END):]
    picture = plots.picture(report)
    if picture:
        _replace(picture_path, picture)
    shown = picture and os.path.relpath(picture_path, os.path.dirname(os.path.abspath(markdown_path)))
    _replace(markdown_path, f"{before}\n{markdown.generated(report, shown)}\n{after}")


def main(arguments):
    if len(arguments) != 2:
        raise Stop("usage: python -m suite.report RESULT.json OUT.html")
    source, path = arguments
    try:
        with open(source, encoding="utf-8") as file:
            result = json.load(file)
        write(result, path)
    except (OSError, ValueError) as error:
        raise Stop(f"{getattr(error, 'filename', None) or source}: {reason(error)}") from error


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Stop as stop:
        sys.exit(f"report: {stop}")
