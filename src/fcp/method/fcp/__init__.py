"""FCP (AAAI 2025), and its baseline VRP-SAM."""
