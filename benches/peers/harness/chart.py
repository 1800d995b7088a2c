"""The medians as bars on a logarithmic scale, one panel for each work, grouped by durability. Plain SVG, with colours
of its own for light and dark."""

from html import escape
from math import floor, log10
from statistics import median

from .catalogue import DURABILITY, WORKS
from .table import WORK_TITLE

WIDTH = 860
LEFT = 210  # where bars begin
RIGHT = 760  # where the scale ends; figures stand after the bars
ROW = 20
BAR = 13
GROUP = 26
PANEL = 46

KEW = {"A": "Kew, FULL", "B": "Kew, NORMAL"}

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.card { fill: #ffffff } .title { font-size: 14px; font-weight: 600 } .quiet { fill: #57606a }
.grid { stroke: #d0d7de; stroke-width: 1 } .kew { fill: #0969da } .peer { fill: #8c959f } .range { stroke: #24292f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .card { fill: #0d1117 } .quiet { fill: #8d96a0 } .grid { stroke: #30363d }
  .kew { fill: #4493f8 } .peer { fill: #6e7681 } .range { stroke: #e6edf3 }
}
"""


def svg(comparisons):
    """The whole chart."""
    valid = [comparison for comparison in comparisons if not comparison.void]
    panels = [(work, groups([item for item in valid if item.work == work])) for work in WORKS]
    panels = [(work, found) for work, found in panels if found]
    rates = [rate for _, found in panels for _, bars in found for _, _, series in bars for rate in series]
    scale = Scale(min(rates), max(rates))
    parts, y = [], 16
    for work, found in panels:
        drawn, y = panel(WORK_TITLE[work], found, scale, y)
        parts += drawn
    parts.append(text(LEFT, y + 4, "jobs a second, logarithmic; the line on a bar spans the rounds", "quiet"))
    height = y + 18
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'role="img" aria-label="Jobs a second of Kew and other job queues">')
    card = f'<rect class="card" width="{WIDTH}" height="{height}" rx="6"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", card, *parts, "</svg>"]) + "\n"


class Scale:
    """From jobs a second to a place on the page."""

    def __init__(self, least, most):
        self.low, self.high = floor(log10(least)), floor(log10(most)) + 1

    def __call__(self, rate):
        return LEFT + (RIGHT - LEFT) * (log10(rate) - self.low) / (self.high - self.low)

    def ticks(self):
        return [10**power for power in range(self.low, self.high + 1)]


def groups(comparisons):
    """For each class of durability its bars, the fastest first: name, kind, the rates of all rounds."""
    kew = {"A": [], "B": []}
    bars = {}
    for comparison in comparisons:
        kew["A"] += comparison.kew_full
        kew["B"] += comparison.kew_normal
        bars.setdefault(comparison.peer.durability, []).append((comparison.peer.title, "peer", comparison.theirs))
    for letter, rates in kew.items():
        if rates:
            bars.setdefault(letter, []).append((KEW[letter], "kew", rates))
    return [(letter, sorted(found, key=lambda bar: -median(bar[2]))) for letter, found in sorted(bars.items())]


def panel(title, found, scale, top):
    y = top + 16
    parts = [text(16, y, title, "title")]
    y += 10
    rows = []
    begin = y
    for letter, bars in found:
        y += GROUP - 6
        rows.append(text(16, y, f"{letter}: {DURABILITY[letter].split(':')[0]}", "quiet"))
        y += 8
        for name, kind, rates in bars:
            rows += bar(name, kind, rates, scale, y)
            y += ROW
    for tick in scale.ticks():
        x = scale(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{begin + 14}" y2="{y}"/>')
        parts.append(text(x, y + 12, f"{tick:,}", "quiet", "middle"))
    return parts + rows, y + PANEL - 14


def bar(name, kind, rates, scale, y):
    middle = y + BAR / 2
    end, least, most = scale(median(rates)), scale(min(rates)), scale(max(rates))
    return [
        text(LEFT - 8, y + 11, name, "", "end"),
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" rx="2"/>',
        f'<line class="range" x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}"/>',
        text(max(end, most) + 6, y + 11, f"{median(rates):,.0f}"),
    ]


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
