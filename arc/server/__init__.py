"""The control endpoint and its page, served beside a run."""
