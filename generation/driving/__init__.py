"""Drives through streets that do not exist: a car-like camera with known motion, planned in numpy, rendered by Blender.

World axes: x along the main road, y to its left, z up. Metres, seconds, radians; what turns to the left is positive.
Legend: T frames, N samples of a path, V vertices, F faces.
"""
