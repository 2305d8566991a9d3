"""Toonville: a synthetic world in which the truth about every face is known, and its models.

Data flow: identity (traits) -> random_specs -> person, scenes, render (images) -> names, captions,
dataset -> tokenizer, clip, vae, unet, detector, recogniser, judge, reader -> export -> report.
Not needed to run the app, which only reads what `python -m toonville export` wrote.
"""
