"""What a graph has cost, from its benchmarks, sidecars and folders."""

import json

import pytest

from eval.costs import Stored, read_costs, tell_bytes, tell_hours


def write_benchmark(root, name, seconds, cpu_seconds, memory="100.0"):
    path = root / f"logs/benchmarks/{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:00\t{memory}\t{cpu_seconds}\n")


def write_record(root, path, rule, spent, facts=None):
    output = root / path
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("x" * 1000)
    sidecar = {"format": "frameline-provenance/1", "rule": rule, "facts": facts or {}, "command": f"make {spent}"}
    output.with_name(f"{output.name}.prov.json").write_text(json.dumps(sidecar | ({"spent": spent} if spent else {})))


def spent(seconds, cpu_seconds, num_gpus):
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "gpus": ["H9"] * num_gpus}


def row_of(costs, rule, subject):
    (row,) = [row for row in costs.rows if (row.rule, row.subject) == (rule, subject)]
    return row


def test_the_systems_count_goes_before_a_sample_and_gpus_count_where_a_model_runs(tmp_path):
    for shard, seconds in (("000000", 1800), ("000001", 3600)):
        write_benchmark(tmp_path, f"render_shard/clips/{shard}", seconds, 5)
        write_record(tmp_path, f"data/clips/clips/shard-{shard}.json", "render_shard", spent(seconds, 2 * seconds, 4))
    write_benchmark(tmp_path, "train/lbm", 7200, 9999, "2000.0")
    for file in ("weights.safetensors", "metrics.jsonl"):  # one job, two outputs
        write_record(tmp_path, f"results/lbm/{file}", "train_stage", spent(7200, 10800, 4), {"processes": "2"})
    costs = read_costs(tmp_path)
    rendered, trained = row_of(costs, "render_shard", "clips"), row_of(costs, "train", "lbm")
    assert (rendered.num_jobs, rendered.hours, rendered.cpu_hours) == (2, 1.5, 3.0)
    assert rendered.is_exact and rendered.gpu_hours == 0.0
    assert trained.is_exact and trained.cpu_hours == 3.0 and trained.memory_mb == 2000
    assert trained.gpu_hours == 2 * 2.0, "two processes take two of the four GPUs"
    assert costs.total.hours == 3.5 and costs.total.gpu_hours == 4.0 and costs.total.num_jobs == 3
    assert len(costs.files) == 3


def test_without_the_count_the_sample_is_a_lower_bound(tmp_path):
    write_benchmark(tmp_path, "pack/clips/000000", 36, 18)
    write_benchmark(tmp_path, "pack/clips/000001", 36, "NA", "-")
    write_record(tmp_path, "data/shards/clips/shard-000000.tar", "pack", spent(36, 30, 0))
    write_record(tmp_path, "data/shards/clips/shard-000001.tar", "pack", None)  # of an earlier version
    row = row_of(read_costs(tmp_path), "pack", "clips")
    assert not row.is_exact and row.gpu_hours is None
    assert row.cpu_hours == pytest.approx(18 / 3600) and row.hours == pytest.approx(0.02)
    assert row.memory_mb == 100


def test_disk_is_all_that_lies_in_a_folder(tmp_path):
    (tmp_path / "data/clips/a/deep").mkdir(parents=True)
    (tmp_path / "data/clips/a/deep/frame.png").write_bytes(b"x" * 700)
    (tmp_path / "data/clips/a/list.json").write_bytes(b"x" * 300)
    (tmp_path / "runs/lbm").mkdir(parents=True)
    costs = read_costs(tmp_path)
    assert costs.rows == [] and costs.total.num_jobs == 0
    assert costs.stored == [
        Stored(folder="data/clips/a", num_files=2, num_bytes=1000),
        Stored(folder="runs/lbm", num_files=0, num_bytes=0),
    ]


def test_a_file_that_is_no_benchmark_is_named(tmp_path):
    write_benchmark(tmp_path, "pack/clips", 1, 1)
    (tmp_path / "logs/benchmarks/pack/clips.tsv").write_text("hello\n")
    with pytest.raises(ValueError, match=r"clips\.tsv: not a benchmark of Snakemake .*; delete it"):
        read_costs(tmp_path)


def test_numbers_are_told_in_units_that_fit():
    assert [tell_hours(each) for each in (0.0123, 2.5, 1234.56)] == ["0.012", "2.500", "1,234.6"]
    assert [tell_bytes(each) for each in (1500, 2.5e6, 3e9, 4.2e12)] == ["1.5 kB", "2.5 MB", "3.0 GB", "4.2 TB"]
