"""The command line: commands, their options, and what `app.py` shares with them."""
