"""What each claim of the package is measured by; `python -m benchmarks` runs all."""
