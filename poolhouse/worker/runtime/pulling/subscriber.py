"""The client that pulls messages."""

from __future__ import annotations

import os

import grpc
from google.cloud.pubsub_v1 import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport


def open_subscriber() -> SubscriberClient:
    """Connect to Pub/Sub, or to whatever `PUBSUB_EMULATOR_HOST` names, for messages of any size.

    Google's client opens a channel to an emulator without options, and gRPC then receives 4 MiB at most: a larger
    message would be delivered and lost, time after time. Its channel to Google Cloud has no such limit.
    """
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not emulator:
        return SubscriberClient()
    channel = grpc.insecure_channel(emulator, options=[("grpc.max_receive_message_length", -1)])
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
