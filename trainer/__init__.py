"""Training: shards in, weights out. The only package that imports torch (trainer.config does not)."""
