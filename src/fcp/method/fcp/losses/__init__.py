"""The training losses of Figure 3: targets of the mask, the pseudo masks and the attention maps."""
