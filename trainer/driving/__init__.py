"""Driving in training: windows of clips as samples of a world model, and how a world model is validated."""
