"""Counting what a model finds: metrics, the run over episodes, and the report with its card."""
