"""Evaluation of people: predictions of bodies -> cameras, scores, tables and overlays. numpy only.

Axes: x right, y down, z forward, metres; the pelvis is joint 0. Legend of the shape comments: B frames of all clips,
T frames of a clip, J joints, V vertices, S shape coefficients, C clips, H W pixels. Pixels (x, y), raster convention.
"""
