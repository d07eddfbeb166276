"""From tracks in pixels to points in space: depth maps, cameras, sampling, and the file of the result. No torch."""
