"""Model folders: those that ship lie here."""
