"""The page: one file per tab, widgets -> celeb_core -> widgets. No tensors here."""
