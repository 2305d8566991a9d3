"""The commands of python -m celeb_core, by what they work on."""
