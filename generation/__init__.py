"""Simulated scenes to annotated clips: Kubric, PyBullet and Blender Cycles, in processes of their own.

Two sides that never meet in one process: the parent (`__main__`, `shard`, `environment`, `preflight`) runs beside torch
and imports no bpy; the renderer side (`render` and what it imports, `assets`) runs in the renderer's own environment.
"""
