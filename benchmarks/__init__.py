"""Every figure in the documentation is printed by a command here."""
