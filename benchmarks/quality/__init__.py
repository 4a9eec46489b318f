"""How good Mini is: `python3 -m benchmarks.quality --task t2va` prints each figure beside chance and ceiling."""
