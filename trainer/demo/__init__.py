"""A page on this computer: upload a video, click points, watch them being tracked (`python -m trainer.demo`)."""
