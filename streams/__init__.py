"""From topic through agents to topic: one file per agent in ``agents/``, pure functions on ``runtime/agent.py``."""
