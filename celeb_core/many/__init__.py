"""Thousands of people: trained, or generated, by all devices there are; resumable at any moment."""
