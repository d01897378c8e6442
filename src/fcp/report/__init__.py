"""One page about a run over many photos, which needs no network and no other file."""
