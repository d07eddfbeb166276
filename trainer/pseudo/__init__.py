"""Fine-tuning on videos that nobody annotated: what teachers say of them is the truth (as in CoTracker3)."""
