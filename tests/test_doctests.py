"""The examples in docstrings run as they stand, and each public name has one."""

import doctest
import importlib

import pytest

import fcp


@pytest.mark.parametrize("name", [name for name in fcp.__all__ if name != "__version__"])
def test_a_public_name_has_an_example_that_runs(name):
    subject = getattr(fcp, name)
    module = importlib.import_module(subject.__module__)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    examples = finder.find(subject, name, module=module, globs=vars(module).copy())
    assert sum(len(one.examples) for one in examples) > 0
    assert not [e for one in examples for e in one.examples if doctest.SKIP in e.options]
    assert [runner.run(one).failed for one in examples] == [0] * len(examples)


def test_a_wrong_example_would_fail():
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(example, out=lambda _: None).failed == 1
