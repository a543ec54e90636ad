"""`vrm serve`: a model behind HTTP."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vrm.choices import LogLevel, OnOverlongServed, Precision
from vrm.cli import options
from vrm.cli.checks import check_arguments, check_server_installed
from vrm.cli.console import LOADING_LOG_SECONDS, Meter, note
from vrm.errors import ConfigError
from vrm.user_files import read_text
from vrm.wire import TOKEN_VARIABLE

if TYPE_CHECKING:
    from vrm.serve.settings import ServeSettings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_Host = Annotated[str, typer.Option("--host", help="Address to listen on; the default is reachable from here only.")]
_Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
_Name = Annotated[
    str | None, typer.Option("--name", help="Of the model, in answers. Default: the last two parts of MODEL.")
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", metavar="FILE", help=f"Requests must bear the token that this file (or {TOKEN_VARIABLE}) holds."
    ),
]
_Overlong = Annotated[
    OnOverlongServed, typer.Option("--on-overlong", help="Cut texts over the model's limit, or refuse them.")
]
_Delay = Annotated[
    float, typer.Option("--queue-delay", min=0, metavar="MS", help="Wait this long for others to share a batch.")
]
_Budget = Annotated[
    int, typer.Option("--token-budget", min=1, metavar="N", help="Tokens that are judged together, about.")
]
_Queue = Annotated[
    int, typer.Option("--max-queue", min=1, metavar="N", help="Completions waiting; above it, 429 and Retry-After.")
]
_Timeout = Annotated[float, typer.Option("--timeout", min=0.001, metavar="S", help="Seconds a request may take; 504.")]
_Body = Annotated[int, typer.Option("--max-body", min=1, metavar="BYTES", help="Size of a body; 413.")]
_Texts = Annotated[int, typer.Option("--max-texts", min=1, metavar="N", help="Completions of a request; 422.")]
_Characters = Annotated[
    int, typer.Option("--max-characters", min=1, metavar="N", help="Length of a prompt or completion; 422.")
]
_RootPath = Annotated[
    str, typer.Option("--root-path", metavar="PATH", help="Prefix of a proxy's path to the server, such as /reward.")
]
_Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--cors-origin",
        metavar="ORIGIN",
        help="Scripts of pages from there may ask, such as https://example.org, or * for all; may be repeated.",
    ),
]
_LogLevel = Annotated[LogLevel, typer.Option("--log-level", help="`info` logs requests, never their texts.")]
_Ray = Annotated[str | None, options.ray_option("Serve with replicas on a Ray cluster")]
_Replicas = Annotated[
    int | None,
    typer.Option("--replicas", min=1, metavar="N", help="Of --ray, each with its own model. Default: 2."),
]


def serve(
    model: options.ModelArgument,
    host: _Host = "127.0.0.1",
    port: _Port = 5000,
    name: _Name = None,
    token_file: _TokenFile = None,
    on_overlong: _Overlong = OnOverlongServed.TRUNCATE,
    queue_delay: _Delay = 5.0,
    token_budget: _Budget = 8192,
    max_queue: _Queue = 4096,
    timeout: _Timeout = 120.0,
    max_body: _Body = 4 << 20,
    max_texts: _Texts = 64,
    max_characters: _Characters = 200_000,
    root_path: _RootPath = "",
    cors_origin: _Origins = None,
    allowed_host: options.AllowedHostOption = None,
    log_level: _LogLevel = LogLevel.INFO,
    precision: options.PrecisionOption = Precision.FLOAT32,
    device: options.DeviceOption = "auto",
    threads: options.ThreadsOption = None,
    ray: _Ray = None,
    replicas: _Replicas = None,
) -> None:
    """Serve a model over HTTP, to trainers and to programs of your own.

    One process batches across requests. It speaks a native API (`POST /v1/score`, `POST /v1/explain`; `vrm.client` is
    the Python client), OpenRLHF's `/get_reward`, slime's `/slime/reward`, and vLLM's `/classify`, `/pooling` and
    `/score`. The page `/docs` describes them. At `/explore` a browser shows why the model prefers what it prefers, and
    what changes that. SIGINT and SIGTERM end it after it has answered what it accepted.

    With `--ray local` there are several replicas. On a cluster they outlive the command, and the same command with
    another MODEL replaces them one after the other.
    """
    check_server_installed("vrm serve")
    _check_replicas(ray, replicas)
    check_arguments(model, device=device)
    from vrm.serve.settings import ServeSettings

    settings = ServeSettings(
        name=name or options.short_name(model),
        source=model,
        queue_delay=queue_delay / 1e3,
        batch_tokens=token_budget,
        max_queue_texts=max_queue,
        request_timeout=timeout,
        max_body_bytes=max_body,
        max_texts=max_texts,
        max_characters=max_characters,
        root_path=root_path,
        cors_origins=tuple(cors_origin or ()),
        **_admission(host, token_file, allowed_host),
    )
    engine_options = (on_overlong, precision, device)
    if ray is None:
        return _run(settings, model, (host, port), engine_options, log_level)
    how = (model, *engine_options, threads or 1, log_level)
    return _run_on_cluster(settings, how, (ray, replicas or 2), (host, port))


def _run(
    settings: ServeSettings, model: str, address: tuple[str, int], engine_options: tuple[str, str, str], log_level: str
) -> None:
    from vrm.serve.run import listen, serve_forever, url_of

    bound = listen(*address)  # a taken port is found before the model is loaded
    on_overlong, precision, device = engine_options
    engine = options.load_engine(
        model,
        device=device,
        precision=precision,
        on_overlong=on_overlong,
        token_budget=settings.batch_tokens,
    )
    from vrm.serve.service import Service

    service = Service(engine, settings)
    service.try_model()
    _warn_if_open(address[0], settings)
    url = url_of(bound) + settings.root_path
    where = f"serving {settings.name} on {url} (its routes: {url}/docs, the explorer: {url}/explore); Ctrl-C ends it"
    answered = serve_forever(service, bound, log_level, when_ready=lambda: note(where))
    note("stopped; " + ("everything that was accepted has been answered" if answered else "open requests were dropped"))


def _check_replicas(ray: str | None, replicas: int | None) -> None:
    if ray is None and replicas is not None:
        raise typer.BadParameter("replicas are of a Ray cluster; give --ray too", param_hint="--replicas")


def _warn_if_open(host: str, settings: ServeSettings) -> None:
    if host not in _LOOPBACK and settings.token is None:
        names = ", ".join(("localhost", *settings.host_patterns))
        note(f"warning: {host} may be reached from elsewhere, and no token is asked for; see --token-file")
        note(f"it answers under its addresses and under these names: {names}; see --allowed-host")


def _run_on_cluster(
    settings: ServeSettings,
    replica: tuple[str, str, str, str, int, str],
    cluster: tuple[str, int],
    address: tuple[str, int],
) -> None:
    """Deploy, and with a local cluster wait for the signal that ends it."""
    from vrm.ray_session import LOCAL, ray_session
    from vrm.serve.on_ray import ReplicaSettings, deploy, shut_down
    from vrm.serve.run import listen

    how, (place, count) = ReplicaSettings(*replica), cluster
    if address[1] == 0:
        raise ConfigError("--port 0: the proxy of a cluster takes no free port; name one")
    if place == LOCAL:
        listen(*address).close()  # a taken port is found before anything is started
    stop = threading.Event()
    with ray_session(place, how.threads * count):
        for number in (signal.SIGINT, signal.SIGTERM) if place == LOCAL else ():
            signal.signal(number, lambda *_: stop.set())
        with Meter("loading", LOADING_LOG_SECONDS) as meter:
            meter.update(f"{count} replicas of {how.model}")
            url = deploy(how, settings, count, *address)
        _warn_if_open(address[0], settings)
        if place != LOCAL:
            note(f"the cluster serves {settings.name} on {url} with {count} replicas; `serve shutdown` ends it")
            return
        note(f"serving {settings.name} on {url} with {count} replicas (its routes: {url}/docs); Ctrl-C ends it")
        stop.wait()
        shut_down()
    note("stopped; everything that was accepted has been answered")


def _admission(host: str, token_file: Path | None, names: list[str] | None) -> dict[str, Any]:
    """Token and names of the settings: the names given, and the machine's own where it is reached from elsewhere."""
    from vrm.serve.hosts import own_names

    token = _token(token_file)
    if not names and token is not None:
        return {"token": token}  # which decides who may ask, under whatever name
    return {"token": token, "allowed_hosts": (*(names or ()), *(() if host in _LOOPBACK else own_names(host)))}


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE)
    token = read_text(file).strip()
    if not token:
        raise ConfigError(f"{file} is empty: a token is needed, or leave --token-file out")
    return token
