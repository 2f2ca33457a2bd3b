"""The picture of a replay: each policy's loss over the windows, its retrainings, known changes."""

import io
from collections.abc import Mapping

from mlops.core.replay import PolicyResult

COLOURS = ("#7f7f7f", "#1f77b4", "#9467bd", "#ff7f0e", "#2ca02c", "#8c564b", "#e377c2", "#17becf")


def replay_png(results: Mapping[str, PolicyResult], title: str) -> bytes:
    """Draw the log loss by window, one line a policy (``ours`` boldest), and below when each one retrained."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2 + 0.3 * len(results)), dpi=110, layout="constrained")
    axes, times = figure.subplots(2, 1, sharex=True, height_ratios=[4, 0.35 * len(results) + 0.3])
    for position, (name, result) in enumerate(results.items()):
        colour, wide = COLOURS[position % len(COLOURS)], 2.2 if name == "ours" else 1.1
        numbers = [window.window for window in result.windows]
        axes.plot(numbers, [window.log_loss for window in result.windows], color=colour, lw=wide, label=name)
        for released, mark in ((True, "|"), (False, "x")):
            done = [w.window for w in result.windows if w.retrained and w.released == released]
            times.scatter(done, [position] * len(done), color=colour, marker=mark, s=60)
    changes = {delay.window for result in results.values() for delay in result.delays}
    for each in (axes, times):
        for number in sorted(changes):
            each.axvline(number, color="black", lw=0.8, ls=":")
    axes.set(title=title, ylabel="log loss")
    axes.legend(ncols=min(6, len(results)), fontsize=9)
    axes.grid(alpha=0.25)
    times.set(xlabel="window (| retrained and released, x refused by the gates)", ylim=(len(results) - 0.5, -0.5))
    times.xaxis.get_major_locator().set_params(integer=True)
    times.set_yticks(range(len(results)), list(results))
    figure.savefig(drawn := io.BytesIO(), format="png")
    return drawn.getvalue()
