"""What makes agents fast and exact on Faust, and what every role shares: settings, Kafka access, metrics, logs.

Stands on ``schemas`` alone.
"""
