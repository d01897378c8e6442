"""Methods without any training: published encoders, one or a few examples, a mask.

One folder a method, each with its steps as pure functions on ready-made cells and a thin module
that has the same three doors as ``fcp.model.FCP``. ``registry.METHODS`` lists them.
"""
