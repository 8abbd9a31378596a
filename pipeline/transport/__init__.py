"""How messages and pixels get from one stage to the next on a host."""

from pipeline.transport.link import Delivery, Receiver, Sender
from pipeline.transport.store import FrameReader, FrameStore, create_store_fd

__all__ = ["Delivery", "FrameReader", "FrameStore", "Receiver", "Sender", "create_store_fd"]
