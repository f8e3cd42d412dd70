"""The command line: options, progress and tables. No tensor code here."""
