"""Where the events of a run are written and shown."""
