"""GF-SAM (arXiv 2410.06964): points of a similarity map prompt SAM, a graph chooses masks."""
