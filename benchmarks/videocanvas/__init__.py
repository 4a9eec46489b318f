"""VideoCanvasBench in small (VideoCanvas app. D): ways of conditioning on patches, compared on three sets of clips."""
