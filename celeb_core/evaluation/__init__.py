"""How good new people are, alone and in images of several, beside celebrities by name."""
