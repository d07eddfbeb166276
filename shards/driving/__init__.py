"""Driving: what a clip says of the vehicle that carries its camera, and the actions that a window of frames shows.

Camera axes: x right, y down, z forward. World axes: z up. Metres, seconds, radians; angles that turn to the left are
positive. Legend: T frames, K the times of an action.
"""
