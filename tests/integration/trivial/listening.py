"""What a running platform listens at, and whether each port that is not on loopback asks for the token."""

from __future__ import annotations

import ipaddress

import grpc
import psutil

from deploy.cluster import LISTENS_EVERYWHERE
from tests.integration.trivial.platform import WITHIN_S, port, title, tree
from tests.platform import Platform


def listeners(process: psutil.Process) -> list[tuple[str, int]]:
    connections = process.net_connections(kind="tcp")
    return [(item.laddr.ip, item.laddr.port) for item in connections if item.status == psutil.CONN_LISTEN]


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def ask_replica(at: int, token: str | None) -> grpc.StatusCode:
    """The status of a request to a replica's gRPC port."""
    with grpc.insecure_channel(f"127.0.0.1:{at}") as channel:
        handle_request = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        metadata = [("authorization", f"Bearer {token}")] if token else []
        try:
            handle_request(b"", timeout=WITHIN_S, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def check_listeners(platform: Platform) -> None:
    """Every listener is on loopback, or on the documented list and refuses calls without the token."""
    token = (platform.home / "run" / str(port(platform)) / "token").read_text()
    opened = 0
    for process in tree(platform):
        try:
            name, found = title(process), listeners(process)
        except psutil.Error:
            continue  # it has ended, or is just ending and shows nothing of itself
        for ip, number in found:
            if is_loopback(ip):
                continue
            opened += 1
            assert any(name.startswith(known) for known in LISTENS_EVERYWHERE), f"{name} listens on {ip}:{number}"
            assert ask_replica(number, None) == grpc.StatusCode.UNAUTHENTICATED
            assert ask_replica(number, "0" * 64) == grpc.StatusCode.UNAUTHENTICATED
            assert ask_replica(number, token) != grpc.StatusCode.UNAUTHENTICATED
    assert opened, "the replicas' ports were not found: does this test still look at them?"
