"""The methods that FCP is compared with, one folder each."""
