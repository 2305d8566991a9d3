"""Toonville: a drawn world in which the truth about every face is known, and its models.

Flow: identity (traits) -> person, places, render (pictures) -> names, captions, dataset ->
tokenizer, clip, vae, unet, faces (detector, recogniser), judge -> export -> report.
Not needed to run the app: it ships only what `python -m toonville export` writes.
"""
