"""From results to report.md, and from that Markdown to one self-contained HTML page."""

import base64
import re
from itertools import count as counter
from pathlib import Path

import jinja2
import markdown
from markdown.extensions.toc import TocExtension

from hardfold import difficulty
from hardfold.report import answers, format, secondary, verdict
from hardfold.report.captions import CAPTIONS
from hardfold.report.results import Results, read_results
from hardfold.report.tables import confidence, contact, data, folding, run, targets, test_time, training
from hardfold.tables import whole_file

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)
IMAGE = re.compile(r'src="figures/([\w.-]+\.png)"')
FIGURE = re.compile(r"<p>(<img [^>]*>)</p>\s*<p><em>(Figure .*?)</em></p>", re.DOTALL)


def render_markdown(results: Results, figures: Path) -> str:
    """The whole report as Markdown; images are referred to as figures/<name>.png."""
    numbers = counter(1)

    def figure(name: str) -> str:
        title, caption = CAPTIONS[name]
        if not (Path(figures) / f"{name}.png").is_file():
            return f'*The figure "{title}" has no values to show.*'
        return f"![{title}](figures/{name}.png)\n\n*Figure {next(numbers)}. {title}. {caption}*"

    text = TEMPLATES.get_template("report.md.j2").render(
        results=results,
        figure=figure,
        format=format,
        verdict=verdict,
        difficulty=difficulty,
        answers=answers,
        secondary=secondary,
        folding=folding,
        targets=targets,
        confidence=confidence,
        test_time=test_time,
        training=training,
        contact=contact,
        data=data,
        run=run,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def render_html(text: str, figures: Path) -> str:
    """One HTML page without links to other files: styles inline, figures as data URIs."""
    contents = TocExtension(toc_depth="2-2")
    converter = markdown.Markdown(extensions=["tables", "fenced_code", "sane_lists", contents])
    body = converter.convert(text)
    body = FIGURE.sub(r"<figure>\1<figcaption>\2</figcaption></figure>", body)
    body = body.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")
    body = IMAGE.sub(lambda match: f'src="{_data_uri(Path(figures) / match[1])}"', body)
    title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
    return TEMPLATES.get_template("page.html.j2").render(title=title, contents=converter.toc, body=body)


def write_report(
    root: Path, figures: Path, markdown_path: Path, html_path: Path, reference: Path | None = None
) -> None:
    """Read the results below `root` and the table of published scores; write the report beside its figures."""
    text = render_markdown(read_results(root, reference), figures)
    for path, content in ((markdown_path, text), (html_path, render_html(text, figures))):
        with whole_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
