"""Renderer side of render_cost.py: scenes, rendered as one setting says, with CPU-seconds of every phase.

Runs with the renderer's interpreter: `python -P render_stage.py JOB.json`, a JSON of recipe, seeds, assets, out, way,
threads, affinity and writes_exr. Prints one line of JSON with the sums over the seeds; `frames` holds the CPU-seconds
of every frame in the order in which they were rendered. `way` is "ours", or "kubric": Kubric's own renderer settings,
all layers read by its own post-processing and written by its own writer, with the fixes that make it run. The clip of
a seed is in the folder <out>/<seed>/clip.
"""

import importlib.util
import itertools
import json
import os
import sys
import time
from pathlib import Path

KUBRIC_LAYERS = (
    "rgba",
    "backward_flow",
    "forward_flow",
    "depth",
    "normal",
    "object_coordinates",
    "segmentation",
)
PACKAGE = Path(__file__).resolve().parents[1] / "generation"


def import_generation() -> None:
    """Make the package importable, and nothing around it."""
    spec = importlib.util.spec_from_file_location(
        "generation", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    sys.modules["generation"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["generation"])


class Clock:
    """CPU-seconds of this process, all threads, between two calls."""

    def __init__(self):
        self.spent: dict[str, float] = {}
        self.before = time.process_time()

    def lap(self, name: str) -> None:
        now = time.process_time()
        self.spent[name] = self.spent.get(name, 0.0) + now - self.before
        self.before = now


def count_renders(clock: Clock, moments: list[float]) -> None:
    """Note the clock at the end of every frame that Blender renders."""
    import bpy

    moments.append(clock.before)
    bpy.app.handlers.render_complete.append(lambda *arguments: moments.append(time.process_time()))


def make_plain_renderer(kubric, scene, config, plan, scratch):
    """Kubric's renderer as its MOVi workers make it."""
    from generation import compat

    renderer = kubric.renderer.Blender(
        scene, scratch, use_denoising=config.denoise, samples_per_pixel=config.samples_per_pixel, motion_blur=None
    )
    compat.prepare_blender()
    renderer.blender_scene.view_settings.view_transform = "Filmic"  # the look only
    return renderer


def render_ours(job, seed, out, config, plan, built, clock: Clock) -> None:
    """Our settings, reader and writer."""
    from generation import passes, render, renderer, world

    blender = built.renderer.blender_scene
    renderer.render_clip(blender, out / "scratch", threads=job["threads"], seed=seed, motion_blur=plan.motion_blur)
    clock.lap("render")
    if job["writes_exr"]:
        focal_px = world.FOCAL_MM / world.SENSOR_MM * config.resolution
        rendered = passes.read_rendered(out / "scratch", config.num_frames, focal_px, config.save_flow)
        clock.lap("read EXR")
        written = {"seed": seed, "attempt": 0, "out": str(out / "clip"), "digest": ""}
        render.write(written, config, plan, built, rendered, [])
        clock.lap("write clip")


def render_kubric(seed, out, kubric, built, clock: Clock) -> None:
    """Both layers a frame, all layers read by Kubric's own post-processing and written by its own writer."""
    from generation import folder

    built.renderer.blender_scene.cycles.seed = seed
    postprocess, built.renderer.postprocess = built.renderer.postprocess, lambda *a, **k: {}
    built.renderer.render(return_layers=())
    clock.lap("render")
    layers = postprocess(out / "scratch", return_layers=KUBRIC_LAYERS)
    clock.lap("read EXR")
    kubric.write_image_dict(layers, out / "layers")
    clock.lap("write clip")
    folder.write_images(out / "clip" / "frames", layers["rgba"][..., :3])


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["affinity"]:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["affinity"]])
    clock = Clock()
    import_generation()
    from generation import compat, render, renderer, world
    from generation.config import MoviConfig
    from generation.scene import make_rng, plan_scene

    is_ours = job["way"] == "ours"
    kubric = compat.load_kubric(job["threads"] if is_ours else os.cpu_count())
    clock.lap("import")
    if not is_ours:
        world.make_renderer = make_plain_renderer
    if not job["writes_exr"]:
        renderer._write = lambda *arguments: None  # and no blur, which reads a file
    config, assets = MoviConfig(**job["recipe"]), Path(job["assets"])
    frames: list[float] = []
    for seed in job["seeds"]:
        out = Path(job["out"]) / str(seed)
        (out / "scratch").mkdir(parents=True)
        compat.forget_last_scene()
        rng = make_rng(config, seed, 0)
        plan = plan_scene(config, *render.choose_ids(config, assets), rng)
        built = world.build_world(kubric, config, plan, assets, out / "scratch", rng)
        clock.lap("scene and physics")
        moments: list[float] = []
        count_renders(clock, moments)
        if is_ours:
            render_ours(job, seed, out, config, plan, built, clock)
        else:
            render_kubric(seed, out, kubric, built, clock)
        frames += [after - before for before, after in itertools.pairwise(moments)]
    print(json.dumps(clock.spent | {"frames": frames}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)
