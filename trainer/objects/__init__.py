"""Boxes tracked by points: detections are joined over time by the points that LBM follows inside them."""
