"""VABench in small (SkyReels-V4 sec. 5.2): five dimensions as scores, absolute and one contestant against another."""
