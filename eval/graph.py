"""A workflow graph in dot form (`snakemake --rulegraph` or `--dag`) -> inline SVG, without Graphviz.

Layers by longest path, order inside a layer by the mean position of the neighbours (Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

LAYER_HEIGHT = 62
BOX_HEIGHT = 30
BOX_GAP = 18
CHARACTER_WIDTH = 7.6
MARGIN = 8
NUM_SWEEPS = 8

_NODE = re.compile(r'^\s*"?([\w.-]+)"?\s*\[.*?label\s*=\s*"((?:[^"\\]|\\.)*)"')
_EDGE = re.compile(r'^\s*"?([\w.-]+)"?\s*->\s*"?([\w.-]+)"?')


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes by id with their labels, and edges from what is needed to what needs it."""

    labels: dict[str, str]
    edges: tuple[tuple[str, str], ...]


def parse_dot(text: str) -> Graph:
    """Read the nodes and edges of a dot file, one a line as Snakemake writes them; ValueError when there are none."""
    labels: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for line in text.splitlines():
        if edge := _EDGE.match(line):
            edges.append((edge[1], edge[2]))
        elif (node := _NODE.match(line)) and node[1] not in ("graph", "node", "edge"):
            labels[node[1]] = node[2].replace("\\n", " ").replace('\\"', '"')
    for edge in edges:
        for name in edge:
            labels.setdefault(name, name)
    if not labels:
        raise ValueError("no node found; expected the output of `snakemake --rulegraph`")
    return Graph(labels=labels, edges=tuple(dict.fromkeys(edge for edge in edges if edge[0] != edge[1])))


def render_graph_svg(graph: Graph) -> str:
    """Draw the graph from top to bottom; text and lines in the colour of the page."""
    layers, edges = _layers_with_waypoints(graph)
    _order_layers(layers, edges)
    widths = {
        name: len(graph.labels[name]) * CHARACTER_WIDTH + 20 if name in graph.labels else 4.0
        for layer in layers
        for name in layer
    }
    layer_widths = [sum(widths[name] for name in layer) + BOX_GAP * (len(layer) - 1) for layer in layers]
    total_width = max(layer_widths) + 2 * MARGIN
    centre: dict[str, tuple[float, float]] = {}
    for depth, (layer, layer_width) in enumerate(zip(layers, layer_widths, strict=True)):
        x = (total_width - layer_width) / 2
        for name in layer:
            centre[name] = (x + widths[name] / 2, MARGIN + BOX_HEIGHT / 2 + depth * LAYER_HEIGHT)
            x += widths[name] + BOX_GAP
    height = 2 * MARGIN + BOX_HEIGHT + (len(layers) - 1) * LAYER_HEIGHT
    parts = [_draw_edge(centre[a], centre[b], a in graph.labels, b in graph.labels) for a, b in edges]
    parts += [_draw_box(centre[name], widths[name], label) for name, label in graph.labels.items()]
    return (
        f'<svg role="img" aria-label="graph of the rules" viewBox="0 0 {total_width:.0f} {height:.0f}" '
        f'style="width:{total_width:.0f}px">' + "".join(parts) + "</svg>"
    )


def _layers_with_waypoints(graph: Graph) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Put each node below all it needs, and split edges over several layers at waypoints, one a layer."""
    depth = _depths(graph)
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in graph.labels:
        layers[depth[name]].append(name)
    edges = []
    for number, (start, end) in enumerate(graph.edges):
        previous = start
        for layer in range(depth[start] + 1, depth[end]):
            waypoint = f"/{number}/{layer}"  # no node id has a slash
            layers[layer].append(waypoint)
            edges.append((previous, waypoint))
            previous = waypoint
        edges.append((previous, end))
    return layers, edges


def _depths(graph: Graph) -> dict[str, int]:
    depth = dict.fromkeys(graph.labels, 0)
    for _ in range(len(depth) + 1):
        changed = False
        for start, end in graph.edges:
            if depth[end] < depth[start] + 1:
                depth[end] = depth[start] + 1
                changed = True
        if not changed:
            return depth
    raise ValueError("the graph has a cycle")


def _order_layers(layers: list[list[str]], edges: list[tuple[str, str]]) -> None:
    """Sort each layer by the mean relative position of its neighbours, down and up in turn."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for start, end in edges:
        above.setdefault(end, []).append(start)
        below.setdefault(start, []).append(end)
    for sweep in range(NUM_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            place = {name: (i + 0.5) / len(each) for each in layers for i, name in enumerate(each)}
            mean = {
                name: sum(place[other] for other in neighbours.get(name, [name])) / len(neighbours.get(name, [name]))
                for name in layer
            }
            layer.sort(key=mean.__getitem__)


def _draw_edge(start: tuple[float, float], end: tuple[float, float], from_box: bool, to_box: bool) -> str:
    x1, y1 = start[0], start[1] + (BOX_HEIGHT / 2 if from_box else 0)
    x2, y2 = end[0], end[1] - (BOX_HEIGHT / 2 if to_box else 0)
    middle = (y1 + y2) / 2
    path = f"M{x1:.1f} {y1:.1f}C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    line = f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity=".45" stroke-width="1.4"/>'
    if not to_box:
        return line
    return (
        line + f'<path d="M{x2 - 4:.1f} {y2 - 6:.1f}L{x2:.1f} {y2:.1f}L{x2 + 4:.1f} {y2 - 6:.1f}" fill="currentColor"/>'
    )


def _draw_box(centre: tuple[float, float], width: float, label: str) -> str:
    x, y = centre
    return (
        f'<rect x="{x - width / 2:.1f}" y="{y - BOX_HEIGHT / 2:.1f}" width="{width:.1f}" height="{BOX_HEIGHT}" rx="7" '
        'fill="var(--card,none)" stroke="currentColor" stroke-opacity=".6" stroke-width="1.2"/>'
        f'<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle" font-size="12.5" fill="currentColor">'
        f"{escape(label)}</text>"
    )
