"""The training arrows of Figure 3: what the mask, the pseudo masks and the maps should be."""
