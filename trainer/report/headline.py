"""Title and subtitle of a figure, broken into lines that fit its width."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE, SUBTITLE = (10.5, 0.083), (8.5, 0.067)  # size of the letters, and width of one in inches
MOST = 3  # lines of a title
MARGIN, LINE = 0.1, 0.19  # inches


class Headline:
    """Lines above a figure of a width in inches.

    Args:
        title: what was measured; cut after three lines.
        subtitle: what is shown of it.
    """

    def __init__(self, title: str, subtitle: str, width: float) -> None:
        room = width - 2 * MARGIN
        lines = textwrap.wrap(title, int(room / TITLE[1]), max_lines=MOST, placeholder=" ...", break_on_hyphens=False)
        self.lines = [(line, TITLE[0]) for line in lines]
        self.lines += [(line, SUBTITLE[0]) for line in textwrap.wrap(subtitle, int(room / SUBTITLE[1]))]
        self.height = 2 * MARGIN + LINE * len(self.lines)

    def draw(self, figure: "Figure") -> None:
        """Write the lines into the top left corner of a figure."""
        width, height = figure.get_size_inches()
        for place, (line, size) in enumerate(self.lines):
            figure.text(MARGIN / width, 1 - (MARGIN + LINE * place) / height, line, fontsize=size, va="top")
