"""The contract: canonical events and what is derived from them, as Avro, and the topics that carry them.

Imports none of the other packages. ``avro/`` holds every schema that was ever released (``<name>.<version>.avsc``),
``registry`` reads and writes them, ``codec`` is the fast way for the hot path, ``topics`` names the topics, ``keys``
says how dedup keys, partition keys and ids are made.
"""
