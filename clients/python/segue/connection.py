"""Channels: who may be dialled in plaintext, and what is retried."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass

import grpc
from google.protobuf import descriptor_pb2

from .v1 import (
    admin_service_pb2,
    collection_service_pb2,
    exclusion_service_pb2,
    import_service_pb2,
    item_service_pb2,
    profile_service_pb2,
    release_service_pb2,
    retrieval_service_pb2,
)

_FILES = (
    admin_service_pb2,
    collection_service_pb2,
    exclusion_service_pb2,
    import_service_pb2,
    item_service_pb2,
    profile_service_pb2,
    release_service_pb2,
    retrieval_service_pb2,
)
_MAX_RECEIVE_BYTES = 32 << 20  # what a server sends at most by default


@dataclass(frozen=True)
class TLS:
    """An encrypted connection. All three are PEM."""

    ca: bytes | None = None
    """Authorities to trust; None means those of the system."""
    certificate: bytes | None = None
    """Chain of the client, for servers that ask for one."""
    key: bytes | None = None


def dial(target: str, token: str | None, tls: TLS | None, allow_plaintext: bool, round_robin: bool) -> grpc.Channel:
    """A channel to target. It does not wait for the server: the first call connects. ValueError where the bytes could be read
    on the way without that having been allowed; a token is never sent in plaintext to another machine."""
    options = [
        ("grpc.service_config", service_config(round_robin)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
    ]
    if tls is not None:
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
        return grpc.secure_channel(target, credentials, options)
    if not is_local(target):
        if not allow_plaintext:
            raise ValueError(f"{target!r} is not on this machine: give tls, or allow_plaintext=True")
        if token:
            raise ValueError(f"{target!r} is not on this machine: a token needs tls")
    return grpc.insecure_channel(target, options)


def is_local(target: str) -> bool:
    """Whether target can only mean this machine: a unix socket, a loopback address, or localhost."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        if target.startswith(scheme):
            target = target[len(scheme) :]
            if target.startswith("//"):  # the authority is a name server, not the target
                target = target[2:].partition("/")[2]
            break
    if target.startswith("["):
        host = target[1:].partition("]")[0]
    elif target.count(":") == 1:
        host = target.partition(":")[0]
    else:
        host = target
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def retried() -> list[tuple[str, str]]:
    """The methods, as service and name, that are called again while the server is UNAVAILABLE: those that the API declares
    idempotent or free of side effects. Streams are not among them: what was sent on them is gone."""
    return [
        (service.full_name, method.name)
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level != 0 and not _streams(method)
    ]


def _streams(method) -> bool:
    message = descriptor_pb2.MethodDescriptorProto()
    method.CopyToProto(message)
    return message.client_streaming or message.server_streaming


def service_config(round_robin: bool) -> str:
    """The policy of a channel as gRPC takes it. Calls are not repeated any more where 500 failed beyond a tenth of those that did
    not. With round_robin they take turns over all addresses, and servers that say that they do not serve are left out."""
    names = [{"service": service, "method": method} for service, method in retried()]
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.1s",
        "maxBackoff": "2s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {
        "methodConfig": [{"name": names, "retryPolicy": policy}],
        "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    }
    if round_robin:
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": "segue.v1.RetrievalService"}
    return json.dumps(config)
