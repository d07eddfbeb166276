"""What the rules stand on: the plan of a configuration, digests of code, provenance of files, and downloads."""
