"""RewardBench's side of the conversation, against a server of a few lines."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from vrm.errors import ModelError
from vrm.integrations.rewardbench import TEXTS_A_REQUEST, ServedModel, registry_entry


@pytest.fixture
def server():
    """A server whose reward is a text's length; `seen` holds what it was asked, `answer` may replace its answer."""

    class Handler(BaseHTTPRequestHandler):
        seen: list = []  # noqa: RUF012
        answer = None

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            Handler.seen.append((self.path, body, self.headers.get("Authorization")))
            data = [{"index": i, "probs": [float(len(text))]} for i, text in enumerate(body["input"])]
            status, answer = Handler.answer or (200, {"data": data[::-1]})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        Handler.url = f"http://127.0.0.1:{running.server_port}"
        yield Handler
        running.shutdown()
        thread.join()


def pipeline(url, token=None):
    """Built and called as `rewardbench.rewardbench` does it."""
    entry = registry_entry(url, token)
    model = entry["model_builder"]("vrm", device_map="auto", torch_dtype=entry["torch_dtype"], revision=None)
    return entry["pipeline_builder"]("text-classification", model=model, tokenizer=None)


def test_rewards_come_in_order_and_in_several_requests(server):
    texts = ["x" * n for n in range(TEXTS_A_REQUEST + 3)]
    rewards = pipeline(server.url + "/")(texts, batch_size=8, truncation=False, padding=True, max_length=512)
    assert torch.equal(rewards, torch.arange(len(texts), dtype=torch.float32).unsqueeze(1))
    assert [(path, len(body["input"]), token) for path, body, token in server.seen] == [
        ("/classify", TEXTS_A_REQUEST, None),
        ("/classify", 3, None),
    ]
    assert all(body["use_activation"] is False for _, body, _ in server.seen)


def test_the_token_is_sent(server):
    pipeline(server.url, "secret")(["x"])
    assert server.seen[0][2] == "Bearer secret"


def test_a_refusal_is_an_error_that_says_why(server):
    server.answer = (422, {"error": "the generation prompt was found 2 times"})
    with pytest.raises(ModelError, match=r"/classify answers 422: .*found 2 times"):
        pipeline(server.url)(["x"])


def test_a_missing_reward_is_an_error(server):
    server.answer = (200, {"data": [{"index": 1, "probs": [0.5]}]})
    with pytest.raises(ModelError, match="2 texts were sent, but 1 rewards came back"):
        pipeline(server.url)(["x", "y"])


def test_no_server_is_an_error():
    with pytest.raises(ModelError, match=r"no answer .*vrm serve"):
        ServedModel("http://127.0.0.1:9").rewards(["x"])
