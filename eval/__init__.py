"""Evaluation: TAP-Vid metrics, score tables, drawings and the report.

It reads files and writes files, and imports neither torch nor a tracker: a tracker that was trained elsewhere is scored
from its predictions.npz. Legend of the shape comments: B videos, N points, T frames, V videos of a file, H W pixels.
Positions are pixels (x, y) in raster convention (the image spans [0, W] x [0, H]); queries are (t, y, x) as in TAP-Vid.
"""
