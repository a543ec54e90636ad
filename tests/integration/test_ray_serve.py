"""Several replicas behind Ray Serve, which are processes on this machine, and behind a proxy."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import psutil
import pytest

from vrm.client import Client, RetryPolicy
from vrm.client.calls import SESSION, score_call
from vrm.ray_session import QUIET

pytestmark = pytest.mark.slow

PROMPTS = [f"How do I {verb} it?" for verb in ("boil", "plan", "write", "read", "find", "build", "sell", "learn")]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def scored(url: str, session: str) -> int:
    """Requests for rewards that the replica of a session has answered."""
    with urlopen(Request(f"{url}/metrics", headers={SESSION: session}), timeout=30) as answer:
        counts = re.findall(r'vrm_requests_total\{route="/v1/score",status="200"\} (\S+)', answer.read().decode())
    return int(float(counts[0])) if counts else 0


def check_affinity(url: str, each: int = 3) -> None:
    """Requests that share a prompt meet in one of two servers, and both have some."""
    with Client(url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: client.score(PROMPTS[n % len(PROMPTS)], [f"Like {n}."]), range(each * len(PROMPTS))))
    sessions = [score_call(prompt, ["a"], {}).headers[SESSION] for prompt in PROMPTS]
    counts = Counter(scored(url, session) for session in sessions)
    # A server that answers for so many prompts has answered all of their requests, and no others.
    assert all(answered == prompts * each for answered, prompts in counts.items()) or (
        counts == Counter({each * len(PROMPTS) // 2: len(PROMPTS)})
    )
    assert len(PROMPTS) not in (prompts for answered, prompts in counts.items() if answered == each * len(PROMPTS))


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        how = {"log_to_driver": False, "logging_level": logging.ERROR, "_node_ip_address": "127.0.0.1"}
        ray.init("local", num_cpus=3, include_dashboard=False, **how)
        yield
        ray.shutdown()


def test_two_replicas_share_prompts_and_are_replaced_while_they_answer(cluster, tiny_model_dir, make_tiny_model):
    from vrm.serve.on_ray import ReplicaSettings, deploy, shut_down
    from vrm.serve.settings import ServeSettings

    port = free_port()
    other = make_tiny_model(head="gated")
    url = deploy(ReplicaSettings(str(tiny_model_dir)), ServeSettings(name="first"), 2, "127.0.0.1", port)
    try:
        check_affinity(url)
        with Client(url, retries=RetryPolicy(attempts=1)) as client:
            before = client.score(PROMPTS[0], ["Slowly."]).rewards[0]
            rewards: list[float] = []
            ended = threading.Event()

            def ask() -> None:
                while not ended.is_set():
                    rewards.append(client.score(PROMPTS[0], ["Slowly."]).rewards[0])

            asking = threading.Thread(target=ask)
            asking.start()
            deploy(ReplicaSettings(str(other)), ServeSettings(name="second"), 2, "127.0.0.1", port)
            ended.set()
            asking.join()
            after = client.score(PROMPTS[0], ["Slowly."]).rewards[0]
            assert client.version().model == "second"
        assert before != after
        assert set(rewards) == {before, after}
        replace_a_dead_one(url)
    finally:
        shut_down()


def replace_a_dead_one(url: str) -> None:
    """One of the two is killed: clients that try again get their answers, and Serve starts another."""
    from ray import serve

    children = psutil.Process().children(recursive=True)
    replicas = [child for child in children if "ServeReplica:vrm:replica" in "".join(child.cmdline())]
    assert len(replicas) == 2
    replicas[0].kill()
    with Client(url, retries=RetryPolicy(attempts=8)) as client:
        assert all(len(client.score(prompt, ["Slowly."]).rewards) == 1 for prompt in PROMPTS)
    limit = time.monotonic() + 120
    while (states := serve.status().applications["vrm"].deployments["replica"].replica_states) != {"RUNNING": 2}:
        assert time.monotonic() < limit, states
        time.sleep(0.5)
