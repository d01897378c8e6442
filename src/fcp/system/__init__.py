"""The machine: threads and memory."""
