"""Self-contained pages of results, in the style of the other benches' pages."""
import html
import pathlib

STYLE = pathlib.Path(__file__).resolve().parents[1] / "compare/report_style.h"


def style():
    """The one style sheet of all pages, out of the header that has it."""
    text = STYLE.read_text(encoding="utf-8")
    begin = text.index('R"(') + 3
    return text[begin:text.index(')"', begin)]


def page(title, *parts):
    title = html.escape(title)
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width,initial-scale=1"><title>{title}</title>\n<style>{style()}</style></head>\n'
            f"<body><main>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</main></body></html>\n")


def paragraph(text, kind=""):
    return f"<p{_class(kind)}>{html.escape(text)}</p>"


def heading(text):
    return f"<h2>{html.escape(text)}</h2>"


def bars(entries, unit):
    """(name, value, is it ours), longest bar for the largest value."""
    most = max((value for _, value, _ in entries), default=0) or 1
    rows = [f'<b>{html.escape(name)}</b><div{_class("own" if own else "")}>'
            f'<i style="width:{70 * value / most:.1f}%"></i>'
            f"<span>{value:.3f} {html.escape(unit)}</span></div>" for name, value, own in entries]
    return '<div class="bars card">' + "\n".join(rows) + "</div>"


def table(columns, rows, own=lambda row: False):
    """Rows of texts; `own` says which are ours."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "\n".join(f'<tr{_class("own" if own(row) else "")}>'
                     + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def dots(name, ratios):
    """Every pair's ratio as a dot on a line that has 1.0 in its middle."""
    reach = max([abs(ratio - 1) for ratio in ratios] + [0.1]) * 1.1
    marks = "".join(f'<circle cx="{50 + 50 * (ratio - 1) / reach:.2f}" cy="5" r="0.9" fill="var(--accent)" '
                    f'fill-opacity="0.6"><title>{ratio:.3f}</title></circle>' for ratio in ratios)
    return (f"<figure><figcaption>{html.escape(name)} <span>from {1 - reach:.2f} to {1 + reach:.2f}, the line is 1.00"
            f'</span></figcaption><svg viewBox="0 0 100 10" width="100%" role="img">'
            f'<line x1="50" x2="50" y1="0" y2="10" class="grid"/>{marks}</svg></figure>')


def definitions(entries):
    return '<dl class="card">' + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"
                                         for name, value in entries) + "</dl>"


def _class(name):
    return f' class="{name}"' if name else ""
