"""The middle of Figure 3: foreground-covering prototypes of support and query."""
