"""HTTP to canonical event to topic.

``server`` puts the parts together, ``app`` answers a request, ``dialects/`` are the vendors' APIs.
"""
