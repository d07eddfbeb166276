"""CoTracker3 (Karaev et al. 2024), offline and online."""
