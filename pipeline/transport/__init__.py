"""How messages and pixels get from one stage to the next, on a host and between hosts."""

from pipeline.transport.door import ClientSecurity, Door, ServerSecurity
from pipeline.transport.link import Delivery, Receiver, Sender
from pipeline.transport.store import FrameReader, FrameStore, create_store_fd

__all__ = [
    "ClientSecurity",
    "Delivery",
    "Door",
    "FrameReader",
    "FrameStore",
    "Receiver",
    "Sender",
    "ServerSecurity",
    "create_store_fd",
]
