"""The tiny graph, hit at a few random moments: the same bytes as in peace. `python -m tests.drills.kills` does many."""

import pytest

from tests.drills import kills
from tests.workflow.test_kill import RENDERER, prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]


def test_hit_at_random_moments_the_graph_ends_with_the_same_bytes(tmp_path):
    calm = prepare(tmp_path / "calm")
    kills.finish(calm)
    killed = prepare(tmp_path / "killed")
    drill = kills.run(killed, num_kills=5, seed=1)
    assert sum(sum(counter.values()) for counter in drill.hit.values()) >= 5
    expected = kills.products(calm)
    assert len(expected) > 30
    assert kills.products(killed) == expected
