"""dot -> svg, without Graphviz."""

import itertools
import re

import pytest

from eval.graph import parse_dot, render_graph_svg

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans, fontsize=10, penwidth=2];
    edge[penwidth=2, color=grey];
\t0[label = "all", color = "0.33 0.6 0.85", style="rounded"];
\t1[label = "train\\nstage: lbm", color = "0.13 0.6 0.85", style="rounded"];
\t2[label = "pack <shard>", color = "0.13 0.6 0.85", style="rounded"];
\t1 -> 0
\t2 -> 1
\t2 -> 0
}
"""


def box_tops(svg):
    labels = re.findall(r">([^<>]+)</text>", svg)
    tops = [float(top) for top in re.findall(r'<rect [^>]*? y="([\d.]+)"', svg)]
    return dict(zip(labels, tops, strict=True))


def test_a_rule_graph_is_read():
    graph = parse_dot(DOT)
    assert graph.labels == {"0": "all", "1": "train stage: lbm", "2": "pack <shard>"}
    assert graph.edges == (("1", "0"), ("2", "1"), ("2", "0"))


def test_what_is_needed_stands_above_what_needs_it():
    svg = render_graph_svg(parse_dot(DOT))
    tops = box_tops(svg)
    assert tops["pack &lt;shard&gt;"] < tops["train stage: lbm"] < tops["all"]
    assert svg == render_graph_svg(parse_dot(DOT))


def test_boxes_of_one_layer_do_not_overlap():
    lines = [f'{n}[label = "a rule with a long name {n}"]' for n in range(8)]
    lines += [f"{n} -> 7" for n in range(7)]
    svg = render_graph_svg(parse_dot("\n".join(lines)))
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', svg)
    spans = sorted((float(x), float(x) + float(width)) for x, y, width in boxes if y == boxes[0][1])
    assert len(spans) == 7
    assert all(right <= left for (_, right), (left, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(("text", "message"), [("digraph {}", "no node"), ("a -> b\nb -> a", "cycle")])
def test_what_is_no_rule_graph(text, message):
    with pytest.raises(ValueError, match=message):
        render_graph_svg(parse_dot(text))
