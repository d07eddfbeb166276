"""Evaluation of driving world models: rollouts and true drives -> scores, tables, sheets. numpy, OpenCV, Pillow only.

Legend of the shape comments: N clips, T frames of a window, H W pixels, D features. Angles to the left are positive.
"""
