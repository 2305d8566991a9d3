"""Marks of generated images: XMP, Content Credentials, an invisible mark, a keyed code."""
