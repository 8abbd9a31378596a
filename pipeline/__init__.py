"""The machinery: messages, transport, runner, supervisor, configuration; nothing of gait."""

__version__ = "0.1.0"
