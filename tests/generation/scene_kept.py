"""Renderer side of a test in test_render.py: `python -P scene_kept.py ASSETS OUT RECIPE`.

Renders one scene three times: with what Blender keeps from frame to frame, with every frame loaded anew, and kept.
Prints the names of the passes that differ, as JSON.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np

PACKAGE = Path(__file__).resolve().parents[2] / "generation"


def main() -> None:
    spec = importlib.util.spec_from_file_location(
        "generation", PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)]
    )
    sys.modules["generation"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["generation"])
    from generation import compat, passes, render, renderer, world
    from generation.config import parse_recipe
    from generation.scene import make_rng, plan_scene

    assets, out, recipe = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    words = ("num_frames=3", "save_flow=true", "resolution=96", "samples_per_pixel=2", "world_map=512")
    config = parse_recipe(recipe, words)
    rng = make_rng(config, 1, 0)
    plan = plan_scene(config, *render.choose_ids(config, assets), rng)
    kubric = compat.load_kubric(1)
    blender = world.build_world(kubric, config, plan, assets, out, rng).renderer.blender_scene

    def load_anew(blender, name, images):
        import bpy

        for layer in blender.view_layers:
            layer.use = layer.name == name
        blender.render.use_persistent_data = False
        for frame in range(blender.frame_start, blender.frame_end + 1):
            blender.frame_set(frame)
            blender.render.filepath = str((images or out) / f"{frame:04d}.png")
            bpy.ops.render.render(write_still=images is not None)

    keep = renderer._render_layer
    rendered = []
    for number, render_layer in enumerate((keep, load_anew, keep)):
        renderer._render_layer = render_layer
        scratch = out / str(number)
        renderer.render_clip(blender, scratch, threads=1, seed=1, motion_blur=1.0)
        rendered.append(passes.read_rendered(scratch, config.num_frames, 100.0, with_flow=True))
    first, expected, again = (vars(each) for each in rendered)
    differing = [
        name
        for name in expected
        if not (np.array_equal(first[name], expected[name]) and np.array_equal(again[name], expected[name]))
    ]
    print(json.dumps({"compared": sorted(expected), "differing": differing}), flush=True)


if __name__ == "__main__":
    main()
    os._exit(0)
