"""What the models name to FSDP: most of their weights, each once."""

import pytest

from trainer.models import TASKS, build

WITHOUT_FILES = {
    "blade_depthnet": {"backbone": "conv_tiny"},
    "blade_posenet": {"backbone": "conv_tiny", "depth": "none"},
    "vista": {"preset": "tiny", "frozen": "tiny"},
}
"""Settings of the models whose published form reads weights of the user's."""


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_to_shard_are_most_of_a_model_and_none_is_inside_another(name):
    if name == "vista":
        pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
    model = build(name, **WITHOUT_FILES.get(name, {}))
    parts = TASKS[name].parts_to_shard(model)
    own = [parameter for part in parts for parameter in part.parameters()]
    assert len({id(parameter) for parameter in own}) == len(own)
    assert sum(p.numel() for p in own) > 0.75 * sum(p.numel() for p in model.parameters())
