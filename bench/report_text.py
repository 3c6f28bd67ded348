"""Markdown, figures and plots of the report (report.py)."""
from measuring import digits

OURS, OTHERS = "#2a6f97", ["#bc6c25", "#6a994e", "#8d6b94", "#999999", "#d4a373", "#386641"]


def table(header, rows, left=1):
    """A Markdown table; the first `left` columns are text, the others numbers."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(["---"] * left + ["--:"] * (len(header) - left)) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def per_second(count, seconds):
    """0 if the time was too short to be measured."""
    return count / seconds if seconds > 0 else 0


def rate(operations):
    """Operations per second as text."""
    return f"{digits(operations / 1e12)} TFLOP/s" if operations >= 1e12 else f"{digits(operations / 1e9)} GFLOP/s"


def percent(share):
    return f"{100 * share:.0f} %"


class Plots:
    """Plots as SVG files; none without Matplotlib."""

    def __init__(self, folder):
        self.folder = folder
        try:
            import matplotlib
            matplotlib.use("svg")
            import matplotlib.pyplot as pyplot
        except ImportError:
            self.pyplot = None
            return
        self.pyplot = pyplot
        # The same figures give the same file; text stays text.
        pyplot.rcParams.update({"svg.hashsalt": "filterscope", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif",
                                "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e5e5",
                                "axes.axisbelow": True, "figure.facecolor": "white"})

    def save(self, figure, name, caption):
        """Saves the figure, and returns its Markdown."""
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.tight_layout()
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        self.pyplot.close(figure)
        return f"\n![{caption}]({self.folder.name}/{name}.svg)\n"
