"""Data curation (SkyReels-V4 sec. 3.4.2): which clips of a folder training may use, and how often.

`python -m training.curation FOLDER` from the command line, `pipeline.curate` from Python; `manifest.read_clip` reads
what was kept. docs/curation.md tells the stages and their limits.
"""
