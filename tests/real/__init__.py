"""Real hosts as processes, really killed, stalled and restarted under load."""
