# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG text: for each contender a bar to the median and a dot for every sample."""

from html import escape

WIDTH, ROW, LABEL, VALUE = 640, 30, 170, 110
OWN, PEER, DOT, GRID, TEXT = "#0b6e99", "#b9bec6", "#22303c", "#e3e6ea", "#22303c"


def nice_end(value):
    """The end of an axis that begins at 0: the next 1, 2 or 5 times a power of ten, or between."""
    if value <= 0:
        return 1.0
    scale = 1.0
    while scale > value:
        scale /= 10
    while scale * 10 <= value:
        scale *= 10
    return next(scale * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if scale * step >= value)


def number(value):
    """A figure of an axis or a bar, without more digits than it deserves."""
    if value is None:
        return "-"
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 2 else f"{value:.2f}"


class Plot:
    """One measure of one case. rows: (name, median, samples, note); samples may hold None."""

    def __init__(self, title, unit, rows):
        self.title, self.unit, self.rows = title, unit, rows
        largest = max((v for _, _, samples, _ in rows for v in samples if v is not None), default=1)
        self.end = nice_end(largest)
        self.height = 26 + ROW * len(rows) + 26

    def x(self, value):
        """Where a value is."""
        return LABEL + (WIDTH - LABEL - VALUE) * min(value, self.end) / self.end

    def _axis(self):
        bottom = 26 + ROW * len(self.rows)
        for part in range(5):
            value = self.end * part / 4
            x = self.x(value)
            yield f'<line x1="{x:.1f}" y1="26" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
            yield (f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" class="tick">'
                   f'{number(value)}</text>')

    def _row(self, index, name, median, samples, note):
        top = 26 + ROW * index
        middle = top + ROW / 2
        colour = OWN if name.startswith("mudanza") else PEER
        yield (f'<text x="{LABEL - 10}" y="{middle + 4}" text-anchor="end" class="name">'
               f'{escape(name)}</text>')
        if median is not None:
            opacity = 0.55 if name == "mudanza-verify" else 1
            yield (f'<rect x="{LABEL}" y="{top + 5}" width="{self.x(median) - LABEL:.1f}" '
                   f'height="{ROW - 10}" rx="2" fill="{colour}" fill-opacity="{opacity}"/>')
        for value in samples:
            if value is not None:
                yield (f'<circle cx="{self.x(value):.1f}" cy="{middle}" r="2.5" fill="{DOT}" '
                       f'fill-opacity="0.7"><title>{number(value)} {escape(self.unit)}</title>'
                       '</circle>')
        text = note or f"{number(median)} {self.unit}"
        yield (f'<text x="{WIDTH - VALUE + 14}" y="{middle + 4}" class="value">'
               f'{escape(text)}</text>')

    def svg(self):
        """The plot as an SVG element."""
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                 f'role="img" aria-label="{escape(self.title)}" font-family="sans-serif" '
                 f'font-size="12" fill="{TEXT}">',
                 f'<text x="0" y="14" font-weight="bold">{escape(self.title)}</text>']
        parts += self._axis()
        for index, row in enumerate(self.rows):
            parts += self._row(index, *row)
        return "\n".join([*parts, "</svg>"])
