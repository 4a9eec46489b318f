"""How fast and how large: our blocks beside ComfyUI core's, sparse beside dense attention, refining beside generating
large clips at once, and memory by length. `python3 run.py python -m benchmarks.speed`
"""
