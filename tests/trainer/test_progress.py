"""Rows of metrics.jsonl: each says where it is from."""

import json

import torch

from shards.files import sha256_of
from trainer.config import Paths, compose, recipe_digest
from trainer.distributed import Process
from trainer.progress import Progress
from trainer.run import describe_run


def test_every_row_says_its_recipe_index_code_seed_processes_and_device(dataset, tmp_path):
    index = dataset(num_clips=3)
    root, name = index.parents[1], index.parent.name
    recipe = compose("lbm", [f"data.dataset={name}", "validation.dataset=null", "training.seed=7"])
    paths = Paths(shards_root=str(root), run_root=str(tmp_path / "runs"), source_digest="0123456789abcdef")
    run = describe_run(recipe, paths, world_size=2)
    run.folder.mkdir(parents=True)
    process = Process(rank=0, world_size=2, local_rank=0, device=torch.device("cpu"))
    progress = Progress(run, recipe, start=0, num_steps=2, process=process)
    progress.log(1, {"grad_norm": 1.0, "some_loss": 2.0}, 1e-3)
    progress.log_validation(1, {"delta_avg": 0.5}, "told")
    progress.close()
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert row["origin"] == {
            "run": run.folder.name,
            "recipe": recipe_digest(recipe)[:12],
            "index": sha256_of(index)[:12],
            "code": "0123456789ab",
            "seed": 7,
            "world_size": 2,
            "device": "cpu",
        }
