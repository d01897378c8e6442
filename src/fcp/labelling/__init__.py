"""A folder of photos labelled from examples: photos → masks, records, files for other tools."""
