"""The message of an error stays one that can be read."""

from fcp.errors import LONGEST_LINE, FcpError


def test_a_line_that_quotes_a_whole_file_is_cut_in_its_middle():
    message = f"a.txt: unknown name {'x' * 500_000}; rename it"
    said = str(FcpError(message))
    assert len(said) < LONGEST_LINE + 10
    assert said.startswith("a.txt: unknown name xxx")
    assert said.endswith("xxx; rename it")


def test_lines_are_cut_each_and_short_ones_stay():
    message = "set: 2 faults:\n  a.png: empty\n  b.png: empty"
    assert str(FcpError(message)) == message
    many = "\n".join(["a fault of an item"] * 500)
    assert str(FcpError(many)) == many
    assert str(FcpError()) == ""
