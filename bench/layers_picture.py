"""Layers of a profile as a table and a picture: share of time beside share of multiply-adds, in the order they run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .layers import Layer, Profile
from .show import draw_table

__all__ = ["layers_svg", "layers_table"]

HEAD = ("layer", "operator", "ms", "time %", "MACs %", "time / MACs", "time")
BAR = 20  # characters of the longest bar
ROW, LEFT, WIDTH, TOP, BOTTOM = 18, 330, 420, 86, 34  # px
MOST_NAME = 44
COLOURS = {"time": "#2b6cb0", "macs": "#dd8d29"}


def layers_table(profiles: Sequence[Profile]) -> str:
    """Return the layers of profiles as text."""
    return "\n".join(_table(profile) for profile in profiles)


def _table(profile: Profile) -> str:
    longest = max((layer.time_share for layer in profile.layers), default=0.0) or 1.0
    rows = [
        (
            _short(layer.name),
            layer.op,
            f"{layer.ms:.3f}",
            f"{100 * layer.time_share:.1f}",
            f"{100 * layer.mac_share:.1f}",
            f"{layer.time_share / layer.mac_share:.1f}" if layer.mac_share else "-",
            "#" * round(BAR * layer.time_share / longest),
        )
        for layer in profile.layers
    ]
    return f"{_title(profile)}\n{draw_table(HEAD, rows)}"


def layers_svg(profiles: Sequence[Profile]) -> str:
    """Return a picture of profiles, one under the other, as an SVG document without script or outside reference."""
    heights = [TOP + ROW * len(profile.layers) + BOTTOM for profile in profiles]
    parts, down = [], 0
    for profile, height in zip(profiles, heights, strict=True):
        parts.append(f'<g transform="translate(0 {down})">{_chart(profile)}</g>')
        down += height
    total = LEFT + WIDTH + 90
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {down}" width="{total}" height="{down}"'
        ' font-family="system-ui, sans-serif" font-size="12" role="img"'
        f' aria-label="{escape("; ".join(map(_title, profiles)), quote=True)}">'
        f'<rect width="{total}" height="{down}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _chart(profile: Profile) -> str:
    most = max((max(layer.time_share, layer.mac_share) for layer in profile.layers), default=0.0) or 1.0
    parts = [
        f'<text x="16" y="28" font-size="15" font-weight="600" fill="#1a202c">{escape(_title(profile))}</text>',
        f'<text x="16" y="46" fill="#4a5568">{escape(profile.how)}; layers from top to bottom as they run</text>',
    ]
    for number, (word, label) in enumerate({"time": "share of time", "macs": "share of multiply-adds"}.items()):
        x = LEFT + 160 * number
        parts.append(f'<rect x="{x}" y="60" width="12" height="10" fill="{COLOURS[word]}"/>')
        parts.append(f'<text x="{x + 18}" y="69" fill="#1a202c">{label}</text>')
    for row, layer in enumerate(profile.layers):
        parts.append(_bars(layer, TOP + ROW * row, most))
    return "".join(parts)


def _bars(layer: Layer, y: int, most: float) -> str:
    time, macs = (WIDTH * share / most for share in (layer.time_share, layer.mac_share))
    words = f"{layer.name} ({layer.op}): {layer.ms:.3f} ms, {layer.macs:,} multiply-adds"
    name = escape(_short(f"{layer.name}  {layer.op}"))
    return (
        f"<g><title>{escape(words)}</title>"
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#1a202c">{name}</text>'
        f'<rect x="{LEFT}" y="{y + 2}" width="{time:.1f}" height="8" fill="{COLOURS["time"]}"/>'
        f'<rect x="{LEFT}" y="{y + 10}" width="{macs:.1f}" height="5" fill="{COLOURS["macs"]}"/>'
        f'<text x="{LEFT + max(time, macs) + 6:.1f}" y="{y + 12}" fill="#4a5568">{100 * layer.time_share:.1f} %</text>'
        "</g>"
    )


def _title(profile: Profile) -> str:
    return f"{profile.file}: {profile.total_ms:.2f} ms in {len(profile.layers)} layers, {profile.engine}, 1 thread"


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAME else f"…{name[1 - MOST_NAME :]}"
